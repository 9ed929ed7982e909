"""Conditions of a calibration: the ranges of what it was made on, and what is outside of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from speakerlab.data.datadir import DataDir
from speakerlab.embed import speech_check
from speakerlab.embed.speech_check import SpeechCheck, check_features
from speakerlab.hub import conditions
from speakerlab.hub.conditions import Conditions
from speakerlab.io import audio
from speakerlab.types import Waveform

WIDE = Conditions((2.0, 30.0), (-40.0, -10.0), (7000.0, 7000.0))
TELEPHONE = Conditions((2.0, 30.0), (-40.0, -10.0), (3701.5, 3800.0))


def heard(level_db=-20.0, bandwidth_hz=7000.0, speech_s=5.0):
    return SpeechCheck(6.0, speech_s, level_db, 0.0, (), bandwidth_hz)


def resampled(waveform, *rates):
    for rate in rates:
        waveform = audio.resample(waveform, rate)
    return waveform


def test_ranges_leave_out_the_extreme_hundredth():
    checks = [heard(-50.0 + n, 1000.0 * (1 + n % 7), n / 10) for n in range(101)]
    found = Conditions.of(checks)
    assert found.level_db == pytest.approx((-49.0, 49.0))
    assert found.speech_s == pytest.approx((0.1, 9.9))
    assert found.bandwidth_hz == pytest.approx((1000.0, 7000.0))
    alone = Conditions.of([heard()])
    assert alone == Conditions((5.0, 5.0), (-20.0, -20.0), (7000.0, 7000.0))


def test_what_lies_outside_is_told_in_words():
    assert WIDE.outside(heard()) == ()
    assert WIDE.outside(heard(bandwidth_hz=3701.5)) == (
        "its speech reaches 3.7 kHz, the calibration's 7.0 kHz",
    )
    reaches = "its speech reaches 7.0 kHz, the calibration's 3.7 to 3.8 kHz"
    assert TELEPHONE.outside(heard(bandwidth_hz=7000.0)) == (reaches,)
    level = "its level is -65 dB, the calibration's -40 to -10 dB"
    assert WIDE.outside(heard(level_db=-65.0)) == (level,)
    assert TELEPHONE.outside(heard(-65.0)) == (reaches, level)


@pytest.mark.parametrize(("level_db", "is_outside"), [(-60, False), (-60.1, True), (10, False), (10.1, True)])
def test_levels_have_a_margin_of_20_db(level_db, is_outside):
    assert bool(WIDE.outside(heard(level_db=level_db))) is is_outside


@pytest.mark.parametrize(
    ("known_hz", "reach_hz", "is_outside"),
    [(3800, 4577, False), (4577, 3800, False), (3800, 3701, False), (7000, 5661, True), (5661, 7000, True)],
)
def test_bandwidths_have_a_margin_of_less_than_a_band(known_hz, reach_hz, is_outside):
    known = Conditions((1, 2), (-40, -10), (known_hz, known_hz))
    assert bool(known.outside(heard(bandwidth_hz=reach_hz))) is is_outside


def test_neither_much_speech_nor_features_are_outside():
    assert WIDE.outside(heard(speech_s=1000.0)) == ()
    feats = np.random.default_rng(0).standard_normal((150, 8)).astype(np.float32)
    assert WIDE.outside(check_features(feats, 0.01)) == ()


def test_one_conversation_is_inside_at_whatever_rate_it_is_stored(talkers):
    """The same speech to 4 kHz in files of 8 and of 16 kHz; speech to 8 kHz is another matter."""
    narrow = [[resampled(spoken, 8000, rate) for spoken in talkers[0]] for rate in (8000, 16000, 44100)]
    wide = [speech_check.check(resampled(spoken, rate)) for spoken in talkers[0] for rate in (16000, 44100)]
    for group in narrow:
        known = Conditions.of(map(speech_check.check, group))
        for waveform in (waveform for other in narrow for waveform in other):
            assert known.outside(speech_check.check(waveform)) == ()
        for check in wide:
            assert len(known.outside(check)) == 1
            assert len(Conditions.of(wide).outside(speech_check.check(group[0]))) == 1


def test_content_round_trip_is_exact():
    known = Conditions((0.1, 1 / 3), (-40.123456789012345, 0.0), (3701.472, 7000.0))
    assert Conditions.from_content(json.loads(json.dumps(asdict(known)))) == known
    assert Conditions.from_content(asdict(known)) == known


@pytest.mark.parametrize(
    "edit",
    [
        {"level_db": (-10.0, -40.0)},
        {"level_db": (float("nan"), 0.0)},
        {"bandwidth_hz": (0.0, float("inf"))},
        {"bandwidth_hz": (1.0,)},
        {"bandwidth_hz": None},
        {"speech_s": ("a", "b")},
        {"other": (1.0, 2.0)},
    ],
)
def test_what_is_no_range_is_refused(edit):
    with pytest.raises((TypeError, ValueError)):
        Conditions.from_content({**asdict(WIDE), **edit})


def test_features_have_no_conditions():
    with pytest.raises(ValueError, match="is no range"):
        Conditions.of([replace(heard(), level_db=None)])


@pytest.fixture
def data(tmp_path, talkers):
    """A data dir: three sentences of which one is loud, silence, and a file that is not there."""
    for name, (talker, gain) in {"a": (0, 0.1), "b": (1, 0.1), "c": (1, 0.9)}.items():
        samples = talkers[talker][0].samples
        audio.write(tmp_path / f"{name}.wav", Waveform(gain * samples / np.abs(samples).max(), 16000))
    audio.write(tmp_path / "d.wav", Waveform(np.tile(np.float32([1e-4, 0]), 16000), 16000))
    (tmp_path / "wav.scp").write_text("".join(f"{key} {tmp_path}/{key}.wav\n" for key in "abcde"))
    (tmp_path / "utt2spk").write_text("".join(f"{key} {key}\n" for key in "abcde"))
    return DataDir.load(tmp_path)


def test_conditions_of_a_data_dir(data, caplog):
    checks = {key: speech_check.check(audio.read(data.recordings[key])) for key in "abc"}
    assert Conditions.of_data(data, {"a", "b"}) == Conditions.of([checks["a"], checks["b"]])
    assert not caplog.text
    assert Conditions.of_data(data, set("abcd")) == Conditions.of(checks.values())  # silence is no speech
    assert Conditions.of_data(data, set("abcde")) == Conditions.of(checks.values())
    assert f"{data.path}: 1 of 5 recordings cannot be read" in caplog.text
    assert Conditions.of_data(data, {"d"}) is None
    assert Conditions.of_data(data, {"e"}) is None
    assert Conditions.of_data(data, set()) is None


def test_of_many_utterances_some_at_equal_distances_are_heard(data, monkeypatch):
    monkeypatch.setattr(conditions, "MAX_HEARD", 2)
    checks = [speech_check.check(audio.read(data.recordings[key])) for key in "ac"]
    assert Conditions.of_data(data, set("abc")) == Conditions.of(checks)
