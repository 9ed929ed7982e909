"""All faults of a data dir at once, those of its audio included if asked.

``faults = Faults(); contents = validate(Path("data/train"), faults)``; where ``faults`` stays empty, every
step accepts the data dir. ``check_audio(contents, faults)`` then decodes every utterance.
"""

from __future__ import annotations

import os
from pathlib import Path

from speakerlab import logs
from speakerlab.data.contents import ARCHIVE, Contents
from speakerlab.data.datadir import ARRAYS, TABLES, DataDir, list_file
from speakerlab.data.faults import REPAIR, Report
from speakerlab.data.lines import LineIndex, check_order
from speakerlab.errors import AudioError, DataError
from speakerlab.io import archive, audio
from speakerlab.types import Recording


def validate(
    path: Path, report: Report, *, need_speakers: bool = False, need_trials: bool = False
) -> Contents:
    """Check the text files of ``path``, and that audio files exist; returns what could be read.

    Raises:
        DataError: ``path`` is no folder. All other faults are reported.
    """
    contents = Contents.load(path, report)
    for name in ("wav.scp", "segments", "utt2spk", *TABLES):
        if (path / name).exists():
            check_order(path / name, report)
    _check_files(contents.data, report)
    _check_archives(contents, report)
    _check_ends(contents, report)
    if need_speakers and not (path / "utt2spk").exists():
        report(DataError(path / "utt2spk", "there is none", "write: utt_id spk_id"))
    if need_trials and not contents.data.trial_lists():
        report(DataError(path / "trials", "there is none", "write: enroll_id test_id target|nontarget"))
    return contents


def check_audio(contents: Contents, report: Report) -> float:
    """Decode every utterance whose audio file is there; returns the seconds decoded."""
    data = contents.data
    index = LineIndex(list_file(data.path))
    seconds = 0.0
    for utterance in logs.progress(data.utterances, "reading audio", len(data.utterances)):
        recording = data.recordings.get(utterance.segment.rec_id)
        if recording is None or _is_missing(recording):
            continue  # reported by validate
        try:
            seconds += audio.read(recording, utterance.segment).duration_s
        except AudioError as error:
            fix = f"repair the audio, or delete the line and {REPAIR}drop what refers to it"
            if error.pipe:
                fix = "write it in wav.scp in place of the path"
            report(DataError(list_file(data.path), str(error), fix, index[utterance.utt_id]))
    return seconds


def _is_missing(recording: Recording) -> bool:
    # Path.is_file raises for names that are too long, such as a command without its "|"
    return not recording.is_pipe and not os.path.isfile(recording.source)  # noqa: PTH113


def _check_files(data: DataDir, report: Report) -> None:
    """Report recordings whose audio file is missing; a pipe is not run."""
    index = LineIndex(data.path / "wav.scp")
    for rec_id, recording in data.recordings.items():
        if _is_missing(recording):
            why = f"'{rec_id}': there is no file {recording.source}"
            fix = f"restore the audio, or delete the line and {REPAIR}drop what refers to it"
            report(DataError(data.path / "wav.scp", why, fix, index[rec_id]))


def _check_archives(contents: Contents, report: Report) -> None:
    """Report archives that are missing, or have another key than the list where its first value is."""
    for name in [name for name in ARRAYS if name in contents.tables]:
        file = contents.data.path / name
        index, seen = LineIndex(file), set()
        for key, value in contents.tables[name].items():
            match = ARCHIVE.fullmatch(value)
            if match is None or value.endswith("|") or match[1] in seen:
                continue
            seen.add(match[1])
            try:
                with Path(match[1]).open("rb") as stream:
                    archive.check_key(Path(match[1]), stream, key, int(match[3] or 0))
            except OSError as error:
                why = f"'{key}': {match[1]} cannot be read: {error.strerror}"
                report(DataError(file, why, "restore the archive, or remove the list", index[key]))
            except ValueError as error:
                why = f"'{key}': {value}: {error}"
                report(DataError(file, why, "or remove the list", index[key]))


def _check_ends(contents: Contents, report: Report) -> None:
    """Report segments outside their recordings, by ``reco2dur`` and with the tolerance of ``audio.read``."""
    data, file = contents.data, list_file(contents.data.path)
    durations, index = contents.tables.get("reco2dur", {}), LineIndex(file)
    for utterance in data.utterances:
        segment = utterance.segment
        try:
            duration_s = float(durations[segment.rec_id])
        except (KeyError, ValueError):  # reported when reco2dur was read
            continue
        end_s = duration_s if segment.end_s is None else segment.end_s
        if segment.start_s >= duration_s or end_s > duration_s + audio.MAX_OVERSHOOT_S:
            why = f"'{segment.utt_id}' is from {segment.start_s} to {end_s} s of {duration_s} s"
            report(DataError(file, why, "times must lie within the recording", index[segment.utt_id]))
