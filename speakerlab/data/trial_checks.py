"""Trial lists against who speaks and against what models are made of, line by line.

``check_trials(contents, report)``: labels that contradict ``utt2spk``, models and utterances in one list,
trials of an utterance with itself or of a model with its own enrolment are errors. ``check_overlap(contents,
train, report, warn)`` finds what the test shares with training: recordings are errors, speakers warnings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speakerlab.data.contents import Contents
from speakerlab.data.datadir import ENROLL_MAP, DataDir
from speakerlab.data.faults import Report
from speakerlab.data.lines import LineIndex
from speakerlab.data.trials import TrialBlock, trial_blocks
from speakerlab.errors import DataError
from speakerlab.types import Recording


def check_trials(contents: Contents, report: Report) -> None:
    """Report what is wrong with the models of ``contents``, then each wrong line of its trial lists."""
    speakers = {str(u.utt_id): str(u.spk_id) for u in contents.data.utterances if u.spk_id is not None}
    of_model = _speakers_of_models(contents, speakers, report)
    numbers = {spk_id: number for number, spk_id in enumerate(dict.fromkeys(speakers.values()))}
    tests = {utt_id.encode(): numbers[spk_id] for utt_id, spk_id in speakers.items()}
    enrolled = {**tests, **{name.encode(): numbers[spk_id] for name, spk_id in of_model.items()}}
    members = {name.encode(): {u.encode() for u in utts} for name, utts in contents.models.items()}
    for name in contents.trials:
        path, kinds = contents.data.path / name, set()
        for block in trial_blocks(path, lambda _: None):
            _check_labels(path, block, enrolled, tests, report)
            _check_selves(path, block, members, report)
            kinds |= {enroll_id in members for enroll_id in set(block.enroll_ids)} if members else set()
        if len(kinds) > 1:
            why = f"enrolment ids are models of {ENROLL_MAP} on some lines, utterances on others"
            report(DataError(path, why, "write two lists: trials_NAME"))


def _speakers_of_models(contents: Contents, speakers: Mapping[str, str], report: Report) -> dict[str, str]:
    """The speaker of each model whose utterances have one."""
    file, found = contents.data.path / ENROLL_MAP, {}
    index = LineIndex(file)
    for name, utt_ids in contents.models.items():
        of_model = sorted({speakers[utt_id] for utt_id in utt_ids if utt_id in speakers})
        if len(of_model) > 1:
            why = f"model '{name}' has utterances of '{of_model[0]}' and of '{of_model[1]}'"
            report(DataError(file, why, "a model is of one speaker: correct it, or utt2spk", index[name]))
        elif of_model:
            found[name] = of_model[0]
    return found


def _check_labels(
    path: Path,
    block: TrialBlock,
    enrolled: Mapping[bytes, int],
    tests: Mapping[bytes, int],
    report: Report,
) -> None:
    size = len(block.labels)
    enroll = np.fromiter((enrolled.get(i, -1) for i in block.enroll_ids), np.int64, size)
    test = np.fromiter((tests.get(i, -1) for i in block.test_ids), np.int64, size)
    is_known = (enroll >= 0) & (test >= 0) & (block.labels >= 0)
    for row in np.flatnonzero(is_known & ((enroll == test) != (block.labels == 1))).tolist():
        pair = f"'{block.enroll_ids[row].decode()}' and '{block.test_ids[row].decode()}'"
        told, label = ("two speakers", "target") if block.labels[row] else ("one speaker", "nontarget")
        why = f"{pair} are of {told} in utt2spk, and the label is {label}"
        fix = "correct the label or utt2spk; if 1 means different speakers in this list, write it anew"
        report(DataError(path, why, fix, int(block.lines[row])))


def _check_selves(path: Path, block: TrialBlock, members: Mapping[bytes, set[bytes]], report: Report) -> None:
    none: set[bytes] = set()
    pairs = zip(block.enroll_ids, block.test_ids, block.lines, strict=True)
    for enroll_id, test_id, number in pairs:
        fix = "delete the trial: its score tells nothing"
        if enroll_id in members:
            if test_id in members.get(enroll_id, none):
                why = f"the model '{enroll_id.decode()}' is compared with '{test_id.decode()}', a part of it"
                report(DataError(path, why, fix, int(number)))
        elif enroll_id == test_id:
            report(DataError(path, f"'{test_id.decode()}' is compared with itself", fix, int(number)))


def check_overlap(contents: Contents, train: DataDir, report: Report, warn: Report) -> None:
    """Report recordings of ``contents`` that ``train`` has too; warn of ids of others, and of speakers."""
    data, file = contents.data, contents.data.path / "wav.scp"
    index, trained_on = LineIndex(file), {_place(recording) for recording in train.recordings.values()}
    for rec_id, recording in data.recordings.items():
        if _place(recording) in trained_on:
            why = f"the recording '{rec_id}' is in {train.path / 'wav.scp'} too"
            fix = "take it out of one of the two: figures of a test on training data are false"
            report(DataError(file, why, fix, index[rec_id]))
        elif rec_id in train.recordings:
            why = f"the recording '{rec_id}' is in {train.path / 'wav.scp'} too, as another file"
            warn(DataError(file, why, "if they are copies, take one out", index[rec_id]))
    file = data.path / "utt2spk"
    index = LineIndex(file)
    trained = train.spk2utt()
    for spk_id, utt_ids in data.spk2utt().items():
        if spk_id in trained:
            why = f"the speaker '{spk_id}' is in {train.path / 'utt2spk'} too"
            fix = "test on others, or rename it if it is another person"
            warn(DataError(file, why, fix, index[utt_ids[0]]))


def _place(recording: Recording) -> str:
    return recording.written if recording.is_pipe else os.path.normpath(recording.written)
