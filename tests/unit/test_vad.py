"""Energy VAD against a loop written from Kaldi's definition, hand cases and kaldi-native-fbank."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speakerlab.frontend.fbank import Fbank, FbankConfig
from speakerlab.frontend.spectrogram import Spectrogram, SpectrogramConfig
from speakerlab.frontend.vad import VadConfig, compute_vad, log_energy, voiced_frames


def kaldi_rule(energies: list[float], config: VadConfig) -> list[float]:
    """compute-vad's definition, frame by frame."""
    threshold = config.energy_threshold + config.energy_mean_scale * sum(energies) / len(energies)
    decisions = []
    for t in range(len(energies)):
        above = total = 0
        for near in range(t - config.frames_context, t + config.frames_context + 1):
            if 0 <= near < len(energies):
                total += 1
                above += energies[near] > threshold
        decisions.append(1.0 if above >= total * config.proportion_threshold else 0.0)
    return decisions


@settings(max_examples=60, deadline=None)
@given(
    energies=st.lists(st.integers(-15, 25), min_size=1, max_size=40),
    context=st.integers(0, 6),
    proportion=st.sampled_from([0.12, 0.3, 0.5, 0.6, 0.95]),
    mean_scale=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_agrees_with_the_definition(
    energies: list[int], context: int, proportion: float, mean_scale: float
) -> None:
    config = VadConfig(5.51, mean_scale, context, proportion)  # 5.51: no energy lies on the threshold
    ours = voiced_frames(torch.tensor(energies, dtype=torch.float32), config)
    assert ours.tolist() == kaldi_rule([float(e) for e in energies], config)


def test_hand_case_proportion_and_context() -> None:
    # One loud frame of nine; threshold 5.5 + 0.5 * 2 = 6.5. One of 5 is 0.2, one of 4 and of 3 more.
    energies = torch.tensor([0, 0, 0, 0, 18, 0, 0, 0, 0], dtype=torch.float32)
    assert voiced_frames(energies, VadConfig()).tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert voiced_frames(energies, VadConfig(proportion_threshold=0.21)).tolist() == [0.0] * 9
    assert voiced_frames(energies, VadConfig(frames_context=0)).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_hand_case_edges_count_only_frames_that_exist() -> None:
    energies = torch.tensor([18, 0, 0, 0, 0, 0], dtype=torch.float32)  # threshold 5.5 + 1.5
    assert voiced_frames(energies, VadConfig(proportion_threshold=0.3)).tolist() == [1, 0, 0, 0, 0, 0]


def test_energy_at_the_threshold_is_not_voiced() -> None:
    config = VadConfig(energy_threshold=5.0, energy_mean_scale=0.0, frames_context=0)
    assert voiced_frames(torch.tensor([5.0, 5.5]), config).tolist() == [0, 1]


def native_log_energy(samples: np.ndarray, snip_edges: bool) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges = 0.0, snip_edges
    options.use_energy, options.raw_energy, options.energy_floor = True, True, 0.0
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(16000, (samples * 32768).tolist())
    computer.input_finished()
    return np.array([computer.get_frame(i)[0] for i in range(computer.num_frames_ready)])


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("level", [0.1, 1e-4])
def test_energy_agrees_with_kaldi_native_fbank(level: float, snip_edges: bool) -> None:
    rng = np.random.default_rng(0)
    samples = (level * rng.standard_normal(16000) + 0.2).astype(np.float32)
    framing = FbankConfig(snip_edges=snip_edges, window="hamming", scale=1.0, preemphasis=0.5)
    ours = log_energy(torch.from_numpy(samples), framing.grid).numpy()
    theirs = native_log_energy(samples, snip_edges)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 2e-3


def test_frames_of_a_centred_transform_have_energies_too() -> None:
    grid = Spectrogram(SpectrogramConfig(edges="zeros")).grid
    samples = torch.zeros(1600)
    samples[::2], samples[1::2] = 0.5, -0.5
    # Frame t reaches from t * 160 - 256 on over 512 samples; 256 of the first lie in the signal.
    expected = [256, 416, 512, 512, 512, 512, 512, 512, 512, 416, 256]
    energies = log_energy(samples, grid)
    np.testing.assert_allclose(energies.exp() / 16384.0**2, expected, rtol=1e-4)


def test_energy_of_a_known_frame() -> None:
    samples = torch.zeros(400)
    samples[::2], samples[1::2] = 0.5, -0.5  # mean 0: 400 samples of 16384 squared
    assert log_energy(samples, FbankConfig().grid).item() == pytest.approx(np.log(400 * 16384.0**2), abs=1e-4)
    assert log_energy(torch.full((400,), 0.5), FbankConfig().grid).item() == pytest.approx(np.log(2.0**-23))


def test_speech_between_pauses_is_found() -> None:
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(48000)
    samples[16000:32000] = 0.1 * rng.standard_normal(16000)
    framing = FbankConfig()
    voiced = compute_vad(torch.from_numpy(samples.astype(np.float32)), framing.grid, VadConfig())
    assert voiced.dtype == torch.float32
    assert len(voiced) == Fbank(framing).num_frames(48000)
    # A frame sees speech from sample 16000 - 399 on: frame 98; two frames of context on both sides.
    assert np.flatnonzero(voiced.numpy()).tolist() == list(range(96, 202))


@pytest.mark.parametrize("num_samples", [400, 559, 560, 16000, 16123])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_one_decision_per_feature_frame(num_samples: int, snip_edges: bool) -> None:
    framing = FbankConfig(snip_edges=snip_edges)
    decisions = compute_vad(torch.ones(num_samples), framing.grid, VadConfig())
    assert len(decisions) == Fbank(framing).num_frames(num_samples)


def test_defaults_are_those_of_the_sre_recipes() -> None:
    assert VadConfig() == VadConfig(5.5, 0.5, 2, 0.12)


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_mean_scale": -0.1},
        {"frames_context": -1},
        {"proportion_threshold": 0.0},
        {"proportion_threshold": 1.0},
    ],
)
def test_wrong_settings_are_named(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        VadConfig(**changes)  # type: ignore[arg-type]
