"""The speech check: talkers pass at any rate and in noise; whatever is no speech, or too little, is named."""

import numpy as np
import pytest
from scipy import signal

from speakerlab.embed.speech_check import _BLOCK_FRAMES, check, check_features, clipped_share
from speakerlab.io import audio
from speakerlab.types import Waveform

RATE = 16000


def waveform(samples):
    return Waveform(np.asarray(samples, np.float32), RATE)


def noise(seconds=4.0, level=0.1, seed=0):
    return level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def test_talkers_have_enough_speech(talkers):
    for spoken in (sentence for talker in talkers for sentence in talker):
        found = check(spoken)
        assert found.reasons == ()
        assert 0.6 * spoken.duration_s < found.speech_s <= spoken.duration_s
        assert found.duration_s == spoken.duration_s
        assert found.clipped < 0.001


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_the_rate_hardly_matters(talkers, rate):
    spoken = talkers[0][0]
    other = check(audio.resample(spoken, rate))
    assert other.reasons == ()
    assert other.speech_s == pytest.approx(check(spoken).speech_s, abs=0.5)


@pytest.mark.parametrize("snr_db", [20, 10])
def test_talkers_in_noise_pass(talkers, snr_db):
    for talker in talkers:
        samples = talker[0].samples
        level = np.sqrt(np.mean(samples**2)) * 10 ** (-snr_db / 20)
        mixed = waveform(samples + noise(len(samples) / RATE, level)[: len(samples)])
        assert check(mixed).reasons == ()


@pytest.mark.parametrize("level", [0.3, 0.01])
def test_steady_noise_is_no_speech(level):
    white = noise(level=level)
    pink = signal.lfilter([0.05], [1, -0.95], white)
    for samples in (white, pink):
        found = check(waveform(samples))
        assert found.speech_s == 0
        assert found.reasons == ("no speech found",)


@pytest.mark.parametrize("pitch_hz", [60, 100, 150, 233, 380])
def test_a_hum_is_no_speech(pitch_hz):
    time_s = np.arange(4 * RATE) / RATE
    for samples in (signal.square(2 * np.pi * pitch_hz * time_s), np.sin(2 * np.pi * pitch_hz * time_s)):
        assert "no speech found" in check(waveform(0.3 * samples + noise(level=1e-3))).reasons


def buzz(seconds, pitch_hz):
    """Pulses of a pitch [S] or constant through two resonances in turn, every 0.2 s."""
    size = int(seconds * RATE)
    phase = np.cumsum(np.broadcast_to(pitch_hz, size)) / RATE
    pulses = np.diff(np.floor(phase), prepend=0)
    low, high = (signal.lfilter(*signal.iirpeak(hz, 3, fs=RATE), pulses) for hz in (400, 2500))
    mixed = np.where(np.arange(size) // (RATE // 5) % 2, low / low.std(), high / high.std())
    return 0.1 * mixed + noise(seconds, 1e-4)


def test_a_machine_whose_sound_changes_has_no_changing_pitch():
    assert check(waveform(buzz(4, np.linspace(110, 150, 4 * RATE)))).reasons == ()  # a talker's would
    assert check(waveform(buzz(4, 120))).reasons == ("no speech found",)


def test_a_few_calls_in_much_noise_are_no_speech():
    call = buzz(0.4, np.linspace(110, 220, int(0.4 * RATE)))
    calls = np.concatenate([np.concatenate([call, noise(5, 0.03, seed)]) for seed in range(5)])
    assert check(waveform(calls)).reasons == ("no speech found",)
    assert (
        check(waveform(np.concatenate([call, 0 * noise(5)] * 5))).reasons == ()
    )  # but in silence they may be


@pytest.mark.parametrize("samples", [np.zeros(3 * RATE), noise(level=1e-4), np.full(3 * RATE, 0.2)])
def test_silence(samples):
    (reason,) = check(waveform(samples)).reasons
    assert reason.startswith("silence: -")


def test_half_a_second_is_too_little(talkers):
    spoken = talkers[0][0].samples[RATE : 3 * RATE // 2]
    assert check(waveform(spoken)).reasons == ("0.50 s long, 1 s of speech is the least",)


def test_silence_around_speech_does_not_count(talkers):
    short = np.concatenate(
        [np.zeros(2 * RATE), talkers[0][0].samples[RATE : 3 * RATE // 2], np.zeros(2 * RATE)]
    )
    found = check(waveform(short))
    assert found.speech_s < 0.7
    assert found.reasons


def test_clipping(talkers):
    spoken = talkers[0][0]
    loud = spoken.samples / np.abs(spoken.samples).max()
    assert check(waveform(loud)).reasons == ()
    found = check(waveform(np.clip(10 * loud, -1, 1)))
    assert found.clipped > 0.1
    assert any(reason.startswith("clipped: ") for reason in found.reasons)
    quieter = check(waveform(0.3 * np.clip(10 * loud, -1, 1)))  # turned down after it was clipped
    assert quieter.clipped == pytest.approx(found.clipped, rel=0.01)


def test_clipped_share_by_hand():
    assert clipped_share(np.zeros(5, np.float32)) == 0
    assert clipped_share(np.array([0, 1, 1, 0.5, 1, 0, 0, 0, 0, 0], np.float32)) == 0  # runs of two and one
    assert clipped_share(np.array([0, 1, 1, 1, 0, -1, -1, -1, -1, 0], np.float32)) == pytest.approx(0.7)


def test_long_recordings_are_analysed_block_by_block(talkers):
    spoken = talkers[0][0].samples
    copies = -(-_BLOCK_FRAMES * 160 // len(spoken)) + 1
    found = check(waveform(np.tile(spoken, copies)))
    assert found.speech_s == pytest.approx(copies * check(talkers[0][0]).speech_s, rel=0.05)


def test_shorter_than_a_frame():
    assert check(waveform(noise(0.025))).reasons


def test_features():
    feats = np.random.default_rng(0).standard_normal((150, 8)).astype(np.float32)
    assert check_features(feats, 0.01).reasons == ()
    assert check_features(feats, 0.01).duration_s == pytest.approx(1.5)
    assert check_features(feats[:99], 0.01).reasons == ("0.99 s of features, 1 s is the least",)
    assert check_features(np.ones((150, 8), np.float32), 0.01).reasons == ("silence: all frames are equal",)


def test_enough_speech_in_much_silence_is_enough(talkers):
    spoken = talkers[0][0].samples
    quiet = 1e-5 * np.random.default_rng(0).standard_normal(200 * RATE)
    found = check(waveform(np.concatenate([quiet, spoken])))
    assert found.level_db < -65  # speech is a fortieth of the frames
    assert found.speech_s == pytest.approx(check(waveform(spoken)).speech_s, abs=0.3)
    assert found.reasons == ()


def telephone(spoken, rate):
    """``spoken`` through a telephone: 300 to 3400 Hz at 8 kHz, 8 bits of mu-law, stored at ``rate``."""
    narrow = audio.resample(spoken, 8000)
    sections = signal.butter(6, [300, 3400], "bandpass", fs=8000, output="sos")
    samples = signal.sosfilt(sections, narrow.samples / np.abs(narrow.samples).max() / 2)
    coded = np.round(127 * np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256)) / 127
    decoded = np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255
    return audio.resample(Waveform(decoded.astype(np.float32), 8000), rate)


def edge_hz(band, rate=16000):
    """Upper edge of ``band``, from 0, of 20 between 100 Hz and 7 kHz, or 95 % of what the rate can hold."""
    return 100 * (min(7000, 0.95 * rate / 2) / 100) ** ((band + 1) / 20)


def test_bandwidth_of_wide_band_speech(talkers):
    for talker in talkers:
        for rate in (16000, 22050, 44100):
            assert check(audio.resample(talker[0], rate)).bandwidth_hz == pytest.approx(7000)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_bandwidth_of_telephone_speech_at_whatever_rate(talkers, rate):
    """To 3.7 kHz, or a band more where the noise of the codec is heard."""
    for talker in talkers:
        found = check(telephone(talker[0], rate))
        assert 3700 < found.bandwidth_hz < 4600
        assert found.reasons == ()


def test_bandwidth_of_8_khz_speech_resampled(talkers):
    """Its content ends within the band from 3.7 to 4.6 kHz."""
    for talker in talkers:
        narrow = audio.resample(talker[0], 8000)
        assert check(narrow).bandwidth_hz == pytest.approx(3800)
        assert check(audio.resample(narrow, 16000)).bandwidth_hz == pytest.approx(edge_hz(17))


@pytest.mark.parametrize(("below_db", "lowest", "highest"), [(50, 4000, 4600), (60, 900, 1300)])
def test_bandwidth_ends_55_db_below_the_loudest_band(below_db, lowest, highest):
    """Of a tone of 900 Hz, with one of 4 kHz that is or is not loud enough."""
    time_s = np.arange(2 * RATE) / RATE
    samples = np.sin(2 * np.pi * 900 * time_s) + 10 ** (-below_db / 20) * np.sin(2 * np.pi * 4000 * time_s)
    assert lowest < check(waveform(0.3 * samples)).bandwidth_hz < highest


def test_bandwidth_does_not_depend_on_level_and_is_told_of_short_sounds(talkers):
    spoken = talkers[0][0].samples
    sound = np.concatenate([np.zeros(RATE), spoken])
    assert {check(waveform(gain * sound)).bandwidth_hz for gain in (0.01, 0.1, 0.9)} == {7000.0}
    assert check_features(np.ones((150, 8), np.float32), 0.01).bandwidth_hz is None
