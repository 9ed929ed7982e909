"""Where a training run came from, and whether a rerun is the same run.

``begun(exp_dir, run)`` is the corpus to resume with, or None, or refuses and names what differs;
``claim(exp_dir, run, goes_on=False)`` writes ``config.yaml``, ``provenance.json``, the lists of speakers and
of utterances.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from speakerlab import config as config_io
from speakerlab.errors import ConfigError, DataError
from speakerlab.io import atomic
from speakerlab.io.parts import FAILURES
from speakerlab.io.states import States
from speakerlab.train import checkpoint, listing
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.experiment import ExperimentConfig

# provenance.json first: without it nothing is a run
_FILES = ("provenance.json", "config.yaml", "speakers.txt", listing.NAME, FAILURES, "train.jsonl")
_FOLDERS = ("checkpoints", "untrained", "model")
MAX_LOST = 0.1  # share of the utterances; a list that lost more is another list


def read(exp_dir: Path) -> dict[str, Any]:
    """The provenance of a run that was claimed."""
    facts: dict[str, Any] = json.loads((exp_dir / "provenance.json").read_text(encoding="utf-8"))
    return facts


@dataclass(frozen=True)
class Run:
    """What decides a training run.

    Attributes:
        config: its settings.
        corpus: its utterances.
        inputs: what else its crops are made of, by option: type of features, noises, rooms.
        sources: the states of audio or features.
        max_fail_rate: share of the utterances that it may do without.
    """

    config: ExperimentConfig
    corpus: TrainCorpus
    inputs: Mapping[str, str] = field(default_factory=dict)
    sources: Sequence[States] = ()
    max_fail_rate: float = 0.0


def begun(exp_dir: Path, run: Run, *, overwrite: bool = False) -> TrainCorpus | None:
    """The corpus to go on with where ``exp_dir`` holds this run; None where it is to begin.

    More epochs than before make no other run; nor do a few utterances that the data dir has lost since.

    Raises:
        DataError: it holds a run with other settings or data and ``overwrite`` is not given; the message
            names what differs.
    """
    if not (exp_dir / "provenance.json").exists():
        return None
    rows = listing.read(exp_dir)
    found = listing.Comparison()
    differences = _other_settings(exp_dir, run.config) + _other_inputs(exp_dir, run.inputs)
    if rows is not None:
        found = listing.compare(rows, run.corpus, run.sources)
        differences += _other_data(found, len(rows), run.max_fail_rate)
    elif read(exp_dir)["train_data_hash"] != _data_hash(run.corpus):
        differences.append("other training data")
    if differences and overwrite:
        return None
    if differences:
        raise DataError(
            exp_dir,
            f"holds a run with {'; '.join(differences)}",
            "use another --exp or --overwrite true, which discards that run",
        )
    if rows is None:
        return run.corpus
    left_out = dict.fromkeys(found.lost, "is no longer in the data dir") | found.changed
    for utt_id, why in left_out.items():
        logging.warning("%s %s; other utterances take its crops", utt_id, why)
    return listing.continued(rows, run.corpus, tuple(left_out))


def _other_settings(exp_dir: Path, config: ExperimentConfig) -> list[str]:
    """How the settings of the run in ``exp_dir`` differ where that matters: at most one text."""
    before, now = _settings(exp_dir), dict(_flat(config_io.to_mapping(config)))
    ignored = {"train.average"}  # says what is averaged afterwards
    done = checkpoint.finished(exp_dir)
    if not done or checkpoint.epoch_of(done[-1]) <= config.train.epochs:
        ignored.add("train.epochs")
    for key, value in now.items():  # what is off on both sides has no say
        if key.endswith(".probability") and value == before.get(key) == 0:
            ignored |= {other for other in now if other.startswith(key.removesuffix("probability"))}
    if config.optimizer.name != "sgd":
        ignored.add("optimizer.momentum")
    names = [key for key in {**now, **before} if key not in ignored and before.get(key) != now.get(key)]
    values = ", ".join(f"{key} (was {before.get(key)}, is {now.get(key)})" for key in names)
    return [f"other settings: {values}"] if names else []


def _settings(exp_dir: Path) -> dict[str, Any]:
    """The settings of the run in ``exp_dir`` by dotted key; newer ones have their default."""
    data = config_io.read_yaml(exp_dir / "config.yaml")
    with contextlib.suppress(ConfigError):  # settings that this version refuses are compared as they are
        data = config_io.to_mapping(config_io.from_mapping(ExperimentConfig, data, exp_dir / "config.yaml"))
    return dict(_flat(data))


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _other_inputs(exp_dir: Path, inputs: Mapping[str, str]) -> list[str]:
    """How the inputs differ; a run of an older version does not state them."""
    before = read(exp_dir).get("inputs", inputs)
    return [
        f"another {key} (was {before[key]}, is {value})"
        for key, value in inputs.items()
        if before.get(key, value) != value
    ]


def _other_data(found: listing.Comparison, num_utterances: int, max_fail_rate: float) -> list[str]:
    """Why these are other training data: utterances are new, changed, or too many are lost."""
    allowed = max_fail_rate * num_utterances
    kinds = (
        (found.new, "new utterances, the first {}", 0.0),
        (
            [f"{utt_id} {what}" for utt_id, what in found.changed.items()],
            "changed utterances, the first: {}",
            allowed,
        ),
        (found.lost, "utterances fewer, the first {}", max(1.0, MAX_LOST * num_utterances, allowed)),
    )
    return [
        f"other training data: {len(members)} {text.format(members[0])}"
        for members, text, most in kinds
        if len(members) > most
    ]


def claim(exp_dir: Path, run: Run, *, goes_on: bool) -> None:
    """Make ``exp_dir`` the place of this run; where it ``goes_on``, what an earlier start left is kept."""
    text, marker = config_io.dump(run.config), exp_dir / "provenance.json"
    if goes_on:
        before = _settings(exp_dir)
        epochs, average = run.config.train.epochs, run.config.train.average
        if (before.get("train.epochs"), before.get("train.average")) != (epochs, average):
            done = checkpoint.finished(exp_dir)
            at = checkpoint.epoch_of(done[-1]) if done else 0
            said = f"train.epochs {before.get('train.epochs')} to {epochs} after epoch {at}"
            atomic.write_text(exp_dir / "config.yaml", text)
            atomic.write_text(marker, json.dumps({**read(exp_dir), "changed": said}, indent=2) + "\n")
            logging.info("goes on with other settings: %s", said)
        return
    if marker.exists():
        discard(exp_dir)
    corpus = run.corpus
    atomic.write_text(exp_dir / "config.yaml", text)
    atomic.write_text(exp_dir / "speakers.txt", "\n".join(corpus.speakers) + "\n")
    listing.write(exp_dir, corpus, run.sources)
    facts = {**environment(), "train_data_hash": _data_hash(corpus), "num_speakers": len(corpus.speakers)}
    facts["inputs"] = dict(run.inputs)
    facts["num_utterances"] = len(corpus.data.utterances)
    facts["domain"] = corpus.data.domain()
    facts["hours"] = round(float(corpus.durations_s.sum()) / 3600, 4)
    atomic.write_text(marker, json.dumps(facts, indent=2) + "\n")


def discard(exp_dir: Path) -> None:
    """Remove what a training run left in ``exp_dir``, and nothing else."""
    for name in _FOLDERS:
        shutil.rmtree(exp_dir / name, ignore_errors=True)
    for name in _FILES:
        (exp_dir / name).unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """Command, commit, versions, host and time."""
    return {
        "command": shlex.join(sys.argv),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "host": platform.node(),
        "machine": platform.machine(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git: an installed package
        return ""
    return done.stdout.strip()


def _data_hash(corpus: TrainCorpus) -> str:
    """Over utterance ids, speakers and durations: what decides the crops, wherever the files lie."""
    digest = hashlib.sha256()
    for utterance, duration_s in zip(corpus.data.utterances, corpus.durations_s, strict=True):
        digest.update(f"{utterance.utt_id} {utterance.spk_id} {duration_s:.3f}\n".encode())
    return digest.hexdigest()
