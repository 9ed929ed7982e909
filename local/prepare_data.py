"""Stage 0 of recipe zero: make the default corpus, sessions of synthesised speakers in noisy rooms.

Writes Kaldi data dirs OUT_DIR/train and OUT_DIR/test (wav.scp utt2spk spk2gender utt2dur domain; in
test also trials and trials_same_gender) over FLAC files in OUT_DIR/audio. One seed gives the same bytes,
whatever --nj.

Example: python local/prepare_data.py data/demo --nj 2
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from recordings import Task, Utt, record_speaker
from synthesis import require_espeak
from voices import Voice, draw_voices

from speakerlab import logs
from speakerlab.bin import entry
from speakerlab.data.tables import write_table
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.io import atomic

MINIMA = {"num_speakers": 2, "num_test_speakers": 4, "nj": 1, "seed": 0}  # 4: two of each gender
DOMAIN = "synthetic speech"  # what a model trained on it tells with every answer
MANIFEST = "corpus.json"  # its presence says that the corpus is complete
TRAIN_SESSIONS, TEST_SESSIONS = (6, 8), (4, 6)
UTTS_PER_SESSION = 2
NONTARGETS_PER_TARGET = 4  # half of them of one gender
HEAVY_MODULES = ["numpy", "scipy.fft", "scipy.signal", "soundfile"]
SCRIPTS = ("prepare_data", "recordings", "voices", "sentences", "synthesis", "channel")


@dataclass(frozen=True)
class Recorded:
    """A speaker and what was recorded of them."""

    spk_id: str
    voice: Voice
    utts: Sequence[Utt]


def main(arguments: argparse.Namespace) -> None:
    """Make the corpus unless it is already there."""
    for name, least in MINIMA.items():
        if getattr(arguments, name) < least:
            raise SpeakerLabError(f"--{name.replace('_', '-')} must be at least {least}")
    require_espeak()
    out_dir = Path(arguments.out_dir)
    settings = describe(arguments.seed, arguments.num_speakers, arguments.num_test_speakers)
    if is_complete(out_dir, settings, overwrite=arguments.overwrite):
        logging.info("%s is complete and of these settings: kept", out_dir)
        return
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make_corpus(partial, arguments)
        atomic.write_text(partial / MANIFEST, json.dumps(settings, indent=2) + "\n")
        publish(partial, out_dir)
    except OSError as error:
        raise DataError(error.filename or out_dir, error.strerror or str(error), "make room there") from error


def describe(seed: int, num_speakers: int, num_test_speakers: int) -> dict[str, int | str]:
    """All that determines the corpus: the settings, these scripts and the synthesiser."""
    scripts = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in SCRIPTS)
    return {
        "seed": seed,
        "num_speakers": num_speakers,
        "num_test_speakers": num_test_speakers,
        "scripts": hashlib.sha256(scripts).hexdigest()[:16],
        "espeakng_loader": version("espeakng-loader"),
    }


def is_complete(out_dir: Path, settings: dict[str, int | str], *, overwrite: bool) -> bool:
    """Whether ``out_dir`` already holds this corpus.

    Raises:
        DataError: it holds something else, which only ``overwrite`` may replace, and only a corpus of ours.
    """
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return False
    try:
        found = dict(json.loads((out_dir / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = {}
    if found.keys() != settings.keys():
        raise DataError(out_dir, "exists and was not made by this script", "name another folder")
    if overwrite or found == settings:
        return not overwrite
    names = ", ".join(name for name in settings if found[name] != settings[name])
    fix = f"remove it (rm -r {out_dir}) or give --overwrite"
    raise DataError(out_dir, f"holds a corpus that differs in: {names}", fix)


def publish(partial: Path, out_dir: Path) -> None:
    """Put the finished corpus in place of the old one, if any."""
    old = out_dir.with_name(f".{out_dir.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out_dir.exists():
        out_dir.rename(old)
    partial.rename(out_dir)
    shutil.rmtree(old, ignore_errors=True)


def make_corpus(corpus_dir: Path, arguments: argparse.Namespace) -> None:
    """Record every speaker and write both data dirs."""
    num_train = arguments.num_speakers
    num_speakers = num_train + arguments.num_test_speakers
    rng = np.random.default_rng(arguments.seed)
    spk_ids = [f"spk{number:04d}" for number in range(1, num_speakers + 1)]
    tasks = []
    for number, voice in enumerate(draw_voices(num_speakers, rng)):
        name, sessions = ("train", TRAIN_SESSIONS) if number < num_train else ("test", TEST_SESSIONS)
        audio_dir, seed = corpus_dir / "audio" / name, (arguments.seed, number)
        tasks.append(Task(spk_ids[number], voice, sessions, UTTS_PER_SESSION, audio_dir, seed))
    logging.info("recording %d speakers in %d processes", num_speakers, arguments.nj)
    utts = list(logs.progress(record_all(tasks, arguments.nj), "recording speakers", num_speakers))
    recorded = [Recorded(task.spk_id, task.voice, of_task) for task, of_task in zip(tasks, utts, strict=True)]
    write_data_dir(corpus_dir / "train", recorded[:num_train])
    write_data_dir(corpus_dir / "test", recorded[num_train:])
    write_trials(corpus_dir / "test", recorded[num_train:], rng)


def record_all(tasks: Sequence[Task], num_jobs: int) -> Iterator[list[Utt]]:
    """Utterances of each task in order, every task in a process of its own, ``num_jobs`` at a time."""
    context = get_context("forkserver")
    context.set_forkserver_preload(HEAVY_MODULES)  # imported once, not by every process

    def isolated(task: Task) -> list[Utt]:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                return pool.submit(record_speaker, task).result()
            except BrokenProcessPool:
                why = f"{task.spk_id}: its process was killed"
                raise SpeakerLabError(f"{why}; free memory and run again") from None

    with ThreadPoolExecutor(num_jobs) as threads:
        yield from threads.map(isolated, tasks)


def write_data_dir(data_dir: Path, recorded: Sequence[Recorded]) -> None:
    """The tables of one set; audio paths are relative to ``data_dir``, so that the corpus can be moved."""
    pairs = [(one.spk_id, utt) for one in recorded for utt in one.utts]
    source = f"../audio/{data_dir.name}"
    write_table(data_dir / "wav.scp", [(u.utt_id, f"{source}/{s}/{u.utt_id}.flac") for s, u in pairs])
    write_table(data_dir / "utt2spk", [(u.utt_id, s) for s, u in pairs])
    write_table(data_dir / "utt2dur", [(u.utt_id, f"{u.duration_s:.3f}") for _, u in pairs])
    write_table(data_dir / "domain", [(DOMAIN,)])
    write_table(data_dir / "spk2gender", [(one.spk_id, one.voice.gender) for one in recorded])
    minutes = sum(utt.duration_s for _, utt in pairs) / 60
    logging.info(
        "%s: %d speakers, %d utterances, %.0f min", data_dir.name, len(recorded), len(pairs), minutes
    )


def write_trials(data_dir: Path, recorded: Sequence[Recorded], rng: np.random.Generator) -> None:
    """Every pair of a speaker's sessions as targets, and a random draw of other pairs."""
    pairs: dict[str, list[tuple[str, str]]] = {"target": [], "same": [], "other": []}
    everything = [(one, utt) for one in recorded for utt in one.utts]
    for (enroll, enroll_utt), (test, test_utt) in itertools.combinations(everything, 2):
        if enroll is not test:
            kind = "same" if enroll.voice.gender == test.voice.gender else "other"
        elif enroll_utt.session == test_utt.session:
            continue  # the channel alone would tell
        else:
            kind = "target"
        pairs[kind].append((enroll_utt.utt_id, test_utt.utt_id))
    half = len(pairs["target"]) * NONTARGETS_PER_TARGET // 2
    same, other = (draw(pairs[kind], half, rng) for kind in ("same", "other"))
    targets = [(*pair, "target") for pair in pairs["target"]]
    same_gender = [*targets, *((*pair, "nontarget") for pair in same)]
    write_table(data_dir / "trials_same_gender", sorted(same_gender))
    write_table(data_dir / "trials", sorted([*same_gender, *((*pair, "nontarget") for pair in other)]))


def draw(pairs: Sequence[tuple[str, str]], num_pairs: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """``num_pairs`` of ``pairs``, or all where there are fewer."""
    rows = rng.choice(len(pairs), min(num_pairs, len(pairs)), replace=False)
    return [pairs[row] for row in rows]


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("out_dir", help="folder to make; it appears only when complete")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another corpus")
    parser.add_argument("--num-speakers", type=int, default=80, help="speakers to train on")
    parser.add_argument("--num-test-speakers", type=int, default=20, help="speakers to test on, all others")
    parser.add_argument("--nj", type=int, default=2, help="speakers recorded at a time")
    parser.add_argument("--overwrite", action="store_true", help="replace a corpus made with other settings")
    return parser


if __name__ == "__main__":
    entry.run(main, options())
