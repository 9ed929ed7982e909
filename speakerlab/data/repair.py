"""A repaired copy of a data dir: what can be mended without guessing is, all else is an error.

``for fault, count in repair(Path("data/raw"), Path("data/train")).kinds(): ...``. Mended are byte-order
marks, line ends, blanks, order, repeated lines, lines about what is not there, utterances without
recording, without speaker or without a line in a list that has one for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speakerlab.data.contents import Contents
from speakerlab.data.datadir import ENROLL_MAP, TABLES
from speakerlab.data.faults import REPAIR, Faults
from speakerlab.data.lines import check_order
from speakerlab.errors import DataError
from speakerlab.types import Utterance


def repair(path: Path, out: Path) -> Faults:
    """Write a repaired copy of the data dir ``path`` to ``out``; returns what was wrong.

    A fault is repaired if its message says so: readers carry on as if it were, and utterances that lack
    something are left out here, with all that refers to them.

    Raises:
        DataError: a fault that is for a person to decide, such as one id with two values; no utterance left.
    """
    faults = Faults()

    def report(fault: DataError) -> None:
        if REPAIR not in fault.fix:
            raise fault
        faults(fault)

    contents = Contents.load(path, report)
    for name in ("wav.scp", "segments", "utt2spk", *TABLES):
        if (path / name).exists():
            check_order(path / name, report)
    whole = contents.select(_complete(contents))
    _require_models(contents, whole)
    whole.write(out)
    return faults


def _require_models(contents: Contents, whole: Contents) -> None:
    """Refuse to leave out a model with its trials: that is no repair."""
    lost = contents.models.keys() - whole.models.keys()
    if lost:
        why = f"model '{min(lost)}' has an utterance that must be left out ({len(lost)} such models)"
        raise DataError(
            contents.data.path / ENROLL_MAP, why, "mend the utterance, or take it out of the model"
        )


def _complete(contents: Contents) -> Iterator[Utterance]:
    """The utterances that have a recording, a speaker if any has, and a line in each list of them."""
    data = contents.data
    need_speaker = (data.path / "utt2spk").exists()
    of_utterance = [table for name, table in contents.tables.items() if TABLES[name] == "utterance"]
    of_recording = [table for name, table in contents.tables.items() if TABLES[name] == "recording"]
    for utterance in data.utterances:
        rec_id = utterance.segment.rec_id
        if (
            rec_id in data.recordings
            and not (need_speaker and utterance.spk_id is None)
            and all(utterance.utt_id in table for table in of_utterance)
            and all(rec_id in table for table in of_recording)
        ):
            yield utterance
