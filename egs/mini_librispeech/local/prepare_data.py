"""Stage 0 of the Mini LibriSpeech recipes: download OpenSLR 31 and write Kaldi data dirs.

Writes DATA_DIR/train (train-clean-5) and DATA_DIR/test (dev-clean-2): wav.scp utt2spk spk2gender utt2dur,
in test also trials and trials_same_gender. An interrupted download goes on where it stopped.

Example: python egs/mini_librispeech/local/prepare_data.py data/mini_librispeech
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import logging
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from download import Archive, check, fetch

from speakerlab.bin import entry
from speakerlab.data.tables import write_table
from speakerlab.errors import DataError
from speakerlab.io import audio
from speakerlab.types import RecId, Recording

BASE_URL = "https://www.openslr.org/resources/31"
# Sizes and checksums as in https://www.openslr.org/resources/31/md5sum.txt
ARCHIVES = {
    "train": Archive("train-clean-5.tar.gz", 332_954_390, "5df7d4e78065366204ca6845bb08f490"),
    "test": Archive("dev-clean-2.tar.gz", 126_046_265, "6d7ab67ac6a1d2c993d050e16d61080d"),
}
TARGETS_PER_SPEAKER = 200
NONTARGETS_PER_PAIR = 20  # of speakers


@dataclass(frozen=True)
class Utt:
    """One FLAC file of the corpus."""

    utt_id: str
    spk_id: str
    chapter: str
    path: Path


Pair = tuple[Utt, Utt]


def main(arguments: argparse.Namespace) -> None:
    """Download, unpack and write the data dirs."""
    data_src = Path(arguments.data_src) if arguments.data_src else None
    try:
        prepare(Path(arguments.data_dir), data_src, BASE_URL, ARCHIVES)
    except OSError as error:
        raise DataError(error.filename or arguments.data_dir, error.strerror or str(error)) from error


def prepare(data_dir: Path, data_src: Path | None, base_url: str, archives: Mapping[str, Archive]) -> None:
    """Write one data dir for each of ``archives``, trials into the one called test.

    Raises:
        DataError: a download, archive or corpus is not what it should be.
    """
    for name, archive in archives.items():
        subset_dir = find_subset(archive, data_src) if data_src else None
        if subset_dir is None:
            subset_dir = unpacked(archive, data_dir / "corpus", data_src, base_url)
        utts = find_utts(subset_dir)
        genders = read_genders(subset_dir.parent / "SPEAKERS.TXT")
        write_data_dir(data_dir / name, utts, genders)
        if name == "test":
            write_trials(data_dir / name, utts, genders)


def subset_name(archive: Archive) -> str:
    """``dev-clean-2`` for ``dev-clean-2.tar.gz``."""
    return archive.name.removesuffix(".tar.gz")


def find_subset(archive: Archive, data_src: Path) -> Path | None:
    """The unpacked subset below ``data_src``, None if only its archive is there.

    Raises:
        DataError: neither is there.
    """
    subset = subset_name(archive)
    for candidate in (data_src / "LibriSpeech" / subset, data_src / subset):
        if candidate.is_dir():
            return candidate.resolve()
    if (data_src / archive.name).is_file():
        return None
    why = f"has neither {archive.name} nor LibriSpeech/{subset}"
    raise DataError(data_src, why, "give the folder of the archives or the unpacked LibriSpeech folder")


def unpacked(archive: Archive, corpus_dir: Path, data_src: Path | None, base_url: str) -> Path:
    """The subset's folder below ``corpus_dir``, unpacked there unless it is; it appears when complete."""
    subset = subset_name(archive)
    final = corpus_dir / subset
    if not final.exists():
        if data_src:
            path = data_src / archive.name
            check(path, archive)
        else:
            path = fetch(archive, base_url, corpus_dir)
        partial = corpus_dir / f".{subset}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        logging.info("unpacking %s", path)
        unpack(path, partial)
        partial.rename(final)
    return final / "LibriSpeech" / subset


def unpack(path: Path, folder: Path) -> None:
    """Unpack a gzipped tar archive of plain files and folders.

    Raises:
        DataError: it is damaged or would write outside ``folder``.
    """
    try:
        with tarfile.open(path, "r:gz") as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.10.12 has none
            tar.extractall(folder, members=safe_members(path, tar))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(path, f"cannot be unpacked: {error}", "download it again") from error


def safe_members(path: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of ``tar``, none a link or device, none leading out of the folder."""
    for member in tar:
        name = PurePosixPath(member.name)
        if not (member.isfile() or member.isdir()) or name.is_absolute() or ".." in name.parts:
            raise DataError(path, f"member '{member.name}' is unsafe", "do not use this archive")
        yield member


def find_utts(subset_dir: Path) -> list[Utt]:
    """Utterances sorted by id, checked against the transcripts, which name every one of them.

    Raises:
        DataError: audio or transcripts are missing.
    """
    utts = []
    for path in subset_dir.glob("*/*/*.flac"):
        utts.append(Utt(path.stem, path.parent.parent.name, path.parent.name, path))
    found = {utt.utt_id for utt in utts}
    texts = [path.read_text(encoding="utf-8") for path in subset_dir.glob("*/*/*.trans.txt")]
    named = {line.partition(" ")[0] for text in texts for line in text.splitlines()}
    if found != named:
        utt_id = min(found ^ named)
        why = f"{utt_id} has no {'transcript' if utt_id in found else 'audio'}"
        raise DataError(
            subset_dir, f"{why} ({len(found ^ named)} such utterances)", "unpack the archive again"
        )
    if not utts:
        raise DataError(subset_dir, "holds no <speaker>/<chapter>/*.flac", "unpack the archive again")
    return sorted(utts, key=lambda utt: utt.utt_id)


def read_genders(path: Path) -> dict[str, str]:
    """``m`` or ``f`` by speaker from lines ``id | sex | subset | minutes | name``; ``;`` begins a comment.

    Raises:
        DataError: no such file, or a line of another form.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise DataError(path, "no such file", "take it from the archive: it tells the genders") from None
    genders = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(";"):
            continue
        spk_id, gender, *_ = [field.strip() for field in line.split("|")] + [""]
        if gender not in ("M", "F"):
            raise DataError(path, f"'{line}' has no sex M or F", "take the file from the archive", number)
        genders[spk_id] = gender.lower()
    return genders


def write_data_dir(data_dir: Path, utts: Sequence[Utt], genders: Mapping[str, str]) -> None:
    """The tables of one set; paths are relative to it where the audio is in the same data folder.

    Raises:
        AudioError: a file is not readable as audio.
        DataError: SPEAKERS.TXT lacks a speaker.
    """
    spk_ids = sorted({utt.spk_id for utt in utts})
    unknown = [spk_id for spk_id in spk_ids if spk_id not in genders]
    if unknown:
        raise DataError(
            data_dir, f"speaker {unknown[0]} is not in SPEAKERS.TXT ({len(unknown)} such speakers)"
        )
    durations_s = [audio.duration_s(Recording(RecId(utt.utt_id), str(utt.path))) for utt in utts]
    write_table(data_dir / "wav.scp", [(utt.utt_id, source(utt.path, data_dir)) for utt in utts])
    write_table(data_dir / "utt2spk", [(utt.utt_id, utt.spk_id) for utt in utts])
    rows = zip(utts, durations_s, strict=True)
    write_table(data_dir / "utt2dur", [(utt.utt_id, f"{duration_s:.3f}") for utt, duration_s in rows])
    write_table(data_dir / "spk2gender", [(spk_id, genders[spk_id]) for spk_id in spk_ids])
    minutes = sum(durations_s) / 60
    logging.info("%s: %d speakers, %d utterances, %.0f min", data_dir, len(spk_ids), len(utts), minutes)


def source(path: Path, data_dir: Path) -> str:
    """``path`` for wav.scp of ``data_dir``."""
    inside = path.is_relative_to(data_dir.parent)
    return os.path.relpath(path, data_dir) if inside else str(path.absolute())


def write_trials(data_dir: Path, utts: Sequence[Utt], genders: Mapping[str, str]) -> None:
    """The same choice among all pairs of utterances on every machine.

    A speaker's targets are pairs of different chapters, or, where there is one chapter only, any pairs.
    """
    by_speaker: dict[str, list[Utt]] = {}
    for utt in utts:
        by_speaker.setdefault(utt.spk_id, []).append(utt)
    targets: list[Pair] = []
    same_gender: list[Pair] = []
    other: list[Pair] = []
    for of_one in by_speaker.values():
        pairs = list(itertools.combinations(of_one, 2))
        across = [pair for pair in pairs if pair[0].chapter != pair[1].chapter]
        targets += choose(across or pairs, TARGETS_PER_SPEAKER)
    for (first, of_first), (second, of_second) in itertools.combinations(by_speaker.items(), 2):
        chosen = choose(itertools.product(of_first, of_second), NONTARGETS_PER_PAIR)
        (same_gender if genders[first] == genders[second] else other).extend(chosen)
    rows = [(*pair_ids(pair), "target") for pair in targets]
    rows += [(*pair_ids(pair), "nontarget") for pair in same_gender]
    write_table(data_dir / "trials_same_gender", sorted(rows))
    write_table(data_dir / "trials", sorted([*rows, *((*pair_ids(pair), "nontarget") for pair in other)]))


def pair_ids(pair: Pair) -> tuple[str, str]:
    """The ids of two utterances."""
    return pair[0].utt_id, pair[1].utt_id


def choose(pairs: Iterable[Pair], most: int) -> list[Pair]:
    """At most ``most`` of ``pairs``, as good as random: those with the smallest checksums of their ids."""

    def checksum(pair: Pair) -> bytes:
        return hashlib.md5(" ".join(pair_ids(pair)).encode(), usedforsecurity=False).digest()

    return heapq.nsmallest(most, pairs, key=checksum)


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("data_dir", help="folder to write train and test into; downloads go to its corpus/")
    parser.add_argument("--data-src", default="", help="folder of the archives or of LibriSpeech/, as a copy")
    return parser


if __name__ == "__main__":
    entry.run(main, options())
