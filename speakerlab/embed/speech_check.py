"""Is there enough speech to decide on? Seconds of it, level and clipping, and reasons where there is not.

In: a ``Waveform``, at best as it was recorded (resampling hides clipping); out: a ``SpeechCheck``.
Example: ``check(waveform).reasons`` -> ``("0.41 s of speech, 1 s is the least",)``; no model.

Kaldi's energy rule cannot tell: its threshold follows the mean energy, so steady noise is speech from end to
end. Here speech is what lies around voiced stretches (a pitch of 70 to 400 Hz that moves little from frame to
frame), provided that pitch and spectral shape change over the recording as those of a talker do. The limits
were set between recordings of talkers, with white noise added down to 5 dB, and recordings of noises: a hum
has no changing pitch, most engines no changing spectrum, rain, surf and hiss no pitch. What has all of them
passes: beside 327 of 329 talkers, 18 of 93 noises do (benchmarks/speech_check.py), cries of babies, roosters
and dogs and half of the chainsaws among them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from speakerlab.types import Float32Array, Waveform

MIN_SPEECH_S = 1.0
MIN_LEVEL_DB = -65.0  # RMS of the loud frames over full scale; 16-bit audio ends at about -96
MAX_CLIPPED = 0.01  # share of samples that lie in flat tops
FRAME_S, SHIFT_S = 0.040, 0.010  # three periods of a low voice
PITCH_HZ = (70.0, 400.0)
VOICING_BAND_HZ = (60.0, 1500.0)
MIN_VOICING = 0.5  # normalised autocorrelation
MAX_LAG_STEP = 0.12  # log of the ratio of neighbouring pitch periods
MIN_VOICED_FRAMES = 5
REACH_FRAMES = 15  # unvoiced sounds lie within 0.15 s of voiced ones
DYNAMIC_RANGE_DB = 30.0
MIN_VOICED_SHARE = 0.12  # of the frames that are not pauses
MIN_LAG_SPREAD = 0.03  # standard deviation of the log of the pitch period
MIN_SHAPE_SPREAD_DB = 4.2  # mean over bands of the standard deviation of level-free band energies
NUM_BANDS = 20
BANDS_HZ = (100.0, 7000.0)
BAND_FLOOR_DB = 55.0  # below the loudest band there is no speech, see _bandwidth_hz
_TINY = np.float32(1e-12)  # far below one 16-bit step squared
_BLOCK_FRAMES = 250  # analysed together: they fit the cache, and memory stays flat over hours


@dataclass(frozen=True)
class SpeechCheck:
    """What was found in one recording.

    Attributes:
        duration_s: length in seconds.
        speech_s: seconds of speech; None where only features are known, which do not tell.
        level_db: RMS of the loudest twentieth of the frames, dB over full scale; None likewise.
        clipped: share of samples in flat tops, in 0..1; None likewise.
        reasons: why no decision should rest on it, in words; empty where one may.
        bandwidth_hz: how far the spectrum reaches; about 4000 for telephone speech, at whatever rate it is
            stored; None likewise.
    """

    duration_s: float
    speech_s: float | None
    level_db: float | None
    clipped: float | None
    reasons: tuple[str, ...]
    bandwidth_hz: float | None = None


def check(waveform: Waveform) -> SpeechCheck:
    """Measure and judge ``waveform``."""
    analysis = _analyse(waveform)
    level_db = float(np.percentile(analysis.energy_db, 95))
    clipped = clipped_share(waveform.samples)
    speech_s = _speech_s(analysis, level_db)
    lack = _lack(waveform.duration_s, speech_s, level_db)
    reasons = [lack] if lack else []
    if clipped > MAX_CLIPPED and (speech_s > 0 or level_db >= MIN_LEVEL_DB):
        reasons.append(f"clipped: {clipped:.0%} of the samples")
    reach = _bandwidth_hz(analysis, waveform.sample_rate)
    return SpeechCheck(waveform.duration_s, speech_s, level_db, clipped, tuple(reasons), reach)


def _bandwidth_hz(analysis: _Analysis, rate: int) -> float:
    """Upper edge of the highest band that comes within ``BAND_FLOOR_DB`` of the loudest one.

    By the loud twentieth of the frames in each band, since fricatives alone fill the upper ones. Measured on
    real speech: the band below 7 kHz stays within 46 dB, in wide-band recordings from telephones too; after a
    telephone channel (3.4 kHz, mu-law) it lies 68 dB below and more, what is left being the codec's noise.
    """
    loud_db = np.percentile(analysis.bands_db, 95, axis=0)
    edges = _band_edges_hz(rate)[1:]
    return float(edges[np.flatnonzero(loud_db >= loud_db.max() - BAND_FLOOR_DB)[-1]])


def _lack(duration_s: float, speech_s: float, level_db: float) -> str:
    """Why there is too little speech; empty where there is enough, however long the silence around it."""
    if speech_s >= MIN_SPEECH_S:
        return ""
    if level_db < MIN_LEVEL_DB:
        return f"silence: {level_db:.0f} dB re full scale"
    if duration_s < MIN_SPEECH_S:
        return f"{duration_s:.2f} s long, {MIN_SPEECH_S:g} s of speech is the least"
    return f"{speech_s:.2f} s of speech, {MIN_SPEECH_S:g} s is the least" if speech_s else "no speech found"


def check_features(feats: Float32Array, shift_s: float) -> SpeechCheck:
    """Judge features [T, F], one frame every ``shift_s``: too few, or the same from end to end."""
    duration_s = len(feats) * shift_s
    reasons = []
    if float(np.ptp(feats, axis=0).max()) == 0:
        reasons.append("silence: all frames are equal")
    if duration_s < MIN_SPEECH_S:
        reasons.append(f"{duration_s:.2f} s of features, {MIN_SPEECH_S:g} s is the least")
    return SpeechCheck(duration_s, None, None, None, tuple(reasons))


def clipped_share(samples: Float32Array) -> float:
    """Share of ``samples`` [S] in flat tops: three or more in a row within a thousandth of the peak."""
    limit = np.float32(0.999) * np.abs(samples).max()
    if limit == 0:
        return 0.0
    sides = samples >= limit, samples <= -limit
    return sum(_num_in_runs(np.flatnonzero(side), 3) for side in sides) / len(samples)


def _num_in_runs(places: npt.NDArray[np.intp], least: int) -> int:
    """How many of ``places``, ascending, lie in runs of ``least`` or more neighbours."""
    ends = np.concatenate([np.flatnonzero(np.diff(places) > 1), [len(places) - 1]])
    lengths = np.diff(ends, prepend=-1)
    return int(lengths[lengths >= least].sum())


@dataclass(frozen=True)
class _Analysis:
    """Per frame: energy in dB, voicing in 0..1, pitch period in seconds, band energies in dB [T, bands]."""

    energy_db: Float32Array
    voicing: Float32Array
    lag_s: Float32Array
    bands_db: Float32Array


@dataclass(frozen=True)
class _Tables:
    """What the analysis of audio at one sample rate multiplies with.

    Attributes:
        window: [length], over a frame.
        size: of the Fourier transform.
        bands: the first bin of each band, and the one after the last.
        voiced: the bins in which pitch is looked for.
        lags: [voiced bins, 1 + lags], their power to the autocorrelation at 0 and at the lags of
            ``PITCH_HZ``, one more on either side, the window's own divided out.
        first_lag: the first lag that may be a pitch period, in samples.
    """

    window: Float32Array
    size: int
    bands: npt.NDArray[np.intp]
    voiced: slice
    lags: Float32Array
    first_lag: int


@functools.lru_cache(maxsize=16)  # a header may state any rate
def _tables(rate: int) -> _Tables:
    length = round(FRAME_S * rate)
    size = 1 << (3 * length // 2).bit_length()
    window = np.hanning(length)
    hz = np.fft.rfftfreq(size, 1 / rate)
    bands = np.searchsorted(hz, _band_edges_hz(rate))
    low, high = np.searchsorted(hz, (VOICING_BAND_HZ[0], min(VOICING_BAND_HZ[1], rate / 2)))
    first, last = int(rate / PITCH_HZ[1]), int(rate / PITCH_HZ[0])
    lags = np.array([0, *range(first - 1, last + 2)])
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)[lags]
    waves = 2 / size * np.cos(2 * np.pi / size * np.outer(np.arange(low, high), lags)) / (own / own[0])
    return _Tables(window.astype(np.float32), size, bands, slice(low, high), waves.astype(np.float32), first)


def _analyse(waveform: Waveform) -> _Analysis:
    rate, samples = waveform.sample_rate, waveform.samples
    length, shift = round(FRAME_S * rate), round(SHIFT_S * rate)
    padded = np.pad(samples, (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::shift]
    starts = range(0, len(frames), _BLOCK_FRAMES)
    blocks = [_analyse_frames(frames[start : start + _BLOCK_FRAMES], rate) for start in starts]
    energy, voicing, lag, bands = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return _Analysis(energy, voicing, lag, bands)


def _analyse_frames(frames: Float32Array, rate: int) -> tuple[Float32Array, ...]:
    """Energy, voicing, pitch period and band energies of ``frames`` [T, length], in float32 for speed."""
    tables = _tables(rate)
    centred = frames - frames.mean(axis=1, keepdims=True)
    energy = np.einsum("tn,tn->t", centred, centred) / np.float32(frames.shape[1])
    centred *= tables.window
    spectrum = fft.rfft(centred, tables.size)  # scipy's: five times as fast as numpy's
    power = spectrum.real**2 + spectrum.imag**2
    # No product of BLAS, whose threads spin for tens of ms after each one, on the core of another recording.
    voicing, lag = _pitch(np.einsum("tb,bl->tl", power[:, tables.voiced], tables.lags))
    lag_s = ((lag + tables.first_lag) / rate).astype(np.float32)
    bands = np.add.reduceat(power[:, : tables.bands[-1]], tables.bands[:-1], axis=1)
    bands *= np.float32(2 / (frames.shape[1] * tables.size))
    return _decibels(energy), voicing, lag_s, _decibels(bands)


def _decibels(power: Float32Array) -> Float32Array:
    return np.asarray(10 * np.log10(power + _TINY))


def _band_edges_hz(rate: int) -> npt.NDArray[np.float64]:
    """Edges of the bands, [bands + 1], of audio at ``rate`` Hz."""
    return np.geomspace(BANDS_HZ[0], min(BANDS_HZ[1], 0.475 * rate), NUM_BANDS + 1)


def _pitch(correlation: Float32Array) -> tuple[Float32Array, npt.NDArray[np.intp]]:
    """Height of the highest peak of the autocorrelation [T, 1 + lags], and its place among the inner lags.

    Boersma (1993), "Accurate short-term analysis of the fundamental frequency"; an edge of the range of
    periods is no peak, so that rumble below it does not count.
    """
    ratio = correlation[:, 1:] / np.maximum(correlation[:, :1], _TINY)
    inner = ratio[:, 1:-1]
    peaks = np.where((inner >= ratio[:, :-2]) & (inner >= ratio[:, 2:]), inner, 0)
    return np.minimum(peaks.max(axis=1), 1), peaks.argmax(axis=1)


def _speech_s(analysis: _Analysis, level_db: float) -> float:
    """Seconds of speech; 0 where the whole does not behave as a talker does."""
    active = analysis.energy_db > max(level_db - DYNAMIC_RANGE_DB, MIN_LEVEL_DB)
    steady = np.abs(np.diff(np.log(analysis.lag_s))) < MAX_LAG_STEP
    follows = np.concatenate([steady, [False]]) | np.concatenate([[False], steady])
    voiced = _in_runs(active & follows & (analysis.voicing > MIN_VOICING), MIN_VOICED_FRAMES)
    if voiced.sum() < MIN_VOICED_SHARE * active.sum() or not voiced.any():
        return 0.0
    if np.log(analysis.lag_s[voiced]).std() < MIN_LAG_SPREAD:
        return 0.0
    near = np.convolve(voiced, np.ones(2 * REACH_FRAMES + 1))[REACH_FRAMES:-REACH_FRAMES] > 0
    speech = active & near
    shapes = analysis.bands_db[speech]
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    if shapes.std(axis=0).mean() < MIN_SHAPE_SPREAD_DB:
        return 0.0
    return float(speech.sum() * SHIFT_S)


def _in_runs(mask: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """``mask`` without its runs of fewer than ``least``."""
    steps = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    long = ends - starts >= least
    kept = np.zeros(len(mask) + 1, dtype=np.int64)
    np.add.at(kept, starts[long], 1)
    np.add.at(kept, ends[long], -1)
    return kept[:-1].cumsum() > 0
