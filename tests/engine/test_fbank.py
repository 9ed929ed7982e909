"""make_fbank_feature gives the features of torchaudio.compliance.kaldi, whatever fbank_config.json says."""

import json

import numpy as np
import pytest
import torch
from conftest import ASSETS, RATE, run, voiced

from speakerlab.io.ark import FeatureTable
from speakerlab.torchaudio_import import kaldi

# Kaldi's names in the file, torchaudio's in the call
FRAME = {
    "sample_freq": "sample_frequency",
    "frame_shift_ms": "frame_shift",
    "frame_length_ms": "frame_length",
    "dither": "dither",
    "pre_emphasis_coefficient": "preemphasis_coefficient",
    "remove_dc_offset": "remove_dc_offset",
    "window_type": "window_type",
    "round_to_power_of_two": "round_to_power_of_two",
    "snip_edges": "snip_edges",
    "blackman_coefficient": "blackman_coeff",
}
MEL = {
    "num_bins": "num_mel_bins",
    "low_freq": "low_freq",
    "high_freq": "high_freq",
    "vtln_low": "vtln_low",
    "vtln_high": "vtln_high",
}
TOP = {
    name: name
    for name in ("use_energy", "energy_floor", "raw_energy", "use_log_fbank", "use_power", "vtln_warp")
}
CASES = {
    "as shipped": {},
    "edges mirrored": {"snip_edges": False},
    "hanning": {"window_type": "hanning"},
    "hamming": {"window_type": "hamming"},
    "rectangular": {"window_type": "rectangular"},
    "blackman": {"window_type": "blackman"},
    "another blackman": {"window_type": "blackman", "blackman_coefficient": 0.4},
    "40 bins below Nyquist": {"num_bins": 40, "low_freq": 40, "high_freq": -400},
    "narrow": {"low_freq": 300, "high_freq": 3400, "num_bins": 23},
    "frames of 20 ms": {"frame_length_ms": 20, "frame_shift_ms": 8},
    "no power of two": {"round_to_power_of_two": False},
    "no emphasis": {"pre_emphasis_coefficient": 0.0},
    "offset stays": {"remove_dc_offset": False},
    "magnitude": {"use_power": False},
    "no logarithm": {"use_log_fbank": False},
    "energy": {"use_energy": True, "energy_floor": 1.0},
    "energy of the window": {"use_energy": True, "raw_energy": False},
    "a long vocal tract": {"vtln_warp": 0.9},
    "a short one": {"vtln_warp": 1.1, "vtln_low": 150, "vtln_high": -800},
}


def config_file(path, settings):
    parts = {
        "FrameExtractionOptions": {key: value for key, value in settings.items() if key in FRAME},
        "MelBanksOptions": {key: value for key, value in settings.items() if key in MEL},
        **{key: value for key, value in settings.items() if key in TOP},
    }
    path.write_text(json.dumps(parts))
    return path


def ours(tmp_path, scp, source, config):
    run(
        "make_fbank_feature",
        config,
        scp({"utt": source}),
        tmp_path / "feature.scp",
        tmp_path / "out",
        "--ark",
    )
    return FeatureTable(tmp_path / "feature.scp")["utt"]


def theirs(samples, settings, dtype=np.float64):
    """In single precision torchaudio is off by some 1e-3 in bins that hold little."""
    names = {**FRAME, **MEL, **TOP}
    options = {names[key]: value for key, value in settings.items()}
    # energy_floor is 1 where torchaudio is not told, 0 in the file
    options = {"num_mel_bins": 80, "energy_floor": 0.0, **options}
    return kaldi.fbank(torch.from_numpy(samples.astype(dtype))[None] * 32768, **options).numpy()


def in_16_bits(samples):
    return (np.rint(samples * 32768) / 32768).astype(np.float32)


def centred(feats):
    return feats - feats.mean(axis=0)


@pytest.mark.parametrize("case", CASES)
def test_every_setting(tmp_path, scp, wav, case):
    samples = in_16_bits(voiced(2.3))
    found = ours(tmp_path, scp, wav("a.wav", samples), config_file(tmp_path / "c.json", CASES[case]))
    expected = theirs(samples, CASES[case])
    assert found.shape == expected.shape
    tolerance = 1e-4 * np.abs(expected).max() if case == "no logarithm" else 1e-3
    assert np.abs(centred(found) - centred(expected)).max() < tolerance
    assert np.abs(found - expected).mean() < 0.05 * tolerance


def test_torchaudio_in_single_precision(tmp_path, scp, wav):
    samples = in_16_bits(0.05 * np.random.default_rng(0).standard_normal(5 * RATE))
    found = ours(tmp_path, scp, wav("a.wav", samples), ASSETS / "fbank_config.json")
    assert np.abs(centred(found) - centred(theirs(samples, {}, np.float32))).max() < 1e-3


@pytest.mark.parametrize("level", [0.3, 1e-2, 1e-3])
def test_quiet_audio(tmp_path, scp, wav, level):
    samples = in_16_bits(voiced(10, level=level))
    found = ours(tmp_path, scp, wav("a.wav", samples), ASSETS / "fbank_config.json")
    expected = theirs(samples, {})
    assert np.abs(centred(found) - centred(expected)).max() < 1e-3
    assert np.abs(centred(found) - centred(expected)).mean() < 5e-5
    assert np.abs(found - expected).mean() < 5e-5  # the scale is 32768, not 32767


def test_digital_silence_around_speech(tmp_path, scp, wav):
    samples = np.concatenate([np.zeros(RATE // 2, np.float32), voiced(1), np.zeros(RATE // 2, np.float32)])
    found = ours(tmp_path, scp, wav("a.wav", samples, subtype="FLOAT"), ASSETS / "fbank_config.json")
    assert np.abs(found - theirs(samples, {})).max() < 1e-3
    assert found.min() == pytest.approx(np.log(np.finfo(np.float32).eps), abs=1e-4)


def test_a_scale_of_1_puts_quiet_frames_on_the_floor(tmp_path, scp, wav):
    samples = in_16_bits(voiced(2, level=1e-3))
    config = tmp_path / "c.json"
    config.write_text('{"scale": 1}')
    expected = theirs(samples / 32768, {})
    assert np.abs(ours(tmp_path, scp, wav("a.wav", samples), config) - expected).max() < 1e-3
    assert (expected == expected.min()).mean() > 0.1


def test_the_latest_frames(tmp_path, scp, wav):
    path = wav("a.wav", voiced(1))
    whole = ours(tmp_path, scp, path, ASSETS / "fbank_config.json")
    config = tmp_path / "c.json"
    config.write_text('{"FrameExtractionOptions": {"max_feature_vectors": 30}}')
    assert np.array_equal(ours(tmp_path, scp, path, config), whole[-30:])


def test_dither_is_noise_of_the_16_bit_range_and_the_same_each_time(tmp_path, scp, wav):
    path = wav("a.wav", voiced(1))
    plain = ours(tmp_path, scp, path, ASSETS / "fbank_config.json")
    config = config_file(tmp_path / "c.json", {"dither": 1.0})
    first, again = (ours(tmp_path, scp, path, config) for _ in range(2))
    assert np.array_equal(first, again)
    assert 1e-3 < np.abs(first - plain).mean() < 0.5


def test_text_has_fixed_decimals(tmp_path, scp, wav):
    path = wav("a.wav", voiced(0.5))
    scp_out, folder = tmp_path / "feature.scp", tmp_path / "new" / "folder"
    run("make_fbank_feature", ASSETS / "fbank_config.json", scp({"utt": path}), scp_out, folder)
    assert scp_out.read_text() == f"utt {folder}/utt.feature\n"
    lines = (folder / "utt.feature").read_text().splitlines()
    assert len(lines) == 48
    assert all(line.endswith(" ") and len(line.split()) == 80 for line in lines)
    assert all(len(number.partition(".")[2]) == 6 for number in lines[0].split())
    expected = ours(tmp_path, scp, path, ASSETS / "fbank_config.json")
    assert np.loadtxt(lines) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"FrameExtractionOptions": 3}', "FrameExtractionOptions: is no JSON object"),
        ('{"MelBanksOptions": {"num_bin": 80}}', "unknown field 'num_bin'"),
        ('{"use_power": 1}', "'use_power' is 1"),
        ('{"use_power": ' + "[" * 400_000 + "]" * 400_000 + "}", "is nested too deep"),
        ('{"use_power": [1]}', "'use_power' is a list"),
        ('{"MelBanksOptions": {"high_freq": 9000}}', "low_freq and high_freq must rise"),
        ('{"MelBanksOptions": {"num_bins": 1e300}}', "'num_bins' is 1e+300"),
        ('{"FrameExtractionOptions": {"window_type": "kaiser"}}', "window_type must be"),
        ('{"FrameExtractionOptions": {"frame_shift_ms": 0}}', "frame_shift_ms must be"),
        ('{"FrameExtractionOptions": {"dither": -1}}', "dither must be"),
    ],
)
def test_a_bad_configuration_is_one_line(tmp_path, scp, wav, text, why):
    config = tmp_path / "c.json"
    config.write_text(text)
    arguments = (config, scp({"utt": wav("a.wav", voiced(1))}), tmp_path / "o.scp", tmp_path / "out")
    said = run("make_fbank_feature", *arguments, check=1).stderr
    assert said.startswith(str(config))
    assert why in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("window", ["sine", "hanning"])
def test_the_window_is_a_factor(tmp_path, scp, wav, window):
    """Of one frame: the window is the sine or its square, over 399 steps."""
    samples = voiced(0.025)
    assert len(samples) == 400
    sine = np.sin(np.pi * np.arange(400) / 399)
    factor = sine if window == "sine" else sine**2
    plain = {"pre_emphasis_coefficient": 0.0, "remove_dc_offset": False}
    config = config_file(tmp_path / "c.json", {**plain, "window_type": window})
    found = ours(tmp_path, scp, wav("a.wav", samples, subtype="FLOAT"), config)
    weighted = wav("b.wav", (samples * factor).astype(np.float32), subtype="FLOAT")
    config = config_file(tmp_path / "c.json", {**plain, "window_type": "rectangular"})
    assert np.abs(found - ours(tmp_path, scp, weighted, config)).max() < 1e-3


def test_a_missing_configuration_is_one_line(tmp_path, scp):
    arguments = (tmp_path / "none.json", scp({"utt": "a.wav"}), tmp_path / "o.scp", tmp_path / "out")
    assert run("make_fbank_feature", *arguments, check=1).stderr == f"{tmp_path}/none.json: no such file\n"
