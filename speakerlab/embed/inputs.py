"""The model input of every utterance of a data dir: from audio, or from ``feats.scp`` where it exists.

``inputs = UtteranceInputs(data, extractor, feats_type="raw", use_vad=False); inputs[utterance]`` -> [T, F].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from speakerlab.data.datadir import DataDir
from speakerlab.embed import speech_check, windows
from speakerlab.embed.batching import Input
from speakerlab.embed.extractor import Extractor
from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.io import audio, stored
from speakerlab.io.ark import FeatureTable
from speakerlab.io.retry import retried
from speakerlab.types import Float32Array, Segment, Utterance, Waveform


@dataclass(frozen=True)
class Piece:
    """An utterance, or a window of a long one.

    Attributes:
        utt_id: the utterance.
        seconds: its length where it is a window, else 0.
        speech_s: seconds of speech in it where it is a window, else 0.
    """

    utt_id: str
    seconds: float = 0.0
    speech_s: float = 0.0


class UtteranceInputs:
    """Normalised features by utterance, made when asked for.

    Args:
        data: the data dir.
        extractor: gives front end and normalisation.
        feats_type: ``raw`` computes features from audio, ``fbank`` reads ``feats.scp``.
        use_vad: keep only the frames that ``vad.scp`` calls speech.
        window_s: ``pieces`` cuts utterances that last longer than this many seconds; 0 cuts none.

    Raises:
        SpeakerLabError: windows of stored features, of voiced frames, or of less than a second.
    """

    def __init__(
        self, data: DataDir, extractor: Extractor, *, feats_type: str, use_vad: bool, window_s: float = 0.0
    ) -> None:
        if window_s and (feats_type == "fbank" or use_vad):
            raise SpeakerLabError("windows are cut from audio; leave out --feats-type fbank and --use-vad")
        if window_s and window_s < 1:
            raise SpeakerLabError(f"windows of {window_s:g} s are too short; --window-s is 0, or 1 and more")
        self._data, self._extractor, self._window_s = data, extractor, window_s
        self._feats = FeatureTable(data.path / "feats.scp") if feats_type == "fbank" else None
        self._voiced = FeatureTable(data.path / "vad.scp") if use_vad else None

    def __getitem__(self, utterance: Utterance) -> Float32Array:
        """Model input [T, F] of ``utterance``.

        Raises:
            AudioError: its audio or features cannot be used.
        """
        utt_id = utterance.utt_id
        voiced = stored.voiced(self._voiced, utt_id) if self._voiced is not None else None
        if self._feats is not None:
            return self._extractor.from_features(utt_id, stored.features(self._feats, utt_id), voiced)
        return self._extractor.from_waveform(utt_id, self._waveform(utterance.segment), voiced)

    def pieces(self, utterance: Utterance) -> Iterator[Input[Piece]]:
        """The windows of ``utterance``, one at a time, or it alone where it is not long."""
        segments = [utterance.segment]
        try:
            if self._window_s:
                segments = windows.cut(utterance.segment, self._duration_s(utterance), self._window_s)
        except AudioError as error:
            yield self._input(utterance.segment, Piece(utterance.utt_id), error)
            return
        for segment in segments:
            yield self._whole(utterance) if len(segments) == 1 else self._window(segment)

    def _whole(self, utterance: Utterance) -> Input[Piece]:
        feats: Float32Array | AudioError
        try:
            feats = self[utterance]
        except AudioError as error:
            feats = error
        return self._input(utterance.segment, Piece(utterance.utt_id), feats)

    def _window(self, segment: Segment) -> Input[Piece]:
        """A window, and how much of it is speech by ``speech_check``.

        Not by Kaldi's energy rule: its threshold follows the window, so that a window of noise is all speech.
        """
        try:
            waveform = self._waveform(segment)
            feats = self._extractor.from_waveform(segment.utt_id, waveform)
        except AudioError as error:
            return self._input(segment, Piece(segment.utt_id), error)
        speech_s = speech_check.check(waveform).speech_s or 0.0
        return self._input(segment, Piece(segment.utt_id, waveform.duration_s, speech_s), feats)

    def _input(self, segment: Segment, piece: Piece, feats: Float32Array | AudioError) -> Input[Piece]:
        return Input(piece.utt_id, self._data.recordings[segment.rec_id].written, piece, feats)

    def _duration_s(self, utterance: Utterance) -> float:
        segment = utterance.segment
        if segment.end_s is None:
            return audio.duration_s(self._data.recordings[segment.rec_id]) - segment.start_s
        return segment.end_s - segment.start_s

    def _waveform(self, segment: Segment) -> Waveform:
        recording = self._data.recordings[segment.rec_id]
        return retried(lambda: audio.read(recording, segment, self._extractor.sample_rate))
