"""All faults of a data dir at once, those of its audio included if asked.

``faults = Faults(); contents = validate(Path("data/train"), faults)``; where ``faults`` stays empty, every
step accepts the data dir. ``check_audio(contents, faults)`` then decodes every utterance.

An error is what makes a step fail or a figure false. What can be meant and makes figures look better than
they are is a warning: ``trial_checks.check_overlap``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from speakerlab import logs
from speakerlab.data.contents import ARCHIVE, Contents
from speakerlab.data.datadir import ARRAYS, TABLES, DataDir, list_file
from speakerlab.data.faults import REPAIR, Report
from speakerlab.data.lines import LineIndex, check_order
from speakerlab.data.tables import read_two_columns
from speakerlab.data.trial_checks import check_trials
from speakerlab.errors import AudioError, DataError
from speakerlab.io import archive, audio
from speakerlab.types import Recording, Segment, SpkId

MAX_DIFFERENCE_S = 0.1  # of a listed length: counts of frames are off by less than two windows of 25 ms


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
    _check_spk2utt(contents.data, report)
    check_trials(contents, report)
    if need_speakers and not (path / "utt2spk").exists():
        report(DataError(path / "utt2spk", "there is none", "write: utt_id spk_id"))
    if need_trials and not contents.data.trial_lists():
        report(DataError(path / "trials", "there is none", "write: enroll_id test_id target|nontarget"))
    return contents


def check_audio(contents: Contents, report: Report) -> float:
    """Decode every utterance whose audio file is there, compare lengths; returns the seconds decoded."""
    data = contents.data
    index, lengths = LineIndex(list_file(data.path)), _Lengths(contents, report)
    seconds = 0.0
    for utterance in logs.progress(data.utterances, "reading audio", len(data.utterances)):
        recording = data.recordings.get(utterance.segment.rec_id)
        if recording is None or _is_missing(recording):
            continue  # reported by validate
        try:
            found_s = audio.read(recording, utterance.segment).duration_s
            seconds += found_s
            lengths.check(utterance.segment, recording, found_s)
        except AudioError as error:
            fix = f"repair the audio, or delete the line and {REPAIR}drop what refers to it"
            if error.pipe:
                fix = "write it in wav.scp in place of the path"
            report(DataError(list_file(data.path), str(error), fix, index[utterance.utt_id]))
    return seconds


class _Lengths:
    """Compares the lists of lengths with the audio."""

    def __init__(self, contents: Contents, report: Report) -> None:
        self._path, self._report = contents.data.path, report
        self._utt2dur, self._reco2dur = (contents.tables.get(name, {}) for name in ("utt2dur", "reco2dur"))
        self._index = {name: LineIndex(self._path / name) for name in ("utt2dur", "reco2dur")}
        self._measured: set[str] = set()

    def check(self, segment: Segment, recording: Recording, found_s: float) -> None:
        """Report the lengths listed for an utterance of ``found_s``, and for its recording the first time.

        Raises:
            AudioError: the recording cannot be measured.
        """
        lengths_s = [found_s]
        if segment.end_s is not None:  # may reach past the end of the recording a little
            lengths_s.append(segment.end_s - segment.start_s)
        self._compare("utt2dur", self._utt2dur, segment.utt_id, lengths_s)
        if segment.rec_id in self._reco2dur and segment.rec_id not in self._measured:
            self._measured.add(segment.rec_id)
            self._compare("reco2dur", self._reco2dur, segment.rec_id, [audio.duration_s(recording)])

    def _compare(self, name: str, table: Mapping[str, str], key: str, lengths_s: Sequence[float]) -> None:
        try:
            listed_s = float(table[key])
        except (KeyError, ValueError):  # reported when the list was read
            return
        if min(abs(listed_s - length_s) for length_s in lengths_s) > MAX_DIFFERENCE_S:
            why = f"'{key}' lasts {lengths_s[0]:.2f} s, not {table[key]} s"
            fix = f"make {name} anew, or remove it"
            self._report(DataError(self._path / name, why, fix, self._index[name][key]))


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


def _check_spk2utt(data: DataDir, report: Report) -> None:
    """Report lines of a ``spk2utt`` that differ from ``utt2spk``: one of the two is wrong."""
    file, speakers = data.path / "spk2utt", data.spk2utt()
    if not file.exists() or not speakers:
        return
    listed = {spk_id: rest.split() for spk_id, rest in read_two_columns(file, report).items()}
    index = LineIndex(file)
    for spk_id in sorted(listed.keys() | speakers.keys()):
        differing = set(listed.get(spk_id, [])) ^ set(map(str, speakers.get(SpkId(spk_id), [])))
        if differing:
            why = f"'{spk_id}' and '{min(differing)}' belong together here or in utt2spk, not in both"
            report(DataError(file, why, "remove it: only utt2spk is read", index[spk_id]))


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
