"""What an evaluation is made of: score files, trial lists, and who speaks in their ids.

In: ``System(name, trials, scores)`` for every row; out: ``Scored`` lists, read and checked.
``read_systems([System("campplus", Path("trials"), Path("scores"))], Speakers())``
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speakerlab.data.datadir import ENROLL_MAP
from speakerlab.data.tables import read_enroll_map, read_utt2spk
from speakerlab.errors import DataError
from speakerlab.io import foreign_scores, scores
from speakerlab.report.evaluation import Scored
from speakerlab.types import TrialList


@dataclass(frozen=True)
class System:
    """One row of the table: a name, a trial list (None where the scores carry labels) and a score file."""

    name: str
    trials: Path | None
    scores: Path


@dataclass(frozen=True)
class Speakers:
    """Where the speakers of ids are known from.

    Attributes:
        files: ``utt2spk`` files; without any, the one beside each list.
        separator: the speaker is the part of an id before the first of these; None: ids do not tell.
    """

    files: Sequence[Path] = ()
    separator: str | None = None

    def of(self, path: Path, trials: TrialList) -> dict[str, str]:
        """Speaker of every id of ``trials``, the list in ``path``; empty where none is known.

        Raises:
            DataError: files that contradict each other or lack an id, an id without the separator.
        """
        ids = {*trials.enroll_ids, *trials.test_ids}
        if self.separator:
            return {i: _first_part(i, self.separator, path) for i in ids}
        beside = path.with_name("utt2spk")
        files = self.files or [beside] * beside.exists()
        known = _merged(files)
        models = path.with_name(ENROLL_MAP)
        if models.exists():
            known = {**known, **_of_models(models, known)}
        unknown = sorted(ids - known.keys())
        if not unknown:
            return {i: known[i] for i in ids}
        if self.files:
            why = f"no speaker for '{unknown[0]}' of {path} ({len(unknown)} such ids)"
            raise DataError(self.files[-1], why, "give every id of the list a speaker")
        if files:  # models without enroll.map, for instance
            logging.warning("%s: no interval, %d ids have no speaker in %s", path, len(unknown), beside)
        return {}


def read_systems(
    systems: Sequence[System], speakers: Speakers, *, form: str | None = None, llr: Collection[str] = ()
) -> list[Scored]:
    """The scores of every system with their labels and speakers, in order.

    Scores are log-likelihood ratios where they are in NIST's format, which demands it, or where their card,
    ``<scores>.json``, has ``"llr": true``.

    Args:
        systems: what to read; each list once, however many systems it is of.
        speakers: where the speakers are known from.
        form: format of the score files; None: what each looks like.
        llr: names of systems whose scores are log-likelihood ratios in any case.

    Raises:
        DataError: as ``foreign_scores.read``; the same name and list twice; a card that is not JSON.
    """
    _check_names(systems)
    titles = _titles(each.trials or each.scores for each in systems)
    lists = {path: foreign_scores.read_trial_list(path) for each in systems if (path := each.trials)}
    utt2spk: dict[Path, Mapping[str, str]] = {}
    scored = []
    for each in systems:
        path = each.trials or each.scores
        of_file = form or foreign_scores.recognise(each.scores)
        table = foreign_scores.read(each.scores, lists.get(path), of_file)
        if path not in utt2spk:
            utt2spk[path] = speakers.of(path, table.trials)
        is_llr = each.name in llr or of_file == "nist" or _card_says_llr(each.scores)
        scored.append(Scored(each.name, titles[path], path, each.scores, table, is_llr, utt2spk[path]))
    return scored


def _check_names(systems: Sequence[System]) -> None:
    seen: set[tuple[str, Path]] = set()
    for each in systems:
        key = each.name, each.trials or each.scores
        if key in seen:
            raise DataError(
                key[1], f"two sets of scores for system '{each.name}'", "give each --system a name"
            )
        seen.add(key)


def _card_says_llr(path: Path) -> bool:
    return scores.card(path).get("llr") is True


def _merged(paths: Sequence[Path]) -> dict[str, str]:
    speakers: dict[str, str] = {}
    for path in paths:
        for utt_id, spk_id in read_utt2spk(path).items():
            if speakers.setdefault(utt_id, spk_id) != spk_id:
                why = f"{utt_id} is speaker {spk_id} here and {speakers[utt_id]} in an earlier file"
                raise DataError(path, why, "give one speaker to each id")
    return speakers


def _of_models(path: Path, known: Mapping[str, str]) -> dict[str, str]:
    """The speaker of each model in ``path`` whose utterances all have the same."""
    found = {}
    for name, utt_ids in read_enroll_map(path).items():
        speakers = {known.get(utt_id, "") for utt_id in utt_ids}
        if len(speakers) == 1 and "" not in speakers:
            found[name] = speakers.pop()
    return found


def _first_part(utt_id: str, separator: str, path: Path) -> str:
    speaker, found, _ = utt_id.partition(separator)
    if not found:
        fix = "give another --spk-from-id, or --utt2spk"
        raise DataError(path, f"no '{separator}' in the id '{utt_id}'", fix)
    return speaker


def _titles(paths: Iterable[Path]) -> dict[Path, str]:
    """Folder and file name of each trial list, or whole paths where those are not unique."""
    titles = {path: f"{path.parent.name}/{path.name}".lstrip("/") for path in paths}
    return titles if len(set(titles.values())) == len(titles) else {path: str(path) for path in titles}
