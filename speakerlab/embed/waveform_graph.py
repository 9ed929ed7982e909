"""A model that is one file: what ``speakerlab export --input waveform`` wrote, run without torch on the CPU.

``graph = WaveformGraph.load(Path("model.onnx"))``; ``graph.session.embed([graph.from_waveform("utt1", w)])``
-> float32 [1, E]. It knows its rate, threshold and calibration, and what a bundle's ``Extractor`` does to the
samples happens inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from speakerlab.embed.onnx_session import OnnxSession
from speakerlab.embed.session import Session
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.hub import onnx_file
from speakerlab.hub.calibration import Calibration
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.types import Float32Array, Waveform


@dataclass(frozen=True)
class WaveformGraph:
    """The file at ``path``.

    Attributes:
        path: where it is.
        metadata: what it says of itself, see ``hub.onnx_metadata``.
        session: runs it: samples in, embeddings out.
    """

    path: Path
    metadata: Mapping[str, str]
    session: Session

    @staticmethod
    def recognises(model: str | Path) -> bool:
        """Whether ``model`` names an ONNX file."""
        return Path(model).suffix == ".onnx"

    @classmethod
    def load(cls, path: Path, num_threads: int) -> WaveformGraph:
        """Open ``path`` with ``num_threads`` threads for a call.

        Raises:
            DataError: it cannot be read, is damaged, or takes features.
            MissingExtraError: onnxruntime is not installed.
        """
        session = onnx_file.open_session(onnx_file.sealed(path), onnx_file.session_settings(num_threads))
        name = session.get_inputs()[0].name
        if name != "waveform":
            raise DataError(path, f"takes {name}, not recordings", "export it with --input waveform")
        return cls(path, session.get_modelmeta().custom_metadata_map, OnnxSession(session))

    @property
    def content_hash(self) -> str:
        """That of the bundle it was made of."""
        return self.metadata["content_hash"]

    @property
    def threshold(self) -> float | None:
        """The cosine from which on its publisher says "same speaker", where there is one."""
        return float(self.metadata["threshold"]) if "threshold" in self.metadata else None

    @property
    def calibration(self) -> Calibration | None:
        """That of the bundle it was made of."""
        if "calibration" not in self.metadata:
            return None
        content = json.loads(self.metadata["calibration"])
        del content["threshold"]  # follows from the rest
        return Calibration(**{**content, "point": OperatingPoint(**content["point"])})

    @property
    def sample_rate(self) -> int:
        """The rate, in Hz, that waveforms must have."""
        return int(self.metadata["sample_rate"])

    @property
    def frame_shift_s(self) -> float:
        """Seconds from one frame of the features inside to the next."""
        return float(json.loads(self.metadata["frontend"])["frame_shift_ms"]) / 1000

    def from_waveform(self, utt_id: str, waveform: Waveform) -> Float32Array:
        """Model input [S]: the samples.

        Raises:
            AudioError: they are fewer than the model needs.
            SpeakerLabError: they have another rate.
        """
        if waveform.sample_rate != self.sample_rate:
            raise SpeakerLabError(
                f"waveform is {waveform.sample_rate} Hz, the model needs {self.sample_rate}"
            )
        least = int(self.metadata["min_samples"])
        if len(waveform.samples) < least:
            raise AudioError(utt_id, f"{len(waveform.samples)} samples, the model needs {least}")
        return waveform.samples

    def from_features(self, utt_id: str, feats: Float32Array) -> NoReturn:  # noqa: ARG002
        """The graph takes no features.

        Raises:
            AudioError: always.
        """
        raise AudioError(utt_id, f"{self.path} takes recordings; for features, give the bundle it is of")
