"""compute_fbank and compute_vad: what they store, resumption, stale settings, bad audio, bad settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from kaldiio import load_scp_sequential

from speakerlab.bin import compute_fbank, compute_vad, merge_parts
from speakerlab.errors import ConfigError, DataError, SpeakerLabError
from speakerlab.frontend.fbank import Fbank, FbankConfig
from speakerlab.frontend.mel_spectrogram import MelSpectrogram, MelSpectrogramConfig
from speakerlab.frontend.vad import VadConfig
from speakerlab.frontend.vad import compute_vad as vad_of

SETTINGS = "frontend: {name: fbank, num_mels: 20}\nmodel: {name: tdnn}\ntrain: {epochs: 30}\n"


def samples_of(index: int) -> np.ndarray:
    """Half a second of pause, then half a second of noise, as 16-bit audio gives it back."""
    wave = np.random.default_rng(index).standard_normal(16000 + 160 * index)
    wave[:8000] *= 1e-4
    return (np.round(wave * 3000) / 32768).astype(np.float32)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for index in range(6):
        soundfile.write(folder / f"u{index}.wav", samples_of(index), 16000, subtype="PCM_16")
    lines = [f"u{index} {folder}/u{index}.wav\n" for index in range(6)]
    (folder / "wav.scp").write_text("".join(lines))
    (tmp_path / "config.yaml").write_text(SETTINGS)
    return folder


def work(command: ModuleType, data_dir: Path, extra: Sequence[str] = (), num_jobs: int = 1) -> Path:
    """Run every job of ``command``; the output folder."""
    out_dir = data_dir.parent / "out"
    words = ["--config", str(data_dir.parent / "config.yaml"), *extra, str(data_dir), str(out_dir)]
    for job in range(1, num_jobs + 1):
        jobs = ["--job", str(job), "--num-jobs", str(num_jobs)]
        command.main(command.options().parse_args([*words, *jobs]))
    return out_dir


def merge(name: str, data_dir: Path, max_fail_rate: float = 0.0) -> dict[str, np.ndarray]:
    """Publish the parts and read them with kaldiio."""
    out_dir = data_dir.parent / "out"
    words = [
        "--name",
        name,
        "--keys-from",
        str(data_dir),
        "--max-fail-rate",
        str(max_fail_rate),
        str(out_dir),
    ]
    merge_parts.main(merge_parts.options().parse_args(words))
    return dict(load_scp_sequential(str(out_dir / f"{name}.scp")))


def test_features_are_the_front_end_s_without_normalisation(data_dir: Path) -> None:
    work(compute_fbank, data_dir)
    feats = merge("feats", data_dir)
    assert list(feats) == [f"u{index}" for index in range(6)]
    front = Fbank(FbankConfig(num_mels=20))
    for index, (_, stored) in enumerate(feats.items()):
        np.testing.assert_array_equal(stored, front(torch.from_numpy(samples_of(index))).numpy())


def test_decisions_agree_with_the_features_in_length(data_dir: Path) -> None:
    work(compute_vad, data_dir)
    voiced = merge("vad", data_dir)
    front = Fbank(FbankConfig(num_mels=20))
    for index, (_, stored) in enumerate(voiced.items()):
        samples = samples_of(index)
        assert stored.shape == (front.num_frames(len(samples)),)
        expected = vad_of(torch.from_numpy(samples), FbankConfig().grid, VadConfig()).numpy()
        np.testing.assert_array_equal(stored, expected)
        assert not stored[:40].any()
        assert stored[55:].all()


def test_vad_options_reach_the_rule(data_dir: Path) -> None:
    options = ["--energy-threshold", "100", "--energy-mean-scale", "0"]
    work(compute_vad, data_dir, options)
    assert not any(decisions.any() for decisions in merge("vad", data_dir).values())


def test_silero_marks_the_frames_of_the_front_end(data_dir: Path) -> None:
    changed = SETTINGS.replace("name: fbank, num_mels: 20", "name: mel_spectrogram, num_mels: 20")
    (data_dir.parent / "config.yaml").write_text(changed)
    work(compute_vad, data_dir, ["--vad", "silero"])
    front = MelSpectrogram(MelSpectrogramConfig(num_mels=20))
    for index, (_, stored) in enumerate(merge("vad", data_dir).items()):
        assert stored.shape == (front.num_frames(len(samples_of(index))),)
        assert not stored.any()  # noise is no speech to it, as loud as it may be


def test_silero_options_reach_the_rule(data_dir: Path) -> None:
    options = ["--vad", "silero", "--threshold", "0", "--neg-threshold", "0"]
    work(compute_vad, data_dir, options)
    assert all(decisions.all() for decisions in merge("vad", data_dir).values())
    with pytest.raises(ConfigError, match="options: threshold, neg_threshold: must lie in 0..1"):
        work(compute_vad, data_dir, ["--vad", "silero", "--threshold", "2"])
    with pytest.raises(DataError, match=r"vad \(was silero, is energy\)"):
        work(compute_vad, data_dir)


@pytest.mark.parametrize(("command", "name"), [(compute_fbank, "feats"), (compute_vad, "vad")])
def test_jobs_give_what_one_gives(data_dir: Path, command: ModuleType, name: str) -> None:
    work(command, data_dir)
    one = merge(name, data_dir)
    for part in (data_dir.parent / "out" / "parts").iterdir():
        part.unlink()
    work(command, data_dir, num_jobs=4)
    four = merge(name, data_dir)
    assert list(one) == list(four)
    for utt_id, array in one.items():
        np.testing.assert_array_equal(array, four[utt_id])


def test_segments_are_cut(data_dir: Path) -> None:
    (data_dir / "segments").write_text("a u0 0.5 1.0\nb u0 0.0 0.25\n")
    work(compute_fbank, data_dir)
    feats = merge("feats", data_dir)
    front = Fbank(FbankConfig(num_mels=20))
    np.testing.assert_array_equal(feats["a"], front(torch.from_numpy(samples_of(0)[8000:16000])).numpy())
    assert feats["b"].shape == (front.num_frames(4000), 20)


def test_other_rates_are_resampled_to_the_front_end_s(data_dir: Path) -> None:
    soundfile.write(data_dir / "u0.wav", samples_of(0), 8000)
    work(compute_fbank, data_dir)
    assert merge("feats", data_dir)["u0"].shape == (Fbank(FbankConfig()).num_frames(32000), 20)


def test_bad_audio_is_a_failure_of_its_utterance_only(data_dir: Path) -> None:
    (data_dir / "u1.wav").write_bytes(b"")
    soundfile.write(data_dir / "u3.wav", np.full(300, 0.1), 16000)
    out_dir = work(compute_fbank, data_dir)
    with pytest.raises(DataError, match="2 of 6 failed"):
        merge("feats", data_dir)
    failures = dict(line.split("\t") for line in (out_dir / "failures.tsv").read_text().splitlines())
    assert "empty" in failures["u1"]
    assert "too short" in failures["u3"]
    assert list(merge("feats", data_dir, max_fail_rate=0.5)) == ["u0", "u2", "u4", "u5"]


def test_audio_shorter_than_one_long_frame_is_a_failure(data_dir: Path) -> None:
    (data_dir.parent / "config.yaml").write_text(SETTINGS.replace("20}", "20, frame_length_ms: 50}"))
    soundfile.write(data_dir / "u3.wav", np.sin(np.arange(700)), 16000)
    out_dir = work(compute_fbank, data_dir)
    with pytest.raises(DataError, match="u3: 700 samples are shorter than one frame"):
        merge("feats", data_dir)
    assert (out_dir / "failures.tsv").read_text().startswith("u3\t")


def test_only_what_is_missing_is_done_again(data_dir: Path) -> None:
    out_dir = work(compute_fbank, data_dir)
    parts = sorted((out_dir / "parts").glob("*.scp"))
    parts[2].unlink()
    before = {part: part.stat().st_mtime_ns for part in parts if part.exists()}
    work(compute_fbank, data_dir)
    assert len(merge("feats", data_dir)) == 6
    assert all(part.stat().st_mtime_ns == time for part, time in before.items())


def test_parts_of_other_settings_or_data_are_refused(data_dir: Path) -> None:
    work(compute_fbank, data_dir)
    (data_dir.parent / "config.yaml").write_text(SETTINGS.replace("20}", "30}"))
    with pytest.raises(DataError, match=r"frontend.num_mels \(was 20, is 30\)"):
        work(compute_fbank, data_dir)
    (data_dir.parent / "config.yaml").write_text(SETTINGS.replace("epochs: 30", "epochs: 99"))
    work(compute_fbank, data_dir)  # training settings do not matter to features
    (data_dir / "segments").write_text("".join(f"u{index} u{index} 0 0.5\n" for index in range(6)))
    with pytest.raises(DataError, match="segments"):
        work(compute_fbank, data_dir)


def test_vad_depends_on_the_framing_but_not_on_the_filters(data_dir: Path) -> None:
    work(compute_vad, data_dir)
    (data_dir.parent / "config.yaml").write_text(SETTINGS.replace("20}", "30}"))
    work(compute_vad, data_dir)
    with pytest.raises(DataError, match=r"vad.frames_context \(was 2, is 3\)"):
        work(compute_vad, data_dir, ["--frames-context", "3"])


@pytest.mark.parametrize("command", [compute_fbank, compute_vad])
def test_wrong_settings_name_the_key(data_dir: Path, command: ModuleType) -> None:
    (data_dir.parent / "config.yaml").write_text(SETTINGS.replace("num_mels", "num_mel"))
    with pytest.raises(ConfigError, match="frontend.num_mel: unknown key; did you mean 'num_mels'"):
        work(command, data_dir)


def test_wrong_vad_options_name_the_option(data_dir: Path) -> None:
    with pytest.raises(ConfigError, match="options: proportion_threshold: must lie between 0 and 1"):
        work(compute_vad, data_dir, ["--proportion-threshold", "2"])


def test_samples_are_no_frames_to_mark(data_dir: Path) -> None:
    (data_dir.parent / "config.yaml").write_text("frontend: {name: waveform}\n")
    with pytest.raises(SpeakerLabError, match="samples, not frames"):
        work(compute_vad, data_dir)


def test_command_line_says_one_line_and_exits_1(data_dir: Path) -> None:
    words = ["--config", str(data_dir.parent / "config.yaml"), str(data_dir / "nowhere"), str(data_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "speakerlab.bin.compute_vad", *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no such data dir" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
