"""People from a folder of folders, one a speaker, and from Kaldi data dirs.

``folder(Path("speaker_data"))`` lists ``speaker_data/NAME/**/*.wav``; ``data_dir(Path("data/train"))`` the
utterances of each ``spk_id``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from speakerlab.data.datadir import DataDir
from speakerlab.errors import DataError
from speakerlab.pipeline.sources import Source, of_data_dir
from speakerlab.voiceprint.sources.listing import Lister, Listing

# of what io.audio reads; raw PCM, which states no rate, is no such file
SUFFIXES = {
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64",
    ".rf64", ".sph", ".webm", ".mka", ".mkv", ".mp4", ".m4a", ".mov", ".3gp", ".amr", ".aac", ".wma",
}  # fmt: skip
SHOWN = 3  # files named of those that are no audio


def folder(path: Path, *, allow_outside: bool = False) -> Listing:
    """Recordings in ``path/NAME``, at any depth, in order of the names; links to folders are not followed.

    Raises:
        DataError: it cannot be read, or holds no recording.
    """
    lister = Lister(path, allow_outside=allow_outside)
    others: list[str] = []
    for file in _files(path, lister):
        parts = file.relative_to(path).parts
        if file.suffix.lower() not in SUFFIXES:
            others.append(str(file))
        elif len(parts) == 1:
            lister.refuse("", str(file), "lies beside the speakers' folders; put it into one")
        else:
            lister.add(parts[0], str(file.relative_to(path)), "")
    if others:
        named = ", ".join(others[:SHOWN]) + (" ..." if len(others) > SHOWN else "")
        lister.note(f"passed over {len(others)} files whose suffix is not of audio: {named}")
    if not lister.listing.items and not lister.listing.refused:
        raise DataError(path, "holds no recordings", "it needs a folder for each speaker")
    return lister.listing


def _files(path: Path, lister: Lister) -> Iterator[Path]:
    """Every file below, in order; what begins with a dot is passed over."""

    def failed(error: OSError) -> None:
        raise DataError(str(error.filename), f"cannot be read: {error.strerror}") from error

    for place, folders, files in os.walk(path, onerror=failed):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for one in folders:
            if Path(place, one).is_symlink():
                lister.refuse("", str(Path(place, one)), "is a link to a folder, which is not followed")
        yield from (Path(place, one) for one in sorted(files) if not one.startswith("."))


def data_dir(path: Path, *, run_commands: bool) -> Listing:
    """The utterances of a Kaldi data dir by speaker.

    Args:
        path: the folder.
        run_commands: whether it was declared to be a data dir, so that commands in ``wav.scp`` may run.

    Raises:
        DataError: a fault in a file, no ``utt2spk``, a command that may not run.
    """
    data = DataDir.load(path)
    if not run_commands:
        for rec_id, recording in data.recordings.items():
            if recording.is_pipe:
                fix = "commands run only where a data dir is declared: add --kind kaldi"
                raise DataError(path / "wav.scp", f"'{rec_id}' is a command", fix)
    lister, sources = Lister(path), of_data_dir(path)
    for utterance in data.utterances:
        if utterance.spk_id is None:
            raise DataError(path, "has no utt2spk", "it tells who speaks")
        utt_id = str(utterance.segment.utt_id)
        read = sources[utt_id].read  # whose origin may be a command, and that a secret
        lister.take(str(utterance.spk_id), Source(f"{path}: {utt_id}", read), "")
    return lister.listing
