"""torchaudio's pure-Python parts work whether its compiled extension loads or not."""

import subprocess
import sys

import kaldi_native_fbank
import numpy as np
import torch

from speakerlab.torchaudio_import import functional, kaldi

# Stands where the real extension would be found and fails as the CUDA wheel does beside a CPU-only torch.
BROKEN_EXTENSION = """
import importlib.abc, sys
class Broken(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchaudio._extension":
            raise OSError("libc10_cuda.so: cannot open shared object file")
sys.meta_path.insert(0, Broken())
from speakerlab.torchaudio_import import functional, kaldi
import torch
print(tuple(kaldi.fbank(torch.ones(1, 16000), num_mel_bins=80).shape))
print(tuple(functional.resample(torch.ones(1, 16000), 16000, 8000).shape))
"""
WHOLE_PACKAGE = {
    "__init__.py": "from . import _extension",
    "_extension.py": "loaded = True",
    "functional.py": "",
    "compliance/__init__.py": "",
    "compliance/kaldi.py": "",
}


def test_import_survives_a_broken_extension() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_EXTENSION], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["(98, 80)", "(1, 8000)"], done.stderr


def test_a_working_extension_is_left_in_place(tmp_path) -> None:
    for name, text in WHOLE_PACKAGE.items():
        path = tmp_path / "torchaudio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import speakerlab.torchaudio_import\n"
        "print(sys.modules['torchaudio._extension'].loaded)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_fbank_agrees_with_kaldi_native_fbank() -> None:
    samples = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 1000
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    peer = kaldi_native_fbank.OnlineFbank(options)
    peer.accept_waveform(16000, samples.tolist())
    peer.input_finished()
    expected = np.stack([peer.get_frame(t) for t in range(peer.num_frames_ready)])
    ours = kaldi.fbank(torch.from_numpy(samples)[None], num_mel_bins=80, dither=0.0)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-3)


def test_resample_keeps_a_tone() -> None:
    time_s = torch.arange(16000) / 16000
    tone = functional.resample(torch.sin(2 * torch.pi * 440 * time_s)[None], 16000, 8000)[0]
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 8000)
    assert (tone - expected)[200:-200].abs().max() < 1e-2
