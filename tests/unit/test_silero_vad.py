"""Silero VAD: our rules against the package's own, on random probabilities and on synthetic speech."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import silero_vad
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.frontend.fbank import Fbank, FbankConfig
from speakerlab.frontend.framing import FrameGrid
from speakerlab.frontend.mel_spectrogram import MelSpectrogram, MelSpectrogramConfig
from speakerlab.frontend.silero_vad import SileroConfig, SileroVad, speech_segments

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "local"))
import synthesis  # noqa: E402
from voices import draw_voices  # noqa: E402

RATE = 16000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Two sentences of two voices in a quiet room, pauses before, between and behind; not whole chunks."""
    first, second = draw_voices(2, np.random.default_rng(3))
    with synthesis.synthesizer() as synthesizer:
        said = [
            synthesizer.say("The quiet farmer carried a silver lantern across the bridge.", first),
            synthesizer.say("Every curious pilot remembered their frozen garden.", second),
        ]
    pause = np.zeros(RATE)
    samples = np.concatenate([pause, said[0], pause, said[1], pause, pause[:123]])
    return (samples + 1e-3 * np.random.default_rng(0).standard_normal(len(samples))).astype(np.float32)


def theirs(probabilities: list[float], num_samples: int, rate: int, c: SileroConfig) -> list[tuple[int, int]]:
    found = silero_vad.get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=rate,
        threshold=c.threshold,
        neg_threshold=c.neg_threshold,
        min_speech_duration_ms=1000 * c.min_speech_s,
        min_silence_duration_ms=1000 * c.min_silence_s,
        speech_pad_ms=1000 * c.pad_s,
        audio_length_samples=num_samples,
    )
    return [(segment["start"], segment["end"]) for segment in found]


@settings(max_examples=150, deadline=None)
@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.3, 0.35, 0.4, 0.5, 0.9]), min_size=1, max_size=80),
    missing=st.integers(0, 255),
    rate=st.sampled_from([8000, 16000]),
    config=st.builds(
        SileroConfig,
        min_speech_s=st.sampled_from([0.0, 0.064, 0.25]),
        min_silence_s=st.sampled_from([0.0, 0.064, 0.1]),
        pad_s=st.sampled_from([0.0, 0.03, 0.2]),
    ),
)
def test_rules_agree_with_the_package(
    probabilities: list[float], missing: int, rate: int, config: SileroConfig
) -> None:
    num_samples = len(probabilities) * (512 if rate == 16000 else 256) - missing
    ours = speech_segments(probabilities, num_samples, rate, config)
    assert ours == theirs(probabilities, num_samples, rate, config)


def test_known_case() -> None:
    # Chunks of 32 ms: 10 of speech, a dip that is no pause, a pause of 6, and 3 of speech, too few.
    probabilities = (
        [0.1, 0.1] + [0.9] * 10 + [0.2] * 2 + [0.4] + [0.9] * 5 + [0.3] * 6 + [0.9] * 3 + [0.1] * 9
    )
    segments = speech_segments(probabilities, 512 * len(probabilities), RATE, SileroConfig())
    assert segments == [(2 * 512 - 480, 20 * 512 + 480)]


@pytest.mark.parametrize("rate", [8000, 16000])
def test_whole_chain_agrees_with_the_package(speech: np.ndarray, rate: int) -> None:
    samples = speech if rate == RATE else resample_poly(speech, 1, 2).astype(np.float32)
    vad = SileroVad(SileroConfig(), rate)
    model = silero_vad.load_silero_vad(onnx=True)
    expected = model.audio_forward(torch.from_numpy(samples), rate)[0]
    np.testing.assert_allclose(vad.probabilities(samples), expected, atol=1e-6)
    found = silero_vad.get_speech_timestamps(torch.from_numpy(samples), model, sampling_rate=rate)
    segments = vad.segments(samples)
    assert segments == [(segment["start"], segment["end"]) for segment in found]
    assert len(segments) >= 2
    assert vad.segments(samples) == segments  # nothing is left over from the first time


def test_speech_is_found_and_noise_is_not(speech: np.ndarray) -> None:
    vad = SileroVad(SileroConfig(), RATE)
    seconds = np.array(vad.segments(speech)) / RATE
    assert 0.8 < seconds[0, 0] < 1.4
    assert len(speech) / RATE - 1.4 < seconds[-1, 1] < len(speech) / RATE - 0.6
    loud_noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    assert vad.segments(loud_noise) == []
    assert not vad.decisions(torch.from_numpy(loud_noise), FbankConfig().grid).any()


@pytest.mark.parametrize(
    "front",
    [
        Fbank(FbankConfig()),
        Fbank(FbankConfig(snip_edges=False, frame_shift_ms=12.5)),
        MelSpectrogram(MelSpectrogramConfig()),
        MelSpectrogram(MelSpectrogramConfig(edges="zeros")),
    ],
    ids=["fbank", "edges", "reflect", "zeros"],
)
def test_decisions_follow_the_segments_frame_by_frame(speech: np.ndarray, front: Fbank) -> None:
    vad = SileroVad(SileroConfig(), RATE)
    decisions = vad.decisions(torch.from_numpy(speech), front.grid)
    assert decisions.dtype == torch.float32
    assert len(decisions) == front.num_frames(len(speech)) == len(front(torch.from_numpy(speech)))
    assert set(decisions.tolist()) == {0.0, 1.0}
    centres = np.arange(len(decisions)) * front.grid.shift + front.grid.length / 2 - front.grid.left
    distance = np.max([np.minimum(centres - a, b - centres) for a, b in vad.segments(speech)], axis=0)
    clear = np.abs(distance) > 1  # a centre on the border of a segment may fall to either side
    np.testing.assert_array_equal(decisions.numpy()[clear], (distance > 0)[clear])


def test_half_of_a_frame_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SileroVad, "segments", lambda *_: [(0, 150), (250, 500), (601, 700)])
    decisions = SileroVad(SileroConfig(), RATE).decisions(torch.zeros(800), FrameGrid(100, 100))
    assert decisions.tolist() == [1, 1, 1, 1, 1, 0, 1, 0]


def test_audio_shorter_than_a_chunk() -> None:
    vad = SileroVad(SileroConfig(), RATE)
    assert len(vad.probabilities(np.zeros(400, np.float32))) == 1
    assert vad.decisions(torch.zeros(400), FbankConfig().grid).tolist() == [0]


def test_the_package_is_not_imported() -> None:
    code = (
        "import sys, torch\nfrom speakerlab.frontend.silero_vad import SileroConfig, SileroVad\n"
        "torch.set_num_threads(2)\nSileroVad(SileroConfig(), 16000)\n"
        "print('silero_vad' in sys.modules, torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "False 2\n", done.stderr


@pytest.mark.parametrize("package", ["silero_vad", "onnxruntime"])
def test_a_missing_package_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"requirements/vad\.txt"):
        SileroVad(SileroConfig(), RATE)


def test_other_sample_rates_are_refused() -> None:
    with pytest.raises(SpeakerLabError, match="8000 or 16000 Hz, not 44100"):
        SileroVad(SileroConfig(), 44100)


def test_defaults_are_the_package_s() -> None:
    assert SileroConfig() == SileroConfig(0.5, 0.35, 0.25, 0.1, 0.03)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"neg_threshold": 0.6}, "neg_threshold"),
        ({"min_speech_s": -1.0}, "min_speech_s"),
        ({"pad_s": -0.1}, "pad_s"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SileroConfig(**changes)
