"""What an ONNX file says of itself: all that turns a waveform into its input, and how its scores are read.

``write(path, {**describe(bundle), **sherpa(bundle)})``. Values are text; settings are JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerlab import __version__
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.frontend.fbank import FbankConfig

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle

# What sherpa-onnx computes whatever a file's metadata say (sherpa-onnx/csrc/features.h).
SHERPA_FBANK = FbankConfig(high_hz=-400.0, snip_edges=False)
GRAPH_HASH = "graph_sha256"


def describe(bundle: Bundle) -> dict[str, str]:
    """Metadata of any model: ``frontend`` and ``cmvn`` (JSON), sizes, identity, threshold, calibration."""
    config, card = bundle.config, bundle.card
    frontend = {"name": config.frontend.name, **dataclasses.asdict(config.frontend.config)}
    found = {
        "frontend": json.dumps(frontend),
        "cmvn": json.dumps(dataclasses.asdict(config.cmvn)),
        "model": config.model.name,
        "sample_rate": str(config.frontend.config.sample_rate),
        "feat_dim": str(card["feat_dim"]),
        "embed_dim": str(card["embed_dim"]),
        "content_hash": bundle.content_hash,
        "speakerlab_version": __version__,
    }
    if card.get("threshold") is not None:
        found["threshold"] = repr(float(card["threshold"]))
    if (calibration := bundle.calibration) is not None:
        content = {**dataclasses.asdict(calibration), "threshold": calibration.threshold}
        found["calibration"] = json.dumps(content)
    return found


def sherpa(bundle: Bundle) -> dict[str, str]:
    """The keys that sherpa-onnx's speaker embedding extractor reads; none where it cannot run the model.

    Source: sherpa-onnx/csrc/speaker-embedding-extractor-model.cc.
    """
    config = bundle.config
    fbank, cmvn = config.frontend.config, config.cmvn
    if not isinstance(fbank, FbankConfig) or fbank.num_mels != SHERPA_FBANK.num_mels:
        return {}
    if cmvn.std or (cmvn.mean and cmvn.window) or fbank.scale not in {1.0, 32768.0}:
        return {}
    in_unit_range = fbank.scale == 1.0
    return {
        "framework": "3d-speaker" if in_unit_range else "wespeaker",
        "language": "unspecified",
        "url": str(bundle.card["provenance"].get("source", "")),
        "comment": f"speakerlab {config.model.name}",
        "output_dim": str(bundle.card["embed_dim"]),
        "normalize_samples": str(int(in_unit_range)),
        "feature_normalize_type": "global-mean" if cmvn.mean else "",
    }


def sherpa_differences(bundle: Bundle) -> list[str]:
    """Settings, ``name=ours (theirs)``, of the front end that sherpa-onnx would not follow."""
    fbank = dataclasses.asdict(bundle.config.frontend.config)
    theirs = dataclasses.asdict(SHERPA_FBANK)
    told = {"scale", "sample_rate"}
    return [f"{k}={v} ({theirs[k]})" for k, v in fbank.items() if k not in told and v != theirs[k]]


def write(path: Path, metadata: Mapping[str, str]) -> None:
    """Put ``metadata`` into the ONNX file ``path``, in place of what it had, with the hash of the graph."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {**metadata, GRAPH_HASH: _digest(model)})
    onnx.save(model, path)


def read(path: Path) -> dict[str, str]:
    """The metadata of the file ``path`` that ``write`` wrote, and the name of its input as ``input``.

    Raises:
        DataError: it cannot be read, is not such a file, or was changed since.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    fix = "export it again: speakerlab export"
    try:
        model = onnx.load(path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise DataError(path, "is damaged or not an ONNX file", fix) from error
    told = {entry.key: entry.value for entry in model.metadata_props}
    if GRAPH_HASH not in told:
        raise DataError(path, "is not a file of this version's speakerlab export", fix)
    if told[GRAPH_HASH] != _digest(model):
        raise DataError(path, "is damaged: the graph does not match its hash", fix)
    return {**told, "input": ",".join(value.name for value in model.graph.input)}


def _digest(model: Any) -> str:
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
