"""Seconds of every utterance of a data dir, from the cheapest source that knows.

``durations_s(DataDir.load(path))`` -> {utt_id: seconds}, in utterance order.
"""

from __future__ import annotations

from collections.abc import Mapping

from speakerlab.data.datadir import DataDir
from speakerlab.io import audio


def durations_s(data: DataDir, utt2dur: Mapping[str, str] | None = None) -> dict[str, float]:
    """Seconds by utterance: of its segment, else as listed, else as the audio header says.

    Args:
        data: the utterances.
        utt2dur: the list of durations; default: ``utt2dur`` of the data dir, if it has one.

    Raises:
        DataError: an utterance that the list lacks, or a list that is not valid.
        AudioError: a duration that no list gives could not be read from the audio.
    """
    if utt2dur is None:
        utt2dur = data.table("utt2dur") if (data.path / "utt2dur").exists() else {}
    found: dict[str, float] = {}
    for utterance in data.utterances:
        segment = utterance.segment
        if segment.end_s is not None:
            found[segment.utt_id] = segment.end_s - segment.start_s
        elif utt2dur:
            found[segment.utt_id] = float(utt2dur[segment.utt_id])
        else:
            found[segment.utt_id] = audio.duration_s(data.recordings[segment.rec_id]) - segment.start_s
    return found
