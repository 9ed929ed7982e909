"""Open-set identification of real people through the server: who is found, missed, or taken for another.

Of each speaker of --data the recording whose id ends in --enrol is enrolled and the others are identified. So
are all recordings of --unknown, who are nobody. Ids of one group of --groups (columns: id, group) are one
person. With --adapted the speakers are divided in two: a model that is adapted to the recordings of one half,
without labels, serves the other. Printed: rank-1 (the nearest is the person), FNIR (the person is not
accepted, or another is), FPIR (an unknown is accepted) at the threshold, FNIR where no unknown is accepted,
with 95 % intervals (people drawn anew), and what the warnings "sounds like X" named. Needs the extra serve.

Example: python benchmarks/identify_people.py --data corpus/eval-accent --unknown corpus/eval-libri
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from serve import free_port, process

from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.errors import SpeakerLabError

NUM_DRAWS = 1000


def options() -> argparse.ArgumentParser:
    parser = entry.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data dir of the people")
    parser.add_argument("--unknown", type=Path, required=True, help="data dir of other people")
    parser.add_argument("--enrol", default="name", help="ending of the ids of the recordings to enrol")
    parser.add_argument("--groups", type=Path, help="file of ids that are one person")
    parser.add_argument("--model", default="campplus", help="model")
    parser.add_argument("--adapted", action="store_true", help="adapt the model to the other half")
    parser.add_argument("--false-accept", default="0.01", help="with --adapted: as of speakerlab adapt")
    return parser


@dataclass
class Found:
    """What was answered of each recording: the nearest, its score, and whether it was accepted."""

    people: list[str | None] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    accepted: list[bool] = field(default_factory=list)
    refused: int = 0
    named: set[frozenset[str]] = field(default_factory=set)
    waiting: int = 0


def call(port: int, path: str, recording: Path, **params: str) -> Any:
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(params)}"
    kind = {"Content-Type": "application/octet-stream"}
    return json.load(urllib.request.urlopen(urllib.request.Request(url, recording.read_bytes(), kind)))


def serve(
    model: str,
    folder: Path,
    enrolled: Mapping[str, Path],
    probes: Mapping[Path, str | None],
    person: Callable[[str], str],
) -> Found:
    """Enrol the recordings of ``enrolled`` by id and identify ``probes``, each with its person or None."""
    found, port = Found(), free_port()
    command = [
        sys.executable, "-m", "speakerlab.cli", "serve", "--cpu", "--model", model, "--port", str(port),
        "--store", str(folder / "people.db"), "--min-speech", "1",
    ]  # fmt: skip
    with process(command, port, "/v1/health", folder / "log"):
        for name, recording in enrolled.items():
            done = call(port, "/v1/enrolments", recording, name=name)
            found.waiting += done["state"] == "review"
            for why in done["findings"]:
                if other := re.match(r"sounds like (\S+), already enrolled", why):
                    found.named.add(frozenset((name, other[1])))
        for recording, who in probes.items():
            told = call(port, "/v1/identify", recording)
            found.people.append(who)
            found.nearest.append(person(told["candidates"][0]["name"]))
            found.scores.append(told["score"])
            found.accepted.append(told["accepted"])
            found.refused += told["decision"] == "uncertain"
    return found


def rates(
    people: Sequence[str | None], nearest: Sequence[str], scores: Sequence[float], accepted: Sequence[bool]
) -> list[float]:
    """rank-1, FNIR, FPIR, and FNIR above the highest score of an unknown."""
    known = np.array([who is not None for who in people])
    right = np.array([who == near for who, near in zip(people, nearest, strict=True)])
    values, yes = np.array(scores), np.array(accepted)
    highest = values[~known].max(initial=-np.inf)
    return [
        float(right[known].mean()),
        float(1 - (right & yes)[known].mean()),
        float(yes[~known].mean()),
        float(1 - (right & (values > highest))[known].mean()),
    ]


def intervals(found: Found) -> list[tuple[float, float, float]]:
    """Each rate with its 95 % interval: people, and unknown recordings, drawn anew."""
    names = sorted({who for who in found.people if who is not None})
    rows = {name: [n for n, who in enumerate(found.people) if who == name] for name in names}
    unknown = [n for n, who in enumerate(found.people) if who is None]
    rng, draws = np.random.default_rng(0), []
    columns = (found.people, found.nearest, found.scores, found.accepted)
    for _ in range(NUM_DRAWS):
        chosen = [row for name in rng.choice(names, len(names)) for row in rows[name]]
        chosen += rng.choice(unknown, len(unknown)).tolist()
        draws.append(rates(*([column[row] for row in chosen] for column in columns)))
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    return list(zip(rates(*columns), low.tolist(), high.tolist(), strict=True))


def main(arguments: argparse.Namespace) -> None:
    data, others = DataDir.load(arguments.data), DataDir.load(arguments.unknown)
    groups = {}
    if arguments.groups:
        rows = [
            line.split() for line in arguments.groups.read_text().splitlines() if not line.startswith("#")
        ]
        groups = {row[0]: row[1] for row in rows if len(row) > 1}
    paths = {str(u.utt_id): Path(data.recordings[u.segment.rec_id].source) for u in data.utterances}
    speakers = {str(u.utt_id): str(u.spk_id) for u in data.utterances}
    unknown = [Path(others.recordings[u.segment.rec_id].source) for u in others.utterances]
    people = sorted({groups.get(one, one) for one in speakers.values()})
    halves = [people]
    if arguments.adapted:
        mixed = np.random.default_rng(0).permutation(people).tolist()
        halves = [sorted(mixed[: len(mixed) // 2]), sorted(mixed[len(mixed) // 2 :])]

    def person(speaker: str) -> str:
        return groups.get(speaker, speaker)

    total, wrong, pairs = Found(), 0, set()
    with tempfile.TemporaryDirectory() as text:
        for number, half in enumerate(halves):
            folder = Path(text) / str(number)
            folder.mkdir()
            model = arguments.model
            if arguments.adapted:
                strangers = {key: path for key, path in paths.items() if person(speakers[key]) not in half}
                model = adapted(model, folder, strangers, arguments.false_accept)
            mine = {key: path for key, path in paths.items() if person(speakers[key]) in half}
            enrolled = {speakers[key]: path for key, path in mine.items() if key.endswith(arguments.enrol)}
            probes: dict[Path, str | None] = {
                path: person(speakers[key]) for key, path in mine.items()
                if not key.endswith(arguments.enrol) and speakers[key] in enrolled
            }  # fmt: skip
            found = serve(model, folder, enrolled, {**probes, **dict.fromkeys(unknown)}, person)
            for name in ("people", "nearest", "scores", "accepted"):
                getattr(total, name).extend(getattr(found, name))
            total.refused, total.waiting = total.refused + found.refused, total.waiting + found.waiting
            wrong += sum(len({person(one) for one in pair}) > 1 for pair in found.named)
            pairs |= {person(min(pair)) for pair in found.named if len({person(one) for one in pair}) == 1}
    tell(total, wrong, pairs, len({group for one, group in groups.items() if one in speakers.values()}))


def adapted(model: str, folder: Path, recordings: Mapping[str, Path], false_accept: str) -> str:
    """The model, adapted to recordings without labels.

    Raises:
        SpeakerLabError: it cannot be.
    """
    (folder / "wav.scp").write_text("".join(f"{key} {path}\n" for key, path in recordings.items()))
    out = folder / "adapted"
    command = [
        "adapt",
        "--recordings",
        str(folder / "wav.scp"),
        "--false-accept",
        false_accept,
        "--cpu",
        model,
        str(out),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "speakerlab.cli", *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SpeakerLabError(done.stderr.strip())
    return str(out)


def tell(found: Found, wrong: int, pairs: set[str], num_groups: int) -> None:
    known = sum(who is not None for who in found.people)
    unknown = len(found.people) - known
    print(f"{known} recordings of people enrolled, {unknown} of unknown; not decided: {found.refused}")
    names = ("rank-1", "FNIR", "FPIR", "FNIR where no unknown is accepted")
    for name, (value, low, high) in zip(names, intervals(found), strict=True):
        print(f"{name:34} {value:.3f} [{low:.3f}, {high:.3f}]")
    print(f"groups named by a warning: {len(pairs)} of {num_groups}; pairs of others named: {wrong}")
    print(f"enrolments that wait for review: {found.waiting}")


if __name__ == "__main__":
    entry.run(main, options())
