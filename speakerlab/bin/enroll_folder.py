"""Enrol many people: from a folder of folders, a workbook, a CSV or JSON list, a Kaldi data dir, or vectors.

Each person is enrolled as a whole. What is in the store already is passed over, so a run that was killed may
be repeated. Recordings that do not pass the gates go to the review list, see 'speakerlab enroll'.
A .npz file ('label', 'train_feats') holds vectors, and --npz-model states which model made them.

Exit status: 0 all are enrolled, or would be; 3 some are not, or would not be; 1 an error, too many failures.

Example: speakerlab enroll-folder speaker_data --voiceprints people.db --dry-run
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speakerlab.bin import audio_arguments, enrolment_arguments, entry, people_arguments, session_arguments
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.io import atomic
from speakerlab.voiceprint.database import is_url
from speakerlab.voiceprint.records import ENROLLED, REVIEW
from speakerlab.voiceprint.store import ENROL, VoiceprintStore

if TYPE_CHECKING:
    from speakerlab.pipeline import Pipeline
    from speakerlab.pipeline.decision import Threshold
    from speakerlab.voiceprint.bulk import PersonDone, Search, Wishes
    from speakerlab.voiceprint.bulk_plan import Entry
    from speakerlab.voiceprint.sources.listing import Listing

WITHOUT_FAULT = {ENROLLED, "known", "repeated"}


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    people_arguments.add(parser)
    audio_arguments.add_voiceprints(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what would be enrolled, and change nothing"
    )
    parser.add_argument(
        "--write-json", type=Path, metavar="FILE", help="write {name: [paths]}, and enrol nobody"
    )
    parser.add_argument(
        "--npz-model",
        metavar="MODEL",
        help="content hash, name in the store, or --model of what made the vectors",
    )
    parser.add_argument(
        "--failures", type=Path, metavar="FILE", help="list there what is not enrolled, and why"
    )
    parser.add_argument(
        "--max-fail-rate", type=entry.rate, default=0.1, help="share of recordings that may be unusable"
    )
    parser.add_argument("--batch-size", type=int, default=1, help="recordings per network call")
    enrolment_arguments.add(parser)
    audio_arguments.add(parser, raw_pcm=False)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """List, look, enrol, report.

    Raises:
        SpeakerLabError: a source, model or store that cannot be used; too many failures.
    """
    kind = people_arguments.kind_of(arguments)
    consent, gates = enrolment_arguments.consent(arguments), enrolment_arguments.gates(arguments)
    if kind == people_arguments.NPZ and (arguments.npz_model is None or arguments.write_json):
        raise SpeakerLabError("a .npz file holds vectors: give --npz-model, and no --write-json")
    from speakerlab.voiceprint.bulk import Wishes

    wishes = Wishes(gates, consent, arguments.gallery, arguments.dry_run, arguments.batch_size)
    report = Report(arguments)
    if kind == people_arguments.NPZ:
        _enrol_vectors(arguments, wishes, report)
    else:
        listing = people_arguments.listing(arguments, kind)
        report.begin(listing)
        if arguments.write_json:
            _write_json(arguments, listing, report)
        else:
            _enrol(arguments, listing, wishes, report)
    sys.exit(report.end())


def _write_json(arguments: argparse.Namespace, listing: Listing, report: Report) -> None:
    from speakerlab.voiceprint.sources import names_json

    report.require_few([])
    names_json.write(arguments.write_json, listing)
    people = listing.paths()
    report.totals = f"{arguments.write_json}: {len(people)} people, {len(listing.items)} recordings"


def _enrol(arguments: argparse.Namespace, listing: Listing, wishes: Wishes, report: Report) -> None:
    with entry.starting():
        from speakerlab.pipeline import pipeline
        from speakerlab.voiceprint import bulk, bulk_plan

        running = session_arguments.default()
        model, ngpu = audio_arguments.network(arguments, running)
        network = pipeline(model=model, ngpu=ngpu, batch_size=wishes.batch_size, running=running)
    with _store(arguments) as store:
        _require_consent(store, wishes)
        threshold = _threshold(network)
        people = bulk_plan.plan(listing, store, str(network.identity["model_hash"]))
        report.require_few([one for entries in people.values() for one in entries])
        job = bulk.Bulk(store, network.embedder, threshold, wishes, _search(store, threshold))
        for done in job.run(people):
            report.add(done)
    report.identity = dict(network.identity)


def _threshold(network: Pipeline) -> Threshold:
    from speakerlab.pipeline.decision import threshold_of

    found = threshold_of(network.model, None)
    if found.score is None:
        logging.warning("this model has no threshold: nobody looks whether recordings or people sound alike")
    return found


def _search(store: VoiceprintStore, threshold: Threshold) -> Search:
    """A search of the store that follows it, in memory."""
    from speakerlab.serve.people import People

    return lambda dim: People(store, threshold, None, dim).scores


def _enrol_vectors(arguments: argparse.Namespace, wishes: Wishes, report: Report) -> None:
    from speakerlab.voiceprint.bulk import enrol_vectors
    from speakerlab.voiceprint.bulk_plan import Entry
    from speakerlab.voiceprint.sources import npz

    listing, vectors = npz.listed(arguments.source)
    report.begin(listing)
    entries = list(zip(map(Entry, listing.items), vectors, strict=True))
    with _store(arguments) as store:
        _require_consent(store, wishes)
        report.require_few([])
        model = _named_model(store, arguments.npz_model, vectors[0].size if vectors else None)
        for done in enrol_vectors(store, entries, model, wishes):
            report.add(done)
    report.identity = {"model": model[1], "model_hash": model[0]}


def _named_model(store: VoiceprintStore, named: str, dim: int | None) -> tuple[str, str]:
    """Content hash and name of the model that the user states.

    Raises:
        SpeakerLabError: there is no such model, or its embeddings have another size.
    """
    from speakerlab.voiceprint.sources import npz

    known = npz.model_in(store, named)
    if known is None and len(named) == 64 and set(named) <= set("0123456789abcdef"):
        return named, ""
    model_hash, name, size = known or _opened_model(named)
    if dim is not None and size != dim:
        why = f"its embeddings have {size} numbers, and the vectors have {dim}: another model made them"
        raise SpeakerLabError(f"{named}: {why}")
    return model_hash, name


def _opened_model(named: str) -> tuple[str, str, int]:
    """Content hash, name and embedding size of a model of ``--model``; the network tells the last."""
    from speakerlab.pipeline import pipeline

    network = pipeline(model=named, ngpu=0, running=session_arguments.default())
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * network.embedder.sample_rate).astype(np.float32)
    size = network(noise, sample_rate=network.embedder.sample_rate)["spk_embedding"].size
    return str(network.identity["model_hash"]), str(network.identity["model"]), int(size)


@contextlib.contextmanager
def _store(arguments: argparse.Namespace) -> Iterator[VoiceprintStore]:
    """The store; a dry run makes none, and looks at an empty one where there is none."""
    place = arguments.voiceprints
    if not arguments.dry_run:
        with VoiceprintStore.open(place) as store:
            yield store
        return
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(VoiceprintStore.open(place, create=False))
        except DataError as error:
            if error.fix != ENROL or (not is_url(place) and Path(place).exists()):
                raise
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            store = stack.enter_context(VoiceprintStore.open(Path(folder) / "empty.db"))
        yield store


def _require_consent(store: VoiceprintStore, wishes: Wishes) -> None:
    if store.settings()["consent_required"] and wishes.consent is None:
        raise DataError(store.where, "this store demands a consent", "give --consent")


class Report:
    """What is told: a line a person as it goes, or one JSON object at the end; failures apart."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._failed: list[tuple[str, str, str]] = []
        self._people: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._unusable = self._size = 0
        self._refused: list[dict[str, str]] = []
        self._notes: list[str] = []
        self.totals = ""
        self.identity: dict[str, Any] = {}

    def begin(self, listing: Listing) -> None:
        """Note what a source lists, and what it lists in vain."""
        self._size = len(listing.items) + len(listing.refused)
        self._unusable = len(listing.refused)
        self._refused, self._notes = [asdict(one) for one in listing.refused], listing.notes
        for note in listing.notes:
            logging.info("%s", note)
        for one in listing.refused:
            self._fail(one.name, one.recording, one.why)

    def require_few(self, entries: Iterable[Entry]) -> None:
        """Stop before anything is written where too much is unusable.

        Raises:
            DataError: more than ``--max-fail-rate`` of the recordings.
        """
        failed = [one for one in entries if one.state == "failed"]
        unusable = self._unusable + len(failed)
        if self._arguments.dry_run or not self._too_many(unusable):
            return
        for one in failed:
            self._fail(one.item.name, one.origin, one.why)
        self._write_failures()
        raise self._error(unusable, "nobody was enrolled")

    def add(self, done: PersonDone) -> None:
        """Tell what became of one person."""
        self._counts[done.state] += 1
        self._unusable += sum(one.state == "failed" for one in done.entries)
        for one in done.entries:
            if one.state not in WITHOUT_FAULT:
                self._fail(done.name, one.origin, one.why)
        if self._arguments.json:
            self._people.append(_plain(done))
        else:
            print(_text(done, dry_run=self._arguments.dry_run))

    def end(self) -> int:
        """Tell the rest; the exit status.

        Raises:
            DataError: more than ``--max-fail-rate`` of the recordings were unusable.
        """
        self._write_failures()
        if self._arguments.json:
            told = {"source": str(self._arguments.source), "dry_run": self._arguments.dry_run}
            found = {"people": self._people, "refused": self._refused, "notes": self._notes}
            print(json.dumps({**told, **found, "counts": dict(self._counts), **self.identity}))
        else:
            print(self.totals or self._total())
        if not self._arguments.dry_run and self._too_many(self._unusable):
            raise self._error(self._unusable, "the others are enrolled")
        return 3 if self._failed else 0

    def _total(self) -> str:
        would = "would be " if self._arguments.dry_run else ""
        words = {
            ENROLLED: f"{would}enrolled",
            REVIEW: f"{would}on the review list",
            "known": "there already",
            "failed": "without a usable recording",
        }
        found = [f"{self._counts[state]} {word}" for state, word in words.items() if self._counts[state]]
        not_listed = f"; {len(self._refused)} entries cannot be taken" if self._refused else ""
        return f"{sum(self._counts.values())} people: {', '.join(found) or 'none'}{not_listed}"

    def _too_many(self, unusable: int) -> bool:
        return unusable > float(self._arguments.max_fail_rate) * self._size

    def _error(self, unusable: int, then: str) -> DataError:
        why = f"{unusable} of {self._size} recordings cannot be used, and {then}"
        return DataError(self._arguments.source, why, "repair them, or allow more with --max-fail-rate")

    def _fail(self, name: str, recording: str, why: str) -> None:
        self._failed.append((name, recording, why))
        if self._arguments.dry_run and not self._arguments.json:
            if not any(recording == one["recording"] and why == one["why"] for one in self._refused):
                return  # it stands in the report, beside the person
            print(": ".join(filter(None, ("not taken", name, why))))
        elif not self._arguments.failures:
            logging.error("%s", ": ".join(filter(None, (name, recording, why))))

    def _write_failures(self) -> None:
        if self._arguments.failures:
            rows = ("\t".join(" ".join(one.split()) for one in row) + "\n" for row in self._failed)
            atomic.write_text(self._arguments.failures, "name\trecording\twhy\n" + "".join(rows))


def _plain(done: PersonDone) -> dict[str, Any]:
    """What JSON holds of one person."""
    recordings = [
        {"recording": one.origin, "state": one.state, "why": one.why, "speech_s": one.speech_s}
        for one in done.entries
    ]
    found = [asdict(one) for one in done.findings]
    return {"name": done.name, "state": done.state, "findings": found, "recordings": recordings}


def _text(done: PersonDone, *, dry_run: bool) -> str:
    """A line a person; in a dry run, and where something was passed over, one a recording."""
    would = "would be " if dry_run else ""
    words = {
        ENROLLED: f"{would}enrolled",
        REVIEW: f"{would}on the review list",
        "known": "there already",
        "failed": "no usable recording",
    }
    number = sum(one.state == done.state for one in done.entries)
    lines = [f"{done.name}: {words[done.state]}, {number} of {len(done.entries)} recordings"]
    lines += [f"  {'because' if one.blocks else 'note'}: {one.why}" for one in done.findings]
    for one in done.entries:
        speech = f"{one.speech_s:.1f} s of speech" if one.speech_s is not None else ""
        told = one.why if one.state != REVIEW or not done.findings else ""
        if dry_run or one.state == "repeated":
            state = "new" if one.state == ENROLLED else one.state
            lines.append(f"  {one.origin}: {', '.join(filter(None, (state, speech, told)))}")
    return "\n".join(lines)


if __name__ == "__main__":
    entry.run(main, options())
