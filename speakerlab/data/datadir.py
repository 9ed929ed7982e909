"""The Kaldi data dir: which recordings there are, which stretches of them are utterances, who speaks.

``data = DataDir.load(Path("data/train"))`` reads ``wav.scp``, ``segments`` and ``utt2spk`` and checks them
against each other; ``data.table("utt2dur")`` reads a list beside them. Audio is left to ``data.validate``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from speakerlab.data import tables
from speakerlab.data.faults import REPAIR, Report, stop
from speakerlab.data.lines import LineIndex, lines
from speakerlab.errors import DataError
from speakerlab.types import RecId, Recording, Segment, SpkId, Utterance, UttId

DOMAIN = "domain"  # a file of one line
ENROLL_MAP = "enroll.map"  # lines "model utt1 utt2 ...": what the models of the trial lists are made of
ARRAYS = (
    "feats.scp",
    "vad.scp",
    "embeddings.scp",
    "xvector.scp",
)  # values are entries of archives, as written
TABLES = {  # table -> what its keys are
    **dict.fromkeys(ARRAYS, "utterance"),
    "utt2dur": "utterance",
    "reco2dur": "recording",
    "spk2gender": "speaker",
}


@dataclass(frozen=True)
class DataDir:
    """Recordings and utterances in bytewise order of their ids, every utterance in a known recording.

    Attributes:
        path: the folder.
        recordings: by recording id; some may have no utterance.
        utterances: all with a speaker, or, without ``utt2spk``, none.
    """

    path: Path
    recordings: dict[RecId, Recording]
    utterances: tuple[Utterance, ...]

    @classmethod
    def load(cls, path: Path, report: Report = stop) -> DataDir:
        """Read the data dir ``path``.

        Without ``segments`` each recording is one utterance. If ``report`` returns, unusable lines are left
        out and utterances without recording or speaker are kept, so that one fault is reported once.

        Raises:
            DataError: a fault in a file, an utterance without recording or speaker, a speaker of an
                utterance that does not exist.
        """
        if not path.is_dir():
            raise DataError(path, "no such data dir", "give a folder that holds wav.scp")
        recordings = dict(sorted(tables.read_wav_scp(path / "wav.scp", report).items()))
        segments = _segments(path, recordings, report) if recordings else []
        if not segments:  # reported; there is nothing to check the other files against
            return cls(path, recordings, ())
        speakers = _speakers(path, segments, report)
        utterances = tuple(Utterance(segment, speakers.get(segment.utt_id)) for segment in segments)
        return cls(path, recordings, utterances)

    @cached_property
    def utt_ids(self) -> tuple[UttId, ...]:
        """Ids of ``utterances``, in their order."""
        return tuple(utterance.utt_id for utterance in self.utterances)

    def spk2utt(self) -> dict[SpkId, list[UttId]]:
        """Utterance ids of each speaker; both in bytewise order. Empty without ``utt2spk``."""
        spoken: dict[SpkId, list[UttId]] = {}
        for utterance in self.utterances:
            if utterance.spk_id is not None:
                spoken.setdefault(utterance.spk_id, []).append(utterance.utt_id)
        return dict(sorted(spoken.items()))

    def table(self, name: str, report: Report = stop) -> dict[str, str]:
        """The list ``name`` (a key of ``TABLES``) by id, in file order.

        Every utterance or recording has its line in the lists that have one for each; a speaker's gender
        may be u, unknown, or missing.

        Raises:
            DataError: a fault in the file, an id that is not in this data dir, an utterance or recording
                without a line, a duration that is none, a gender other than m, f, u.
        """
        path = self.path / name
        rows = tables.read_two_columns(path, report)
        index = LineIndex(path)
        ids = self.ids(TABLES[name])
        for key, value in rows.items():
            if key not in ids:
                why = f"there is no {TABLES[name]} '{key}' in this data dir"
                report(DataError(path, why, REPAIR + "drop such lines", index[key]))
            elif not _is_valid(name, value):
                report(DataError(path, f"'{key}' has '{value}'", _WANTED[name], index[key]))
        for key in ids:
            if rows and key not in rows and TABLES[name] != "speaker":
                why = f"{TABLES[name]} '{key}' has no line here"
                fix = f"make the file anew, remove it, or {REPAIR}drop such {TABLES[name]}s"
                report(DataError(path, why, fix))
        return rows

    def trial_lists(self) -> list[Path]:
        """The trial lists: files named ``trials`` or ``trials_*`` without a dot, sorted."""
        files = (f for f in self.path.iterdir() if f.name == "trials" or f.name.startswith("trials_"))
        return sorted(f for f in files if f.is_file() and "." not in f.name)

    def models(self, report: Report = stop) -> dict[str, tuple[str, ...]]:
        """Utterance ids of each speaker model in ``enroll.map``; empty without that file.

        Raises:
            DataError: a fault in the file, an utterance twice in a model or not in this data dir, the id of
                an utterance as that of a model of others.
        """
        path = self.path / ENROLL_MAP
        if not path.exists():
            return {}
        models, index, known = tables.read_enroll_map(path, report), LineIndex(path), set(self.utt_ids)
        for name, utt_ids in models.items():
            strange = [utt_id for utt_id in utt_ids if utt_id not in known]
            if strange:
                why = f"model '{name}' has '{strange[0]}', which is not an utterance of this data dir"
                report(
                    DataError(path, why, "add it to the data dir, or take it out of the model", index[name])
                )
            if name in known and utt_ids != (name,):
                why = f"model '{name}' has the id of an utterance"
                report(DataError(path, why, "give it another id, here and in the trial lists", index[name]))
        return models

    def domain(self) -> str | None:
        """The line in the file ``domain``: what kind of speech this is, such as ``synthetic speech``.

        Raises:
            DataError: the file holds more than a line, or none.
        """
        path = self.path / DOMAIN
        if not path.exists():
            return None
        found = [line.decode().strip() for _, line in lines(path)]
        if len(found) != 1 or not found[0]:
            raise DataError(path, f"has {len(found)} lines", "write one line: what kind of speech this is")
        return found[0]

    def ids(self, kind: str) -> dict[str, None]:
        """All ids of ``kind`` (a value of ``TABLES``), in order."""
        if kind == "recording":
            return dict.fromkeys(self.recordings)
        return dict.fromkeys(self.utt_ids if kind == "utterance" else self.spk2utt())


def list_file(path: Path) -> Path:
    """The file that lists the utterances of the data dir ``path``."""
    return path / "segments" if (path / "segments").exists() else path / "wav.scp"


def _segments(path: Path, recordings: dict[RecId, Recording], report: Report) -> list[Segment]:
    """The utterances' segments by utterance id."""
    if not (path / "segments").exists():
        return [Segment(UttId(rec_id), rec_id) for rec_id in recordings]
    segments = tables.read_segments(path / "segments", recordings, report)
    return sorted(segments, key=lambda segment: segment.utt_id)


def _speakers(path: Path, segments: list[Segment], report: Report) -> dict[UttId, SpkId]:
    """Speakers by utterance id, checked to be those of ``segments``; empty without ``utt2spk``."""
    file = path / "utt2spk"
    if not file.exists():
        return {}
    speakers = tables.read_utt2spk(file, report)
    index, lines_of = LineIndex(file), LineIndex(list_file(path))
    for segment in segments:
        if segment.utt_id not in speakers:
            why = f"utterance '{segment.utt_id}' has no speaker in utt2spk"
            fix = f"add it to utt2spk or {REPAIR}drop such utterances"
            report(DataError(list_file(path), why, fix, lines_of[segment.utt_id]))
    utt_ids = {segment.utt_id for segment in segments}
    for utt_id in speakers:
        if utt_id not in utt_ids:
            why = f"there is no utterance '{utt_id}' in {list_file(path).name}"
            report(DataError(file, why, REPAIR + "drop such lines", index[utt_id]))
    return speakers


_WANTED = {
    "utt2dur": "write a length in seconds above 0",
    "reco2dur": "write a length in seconds above 0",
    "spk2gender": "write m, f, or u for unknown",
}


def _is_valid(name: str, value: str) -> bool:
    if name == "spk2gender":
        return value in {"m", "f", "u"}
    if name not in _WANTED:
        return True
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False
