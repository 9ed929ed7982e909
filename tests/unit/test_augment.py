"""Every perturbation against what it claims: lengths, ratios, spectra, decay; and all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from speakerlab import config
from speakerlab.augment.band_limit import BandLimitConfig, band_curve
from speakerlab.augment.equalizer import GRID, EqualizerConfig, equalize, random_curve
from speakerlab.augment.gain import GainConfig, change_gain
from speakerlab.augment.noise import NoiseConfig, add_noise
from speakerlab.augment.pipeline import AugmentConfig, Augmenter
from speakerlab.augment.reverb import ReverbConfig, reverberate, simulate_rir
from speakerlab.augment.spec_augment import SpecAugmentConfig, spec_augment
from speakerlab.augment.speed import change_speed
from speakerlab.errors import ConfigError

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def white(num_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * rng(seed).standard_normal(num_samples)).astype(np.float32)


def tone(hz: float, num_samples: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE)).astype(np.float32)


def ratio_db(numerator: np.ndarray, denominator: np.ndarray) -> float:
    return float(
        10 * np.log10(np.mean(numerator.astype(float) ** 2) / np.mean(denominator.astype(float) ** 2))
    )


# speed


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.05, 0.8, 2.0])
def test_speed_moves_a_tone_by_the_factor(factor: float) -> None:
    fast = change_speed(tone(500.0), factor)
    assert fast.dtype == np.float32
    assert len(fast) == np.ceil(RATE / round(factor, 2) - 1e-9)
    middle = slice(500, len(fast) - 500)
    expected = 0.5 * np.sin(2 * np.pi * 500.0 * factor * np.arange(len(fast)) / RATE)
    np.testing.assert_allclose(fast[middle], expected[middle], atol=2e-3)


def test_speed_does_not_alias() -> None:
    fast = change_speed(tone(7800.0), 1.2)  # would be 9.36 kHz, folded to 6.64 kHz
    assert ratio_db(fast[500:-500], tone(7800.0)) < -60


def test_speed_one_is_the_signal() -> None:
    assert np.array_equal(change_speed(white(1000), 1.0), white(1000))


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.12345])
def test_speed_refuses_odd_factors(factor: float) -> None:
    with pytest.raises(ValueError, match="speed factor"):
        change_speed(white(1000), factor)


# noise


@pytest.mark.parametrize("noise_length", [100, RATE, 3 * RATE])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 15.0])
def test_noise_has_the_asked_ratio_exactly(noise_length: int, snr_db: float) -> None:
    samples = tone(300.0)
    noisy = add_noise(samples, white(noise_length), snr_db, rng())
    assert noisy.dtype == np.float32
    assert noisy.shape == samples.shape
    assert ratio_db(samples, noisy - samples) == pytest.approx(snr_db, abs=0.01)


def test_short_noise_is_repeated_not_stretched() -> None:
    added = add_noise(tone(300.0), white(100), 10.0, rng()) - tone(300.0)
    np.testing.assert_allclose(added[100:200], added[:100], atol=1e-6)
    gain = np.linalg.norm(added[:100]) / np.linalg.norm(white(100))
    turns = [np.abs(added[:100] - gain * np.roll(white(100), k)).max() for k in range(100)]
    assert min(turns) < 1e-5


def test_long_noise_is_a_stretch_from_anywhere() -> None:
    ramp = np.linspace(0.1, 1.0, 1000, dtype=np.float32)
    starts = set()
    for seed in range(300):
        added = add_noise(white(998), ramp, 0.0, rng(seed)) - white(998)
        starts.add(
            int(np.argmin([np.abs(added / added[0] - ramp[k : k + 998] / ramp[k]).max() for k in range(3)]))
        )
    assert starts == {0, 1, 2}


def test_silent_stretch_of_noise_adds_nothing() -> None:
    noise = np.zeros(10 * RATE, dtype=np.float32)
    noise[-1] = 1.0
    assert np.array_equal(add_noise(white(100), noise, 0.0, rng()), white(100))


@pytest.mark.parametrize("noise", [np.zeros(50), np.zeros(0), np.full(50, np.nan), np.full(50, np.inf)])
def test_silent_or_broken_noise_is_refused(noise: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite and not silent"):
        add_noise(white(100), noise.astype(np.float32), 0.0, rng())


# reverberation


def test_reverb_is_the_convolution_in_time_with_the_input() -> None:
    rir = np.zeros(300, dtype=np.float32)
    rir[100], rir[107], rir[250] = -0.9, 0.5, 0.2  # direct path after 100 samples of travel
    samples = white(2000)
    wet = reverberate(samples, rir)
    by_hand = -0.9 * samples
    by_hand[7:] += 0.5 * samples[:-7]
    by_hand[150:] += 0.2 * samples[:-150]
    by_hand *= np.linalg.norm(samples) / np.linalg.norm(by_hand)
    np.testing.assert_allclose(wet, by_hand, atol=1e-6)


@pytest.mark.parametrize("num_samples", [100, 4000, RATE])
def test_reverb_keeps_length_and_energy(num_samples: int) -> None:
    samples = white(num_samples)
    wet = reverberate(samples, simulate_rir(0.6, 0.0, RATE, rng()))
    assert wet.shape == samples.shape
    assert wet.dtype == np.float32
    assert ratio_db(wet, samples) == pytest.approx(0.0, abs=1e-3)
    assert not np.allclose(wet, samples, atol=1e-3)


def test_reverb_of_a_pure_delay_is_the_input() -> None:
    rir = np.zeros(50, dtype=np.float32)
    rir[49] = 0.3
    np.testing.assert_allclose(reverberate(white(1000), rir), white(1000), atol=1e-6)


@pytest.mark.parametrize("rir", [np.zeros(50), np.zeros(0), np.full(50, np.nan)])
def test_broken_response_is_refused(rir: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite and not silent"):
        reverberate(white(100), rir.astype(np.float32))


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 1.0])
def test_simulated_room_decays_in_the_asked_time(rt60_s: float) -> None:
    rir = simulate_rir(rt60_s, 0.0, RATE, rng()).astype(float)
    tail = rir.copy()
    tail[0] = 0
    decay_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))  # Schroeder's integral
    t5, t25 = np.argmax(decay_db < -5), np.argmax(decay_db < -25)
    assert 3 * (t25 - t5) / RATE == pytest.approx(rt60_s, rel=0.1)


@pytest.mark.parametrize("direct_db", [-3.0, 0.0, 12.0])
def test_simulated_room_has_the_asked_direct_path(direct_db: float) -> None:
    rir = simulate_rir(0.5, direct_db, RATE, rng()).astype(float)
    assert np.abs(rir).argmax() == 0
    assert 10 * np.log10(rir[0] ** 2 / np.sum(rir[1:] ** 2)) == pytest.approx(direct_db, abs=0.01)


# equaliser and band limits


def test_equalizer_curve_is_smooth_random_and_bounded() -> None:
    chosen = EqualizerConfig(max_db=6.0, num_bumps=3)
    peaks = []
    for seed in range(200):
        curve_db = 20 * np.log10(random_curve(chosen, RATE, rng(seed)))
        assert curve_db.shape == (GRID,)
        assert np.abs(np.diff(curve_db)).max() < 2.0
        peaks.append(np.abs(curve_db).max())
    assert max(peaks) <= 6.0 + 1e-9
    assert max(peaks) > 5.5
    assert min(peaks) < 0.5


def test_one_bump_is_a_tilt() -> None:
    curve = random_curve(EqualizerConfig(num_bumps=1), RATE, rng())
    steps = np.diff(curve)
    assert np.all(steps > 0) or np.all(steps < 0)
    assert curve[0] * curve[-1] == pytest.approx(1.0)


def test_equalize_gives_each_frequency_its_gain() -> None:
    gains = np.linspace(1.0, 2.0, GRID)
    for hz, gain in ((500.0, 1 + 500 / 8000), (4000.0, 1.5), (7500.0, 1 + 7500 / 8000)):
        middle = slice(1000, -1000)
        np.testing.assert_allclose(equalize(tone(hz), gains)[middle], gain * tone(hz)[middle], atol=1e-3)


def test_equalize_flat_is_the_input_and_nothing_wraps_around() -> None:
    np.testing.assert_allclose(equalize(white(5000), np.ones(GRID)), white(5000), atol=1e-6)
    click = np.zeros(5000, dtype=np.float32)
    click[0] = 1.0
    assert np.abs(equalize(click, random_curve(EqualizerConfig(), RATE, rng()))[2500:]).max() < 1e-4


def test_band_limits_are_where_they_were_asked() -> None:
    curve = band_curve(300.0, 3400.0, RATE)

    def level_db(hz: float) -> float:
        return ratio_db(equalize(tone(hz), curve)[1000:-1000], tone(hz)[1000:-1000])

    assert level_db(1000.0) == pytest.approx(0.0, abs=0.05)
    assert level_db(300.0) == pytest.approx(-3.0, abs=0.5)
    assert level_db(3400.0) == pytest.approx(-3.0, abs=0.5)
    assert level_db(100.0) < -40
    assert level_db(6800.0) < -40


def test_gain_is_in_decibels() -> None:
    assert ratio_db(change_gain(white(1000), -6.0), white(1000)) == pytest.approx(-6.0, abs=1e-3)
    assert change_gain(white(10), 3.0).dtype == np.float32


# SpecAugment


def test_spec_augment_off_changes_nothing() -> None:
    feats = torch.ones(100, 20)
    assert torch.equal(spec_augment(feats, SpecAugmentConfig(), rng()), feats)


def test_spec_augment_masks_whole_frames_and_bins_within_the_limits() -> None:
    chosen = SpecAugmentConfig(num_time_masks=2, max_time_frames=10, num_freq_masks=1, max_freq_bins=5)
    frames, bins = [], []
    for seed in range(200):
        feats = torch.ones(100, 20)
        kept = spec_augment(feats, chosen, rng(seed))
        assert feats.min() == 1  # the input is left alone
        masked_frames, masked_bins = (kept == 0).all(1), (kept == 0).all(0)
        assert torch.equal(kept, (~masked_frames).float()[:, None] * (~masked_bins).float())
        frames.append(int(masked_frames.sum()))
        bins.append(int(masked_bins.sum()))
    assert (min(frames), min(bins)) == (0, 0)
    assert 15 <= max(frames) <= 20
    assert max(bins) == 5


def test_spec_augment_leaves_half_of_a_short_crop() -> None:
    chosen = SpecAugmentConfig(num_time_masks=2, max_time_frames=50, num_freq_masks=2, max_freq_bins=50)
    for seed in range(100):
        kept = spec_augment(torch.ones(9, 8), chosen, rng(seed))
        assert (kept != 0).any(1).sum() >= 4
        assert (kept != 0).any(0).sum() >= 4


# all of them


def everything() -> AugmentConfig:
    return AugmentConfig(
        ReverbConfig(1.0, simulated=0.5),
        NoiseConfig(1.0),
        EqualizerConfig(1.0),
        BandLimitConfig(1.0),
        GainConfig(1.0, min_db=-20.0, max_db=20.0),
    )


def augmenter(chosen: AugmentConfig) -> Augmenter:
    noises = [white(4000, 1), white(50000, 2)]
    return Augmenter(chosen, noises, [simulate_rir(0.3, 3.0, RATE, rng(3))], RATE)


def test_everything_is_off_by_default() -> None:
    assert np.array_equal(Augmenter(AugmentConfig(), [], [], RATE)(white(8000), rng()), white(8000))


@pytest.mark.parametrize("step", ["reverb", "noise", "equalizer", "band_limit", "gain"])
def test_each_step_works_alone_and_as_often_as_asked(step: str) -> None:
    section = replace(getattr(AugmentConfig(), step), probability=0.3)
    augment = augmenter(replace(AugmentConfig(), **{step: section}))
    samples = white(2000)
    changed = [not np.array_equal(augment(samples, rng(seed)), samples) for seed in range(300)]
    assert 60 < sum(changed) < 120  # 90 +- 3.8 standard deviations


def test_same_generator_same_result_and_input_untouched() -> None:
    samples = white(8000)
    first = augmenter(everything())(samples, rng(7))
    assert np.array_equal(samples, white(8000))
    assert np.array_equal(first, augmenter(everything())(samples, rng(7)))
    assert not np.array_equal(first, augmenter(everything())(samples, rng(8)))


SIGNALS = {
    "white": white(3000),
    "loud": np.sign(white(3000)),
    "one_lsb": np.sign(white(3000)) / np.float32(32768),
    "constant": np.full(3000, 0.5, dtype=np.float32),
    "click": np.eye(1, 3000, 1500, dtype=np.float32)[0],
    "last_sample": np.eye(1, 3000, 2999, dtype=np.float32)[0],
    "short": white(400),
}


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(SIGNALS)), seed=st.integers(0, 2**32))
def test_output_is_always_usable(name: str, seed: int) -> None:
    samples = SIGNALS[name]
    out = augmenter(everything())(samples, rng(seed))
    assert out.dtype == np.float32
    assert out.shape == samples.shape
    assert np.isfinite(out).all()
    assert 0 < np.abs(out).max() <= 1 + 1e-6


def test_silence_stays_silence() -> None:
    assert not augmenter(everything())(np.zeros(1000, dtype=np.float32), rng()).any()


def test_telephone_band_is_in_the_result() -> None:
    chosen = AugmentConfig(band_limit=BandLimitConfig(1.0, 300.0, 300.0, 3400.0, 3400.0))
    hz, density = signal.welch(augmenter(chosen)(white(32000), rng()), RATE)
    assert density[hz > 6000].max() < 1e-3 * np.median(density[(hz > 600) & (hz < 3000)])


def test_recorded_rooms_are_used_when_asked() -> None:
    echo = np.zeros(200, dtype=np.float32)
    echo[0], echo[150] = 1.0, 0.5
    samples = white(4000)
    chosen = AugmentConfig(reverb=ReverbConfig(1.0, simulated=0.0))
    assert np.array_equal(Augmenter(chosen, [], [echo], RATE)(samples, rng()), reverberate(samples, echo))


def test_missing_noises_and_rooms_are_said_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Augmenter(everything(), [], [], RATE)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "noise.probability",
        "reverb.simulated",
    ]


@dataclass(frozen=True)
class Experiment:
    """As in a training configuration, where the section is called ``augment``."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)


@pytest.mark.parametrize(
    ("section", "values", "word"),
    [
        ("noise", {"probability": 1.5}, "augment.noise.probability"),
        ("noise", {"min_snr_db": 20.0}, "augment.noise.min_snr_db"),
        ("reverb", {"simulated": 2.0}, "augment.reverb.simulated"),
        ("reverb", {"min_rt60_s": 0.0}, "augment.reverb.min_rt60_s"),
        ("reverb", {"probability": -0.1}, "augment.reverb.probability"),
        ("equalizer", {"num_bumps": 0}, "augment.equalizer.max_db, num_bumps"),
        ("band_limit", {"max_low_hz": 5000.0}, "augment.band_limit.min_low_hz"),
        ("gain", {"max_db": -30.0}, "augment.gain.min_db"),
        ("spec_augment", {"max_freq_bins": -1}, "augment.spec_augment.max_freq_bins"),
    ],
)
def test_wrong_settings_are_named(section: str, values: dict[str, float], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        config.from_mapping(Experiment, {"augment": {section: values}}, "test.yaml")


def test_settings_survive_yaml() -> None:
    assert config.from_mapping(AugmentConfig, config.to_mapping(everything()), "test") == everything()
