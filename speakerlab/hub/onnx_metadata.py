"""What an ONNX file says of itself: all that turns a waveform into its input, and how its scores are read.

``onnx_file.write(path, {**describe(bundle), **sherpa(bundle)})``. Values are text; settings are JSON.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from speakerlab import __version__
from speakerlab.frontend.fbank import FbankConfig
from speakerlab.hub import rule as rules
from speakerlab.hub.bundle import NAME

if TYPE_CHECKING:
    from speakerlab.hub.bundle import Bundle

# What sherpa-onnx computes whatever a file's metadata say (sherpa-onnx/csrc/features.h).
SHERPA_FBANK = FbankConfig(high_hz=-400.0, snip_edges=False)


def describe(bundle: Bundle) -> dict[str, str]:
    """Metadata: ``frontend`` and ``cmvn`` (JSON), sizes, identity, domain, threshold, rule.

    ``speakerlab export`` adds ``precision``, for waveforms ``min_samples``, and what the precision loses.
    """
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
    if NAME in card:
        found[NAME] = bundle.name
    if bundle.domain is not None:
        found["domain"] = bundle.domain
    if bundle.threshold is not None:
        found["threshold"] = repr(float(bundle.threshold))
    return {**found, **rules.metadata(rule)} if (rule := bundle.rule) is not None else found


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
