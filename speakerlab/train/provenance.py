"""Where a training run came from, and whether a rerun is the same run.

``claim(exp_dir, config, corpus, overwrite=False)`` writes ``config.yaml``, ``provenance.json`` and
``speakers.txt``, or finds them equal (then training resumes), or refuses.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from speakerlab import config as config_io
from speakerlab.errors import DataError
from speakerlab.io import atomic
from speakerlab.train.corpus import TrainCorpus
from speakerlab.train.experiment import ExperimentConfig

_FILES = ("config.yaml", "provenance.json", "speakers.txt", "train.jsonl")
_FOLDERS = ("checkpoints", "untrained", "model")


def read(exp_dir: Path) -> dict[str, Any]:
    """The provenance of a run that was claimed."""
    facts: dict[str, Any] = json.loads((exp_dir / "provenance.json").read_text(encoding="utf-8"))
    return facts


def claim(exp_dir: Path, config: ExperimentConfig, corpus: TrainCorpus, *, overwrite: bool) -> None:
    """Make ``exp_dir`` the place of this run, keeping what an earlier start of it left.

    Raises:
        DataError: it holds a run with other settings or data and ``overwrite`` is not given.
    """
    text, data_hash = config_io.dump(config), _data_hash(corpus)
    marker = exp_dir / "provenance.json"
    if marker.exists():
        settings_differ = (exp_dir / "config.yaml").read_text(encoding="utf-8") != text
        data_differ = read(exp_dir)["train_data_hash"] != data_hash
        if not settings_differ and not data_differ:
            return
        if not overwrite:
            what = "settings" if settings_differ else "training data"
            raise DataError(
                exp_dir, f"holds a run with other {what}", "use another --exp or --overwrite true"
            )
        discard(exp_dir)
    atomic.write_text(exp_dir / "config.yaml", text)
    atomic.write_text(exp_dir / "speakers.txt", "\n".join(corpus.speakers) + "\n")
    facts = {**environment(), "train_data_hash": data_hash, "num_speakers": len(corpus.speakers)}
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
