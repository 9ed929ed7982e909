"""What the utterances of a data dir are read from, as states that tell a later change.

``inputs(DataDir.load(path), feats_type="fbank", use_vad=True)`` -> the states of features and decisions.
"""

from __future__ import annotations

from speakerlab.data.datadir import DataDir
from speakerlab.io.ark import FeatureTable
from speakerlab.io.states import ArrayStates, AudioStates, States


def audio(data: DataDir) -> AudioStates:
    """The states of the audio of every utterance."""
    pairs = ((u.utt_id, data.recordings.get(u.segment.rec_id)) for u in data.utterances)
    return AudioStates({str(utt_id): recording for utt_id, recording in pairs if recording})


def inputs(data: DataDir, *, feats_type: str, use_vad: bool) -> list[States]:
    """The states of audio (``raw``) or stored features (``fbank``) and, where they are used, voice decisions.

    Raises:
        DataError: there is no such list.
    """
    names = [*(["feats.scp"] if feats_type == "fbank" else []), *(["vad.scp"] if use_vad else [])]
    arrays: list[States] = [ArrayStates(FeatureTable(data.path / name)) for name in names]
    return arrays if feats_type == "fbank" else [audio(data), *arrays]
