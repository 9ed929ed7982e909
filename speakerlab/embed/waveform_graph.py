"""A model that is one file: what ``speakerlab export --input waveform`` wrote, run without torch on the CPU.

``graph = WaveformGraph.load(Path("model.onnx"))``; ``graph.session.embed([graph.from_waveform("utt1", w)])``
-> float32 [1, E]. What a bundle's ``Extractor`` does to the samples happens inside the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from speakerlab.embed.onnx_session import OnnxSession
from speakerlab.embed.session import Session
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.hub import onnx_file
from speakerlab.hub import rule as rules
from speakerlab.hub.rule import Rule
from speakerlab.types import Float32Array, Waveform


@dataclass(frozen=True)
class WaveformGraph:
    """The file at ``path``.

    Attributes:
        path: where it is.
        name: of the published model that it is, else its path.
        session: runs it: samples in, embeddings out.
        content_hash: that of the bundle it was made of; embeddings of equal ones may be compared.
        sample_rate: the rate, in Hz, that waveforms must have.
        min_samples: the fewest that it takes.
        threshold: the cosine from which on its publisher says "same speaker", where there is one.
        rule: how scores become decisions, where the bundle knew.
        domain: what speech it was trained on, where that is known.
    """

    path: Path
    name: str
    session: Session
    content_hash: str
    sample_rate: int
    min_samples: int
    threshold: float | None = None
    rule: Rule | None = None
    domain: str | None = None

    @staticmethod
    def recognises(model: str | Path) -> bool:
        """Whether ``model`` names an ONNX file, be it there or not."""
        path = Path(model)
        return path.suffix.lower() == ".onnx" and not path.is_dir()

    @classmethod
    def load(cls, path: Path, num_threads: int = 0) -> WaveformGraph:
        """Open ``path`` with ``num_threads`` threads for a call; 0 takes all cores.

        Raises:
            DataError: it cannot be read, is damaged, takes features, has metadata of another version, or is
                not for this onnxruntime.
            MissingExtraError: onnxruntime is not installed.
        """
        session = onnx_file.open_sealed(path, num_threads)
        name = session.get_inputs()[0].name
        if name != "waveform":
            raise DataError(path, f"takes {name}, not recordings", "export it with --input waveform")
        told: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
        try:
            return cls(
                path=path,
                name=told.get("name", str(path)),
                session=OnnxSession(session),
                content_hash=told["content_hash"],
                sample_rate=int(told["sample_rate"]),
                min_samples=int(told["min_samples"]),
                threshold=float(told["threshold"]) if "threshold" in told else None,
                rule=rules.of_metadata(told),
                domain=told.get("domain"),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f"its metadata are not of this version ({type(error).__name__}: {error})"
            raise DataError(path, why, "export it again: speakerlab export") from error

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
        if len(waveform.samples) < self.min_samples:
            raise AudioError(utt_id, f"{len(waveform.samples)} samples, the model needs {self.min_samples}")
        return waveform.samples
