"""Independent implementations, and how a network of theirs is made and compared with ours.

A peer that is not installed is an ImportError, which fails its tests: run them with tests/parity/run.sh.
"""

import importlib
import importlib.util
import itertools
import sys
import types

import numpy as np
import torch

from speakerlab import torchaudio_import  # noqa: F401  # before any peer that imports torchaudio
from speakerlab.embed.extractor import Extractor
from speakerlab.types import Waveform

RATE = 16000
TOLERANCE = 1e-4
SECONDS = (0.6, 1.015, 2.0, 3.47)


def module(name):
    """The peer's module ``name`` without its packages' own imports, which want much more to be installed."""
    *packages, _ = name.split(".")
    for depth in range(1, len(packages) + 1):
        package = ".".join(packages[:depth])
        if package not in sys.modules:
            found = importlib.util.find_spec(package)
            if found is None:
                raise ImportError(f"{package} is not installed; run: tests/parity/run.sh")
            bare = types.ModuleType(package)
            bare.__path__ = list(found.submodule_search_locations)
            sys.modules[package] = bare
    return importlib.import_module(name)


def modelscope(name):
    """A module of ModelScope's speaker-verification package, whose decorators need the package itself."""
    return importlib.import_module(f"modelscope.models.audio.sv.{name}")


def build(make, feat_dim=80, seed=0, batch=None):
    """``make()`` with seeded weights and normalisations as training leaves them, in eval mode.

    Scales and shifts are random, statistics those of the activations that ``batch`` [B, T, F], by default
    random features, causes: so no layer's output vanishes or grows without bounds.
    """
    torch.manual_seed(seed)
    network = make().train()
    for part in network.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.momentum = None  # the average over all calls
            if part.affine:
                part.weight.data.uniform_(0.5, 1.5)
                part.bias.data.normal_(0, 0.3)
    with torch.no_grad():
        network(2 * torch.randn(6, 200, feat_dim) if batch is None else batch)
    return network.eval()


def waveforms():
    """Noise through a resonance, of several lengths."""
    rng = np.random.default_rng(5)
    waves = []
    for seconds in SECONDS:
        size = int(seconds * RATE)
        tone = np.sin(2 * np.pi * rng.uniform(100, 400) * np.arange(size) / RATE)
        waves.append((0.05 * rng.standard_normal(size) + 0.1 * tone).astype(np.float32))
    return waves


def features(feat_dim, lengths=(45, 99, 200, 345)):
    """Random features [T, F] of several lengths."""
    generator = torch.Generator().manual_seed(3)
    return [2 * torch.randn(length, feat_dim, generator=generator) for length in lengths]


def check(theirs, ours):
    """Each pair of embeddings differs by less than 1e-4 of the largest component."""
    assert len(theirs) == len(ours) > 2
    theirs, ours = ([torch.as_tensor(x).flatten() for x in side] for side in (theirs, ours))
    for n, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        assert their.shape == our.shape
        assert their.std() > 0, n
        error = float((their - our).abs().max() / their.abs().max())
        assert error < TOLERANCE, f"{n}: {error:.2e}"
    distances = [float((a - b).abs().max()) for a, b in itertools.pairwise(theirs)]
    assert min(distances) > 1e-3, "the embeddings do not depend on the input"


@torch.inference_mode()
def check_waveforms(peer, bundle):
    """``peer(samples [1, S])`` and our extraction agree from waveform to embedding."""
    extractor = Extractor.of_bundle(bundle)
    theirs = [peer(torch.from_numpy(samples)[None]) for samples in waveforms()]
    check(theirs, [extractor.embed([Waveform(samples, RATE)]) for samples in waveforms()])


@torch.inference_mode()
def check_features(peer, bundle, dtype=torch.float32):
    """``peer(features [1, T, F])`` and our network, in the precision ``dtype``, agree."""
    model = bundle.model.to(dtype)
    inputs = [x[None].to(dtype) for x in features(bundle.card["feat_dim"]) if len(x) >= model.min_frames]
    check([peer(x) for x in inputs], [model(x) for x in inputs])
