"""Every kind of audio is read right, and every kind of damage is named; files are made byte by byte."""

import io
import logging
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import scipy.signal
import soundfile

from speakerlab.errors import AudioError
from speakerlab.io import audio
from speakerlab.types import RecId, Recording, Segment, UttId, Waveform

RATE = 16000
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


def tone(seconds=1.0, rate=RATE, frequency_hz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate)) / rate)


def wav(data, *, bits=16, channels=1, tag=1, rate=RATE, length=None, riff=None, extensible=False, extra=b""):
    """A WAV file written by hand: ``length`` and ``riff`` override what the header states."""
    block = bits // 8 * channels
    fmt = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block, block, bits)
    if extensible:
        fmt += struct.pack("<HHI", 22, bits, 0) + PCM_GUID
    length = len(data) if length is None else length
    body = b"fmt " + struct.pack("<I", len(fmt)) + fmt + extra + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", len(body) + 4 if riff is None else riff) + b"WAVE" + body


def pcm16(samples):
    return np.rint(np.asarray(samples) * 32767).astype("<i2").tobytes()


def recording(source, channel=None):
    return Recording(RecId("rec1"), str(source), channel, is_pipe=str(source).endswith("|"))


@pytest.fixture
def file(tmp_path):
    """Writes bytes to a file and gives its recording."""

    def make(data, name="a.wav", channel=None):
        (tmp_path / name).write_bytes(data)
        return recording(tmp_path / name, channel)

    return make


def test_pcm_depths_and_float_decode_to_the_same_samples(file):
    x = tone(0.1)
    coded = {
        "u8": (wav((np.rint(x * 127) + 128).astype("u1").tobytes(), bits=8), 1 / 127),
        "s16": (wav((x * 2**15).astype("<i2").tobytes()), 2**-15),
        "s24": (wav((x * 2**31).astype("<i4").view("u1").reshape(-1, 4)[:, 1:].tobytes(), bits=24), 2**-23),
        "s32": (wav((x * 2**31).astype("<i4").tobytes(), bits=32), 1e-7),
        "f32": (wav(x.astype("<f4").tobytes(), bits=32, tag=3), 1e-7),
        "f64": (wav(x.astype("<f8").tobytes(), bits=64, tag=3), 1e-7),
        "extensible": (wav((x * 2**15).astype("<i2").tobytes(), extensible=True), 2**-15),
        "list chunk": (wav((x * 2**15).astype("<i2").tobytes(), extra=b"LIST\x03\0\0\0abc\0"), 2**-15),
    }
    for name, (data, step) in coded.items():
        wave = audio.read(file(data))
        assert wave.sample_rate == RATE
        assert wave.samples.dtype == np.float32
        assert len(wave.samples) == 1600, name
        assert np.abs(wave.samples - x).max() < 1.1 * step + 0.005 * (name == "u8"), name


def test_agrees_with_scipy_to_the_last_bit(file):
    source = file(wav(pcm16(np.random.default_rng(0).uniform(-1, 1, 4000))))
    _, peer = scipy.io.wavfile.read(source.source)
    np.testing.assert_array_equal(audio.read(source).samples, peer.astype(np.float32) / 32768)


@pytest.mark.parametrize(
    ("name", "kind", "codec", "likeness"),
    [
        ("a.flac", "FLAC", "PCM_16", 0.99999),
        ("a.ogg", "OGG", "VORBIS", 0.99),
        ("a.opus", "OGG", "OPUS", 0.99),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 0.99),
    ],
)
def test_compressed_formats_and_segments_of_them(tmp_path, name, kind, codec, likeness):
    x = scipy.signal.chirp(np.arange(2 * RATE) / RATE, 100, 2, 3000) * 0.5
    soundfile.write(tmp_path / name, x, RATE, format=kind, subtype=codec)
    whole = audio.read(recording(tmp_path / name)).samples
    assert len(whole) == len(x)
    assert np.corrcoef(whole, x)[0, 1] > likeness
    segment = audio.read(recording(tmp_path / name), Segment(UttId("u"), RecId("rec1"), 0.7, 1.1)).samples
    # Opus restarts its prediction 80 ms before the place sought (RFC 7845): near, not equal
    np.testing.assert_allclose(segment, whole[11200:17600], atol=3e-3 if codec == "OPUS" else 1e-6)


def test_segment_seconds_become_the_nearest_frames(file):
    x = np.arange(1, 32001) / 32768
    source = file(wav((x * 32768).astype("<i2").tobytes()))
    # 0.29 * 16000 is 4639.999... in binary
    got = audio.read(source, Segment(UttId("u"), RecId("rec1"), 0.29, 1.13)).samples
    np.testing.assert_array_equal(got * 32768, np.arange(4641, 18081))


def test_segment_ends_are_judged_as_in_kaldi(file):
    source = file(wav(pcm16(tone(1.0))))

    def read(start_s, end_s):
        return len(audio.read(source, Segment(UttId("utt9"), RecId("rec1"), start_s, end_s)).samples)

    assert read(0.5, None) == 8000
    assert read(0.5, 1.5) == 8000
    with pytest.raises(AudioError, match=r"^utt9: .*a\.wav: the segment ends at 1\.51 s, beyond .* 1\.000 s"):
        read(0.5, 1.51)
    with pytest.raises(AudioError, match=r"starts at 1\.0 s, outside"):
        read(1.0, 1.2)
    with pytest.raises(AudioError, match=r"0\.0 ms is too short"):
        read(0.5, 0.4)


def test_a_segment_costs_no_more_in_a_long_recording(file):
    length = 2 * 3600 * RATE
    source = file(wav(b""))
    with Path(source.source).open("wb") as stream:  # sparse: hours of silence around one word
        stream.write(wav(b"", length=2 * length, riff=2 * length + 36))
        stream.truncate(44 + 2 * length)
        stream.seek(44 + 2 * (3600 * RATE))
        stream.write(pcm16(tone(1.0)))
    start = time.perf_counter()
    wave = audio.read(source, Segment(UttId("u"), RecId("rec1"), 3600.0, 3601.0))
    assert time.perf_counter() - start < 0.1
    np.testing.assert_allclose(wave.samples, tone(1.0), atol=1e-4)
    assert audio.duration_s(source) == 7200.0


def test_channels(file):
    data = wav(pcm16(np.stack([tone(0.1), tone(0.1, frequency_hz=900)], axis=1)), channels=2)
    np.testing.assert_allclose(
        audio.read(file(data, channel=1)).samples, tone(0.1, frequency_hz=900), atol=1e-4
    )
    np.testing.assert_allclose(audio.read(file(data, channel=0)).samples, tone(0.1), atol=1e-4)
    with pytest.raises(AudioError, match="has 2 channels; choose one: sox FILE"):
        audio.read(file(data))
    with pytest.raises(AudioError, match="has no channel 2; it has 2, counted from 0"):
        audio.read(file(data, channel=2))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_is_said_once(file, caplog, rate):
    audio._say_resampled.cache_clear()
    caplog.set_level(logging.INFO)
    source = file(wav(pcm16(tone(1.0, rate)), rate=rate))
    wave = audio.read(source, sample_rate=RATE)
    audio.read(source, sample_rate=RATE)
    assert wave.sample_rate == RATE
    assert wave.samples.dtype == np.float32
    assert len(wave.samples) == RATE
    assert np.abs(wave.samples - tone(1.0))[400:-400].max() < 2e-3
    assert caplog.messages == [f"audio at {rate} Hz is resampled to 16000 Hz"]


def test_resampling_removes_what_the_new_rate_cannot_hold(file):
    source = file(wav(pcm16(tone(1.0, 48000, 11000)), rate=48000))
    assert np.abs(audio.read(source, sample_rate=RATE).samples[400:-400]).max() < 1e-3


def test_pipes_run_in_the_shell(file):
    source = file(wav(pcm16(tone(0.5))), "with space.wav")
    wave = audio.read(recording(f"cat '{source.source}' | cat |"))
    np.testing.assert_allclose(wave.samples, tone(0.5), atol=1e-4)
    assert audio.duration_s(recording(f"cat '{source.source}' |")) == 0.5


def test_the_command_of_a_pipe_runs_once_for_its_segments(file, tmp_path):
    source = file(wav(pcm16(tone(1.0))))
    piped = recording(f"echo x >> '{tmp_path}/runs'; cat '{source.source}' |")
    for start_s in (0.0, 0.2, 0.4):
        audio.read(piped, Segment(UttId("u"), RecId("rec1"), start_s, start_s + 0.2))
    assert (tmp_path / "runs").read_text() == "x\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo first >&2; echo 'no such option' >&2; exit 3", "the command exits 3: no such option"),
        ("true", "the command writes nothing"),
        ("cat /does/not/exist", "the command exits 1: cat: /does/not/exist: No such file"),
        ("echo not audio at all, only text", "damaged or not audio"),
        ("kill -9 $$", "the command exits -9"),
    ],
)
def test_failing_commands_are_named(command, message):
    with pytest.raises(AudioError, match=f"^rec1: .*{message}"):
        audio.read(recording(command + " |"))


def test_a_command_does_not_read_our_standard_input():
    code = (
        "from speakerlab.io import audio; from speakerlab.types import Recording\n"
        "audio.read(Recording('rec1', 'cat |', is_pipe=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=DATA, capture_output=True, check=False)
    assert b"rec1: cat |: the command writes nothing" in done.stderr


def test_a_reader_that_closes_early_does_not_hang(file):
    source = file(wav(pcm16(tone(60.0))))
    start = time.monotonic()
    with pytest.raises(AudioError, match="truncated"):
        audio.read(recording(f"cat '{source.source}' | head -c 100000 |"))
    with pytest.raises(AudioError, match="writes nothing"):
        audio.read(recording("yes | head -c 10000000 >&2 |"))
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("stated", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [0, 36, 0x7FFFF024, 0xFFFFFFFF])
def test_wav_from_a_pipe_states_no_length_and_is_read_to_its_end(file, stated, riff):
    wave = audio.read(file(wav(pcm16(tone(0.3)), length=stated, riff=riff)))
    np.testing.assert_allclose(wave.samples, tone(0.3), atol=1e-4)


DATA = wav(pcm16(tone(1.0)))
NOISE = np.random.default_rng(1).normal(0, 0.1, 3 * RATE)


def encoded(kind, codec):
    stream = io.BytesIO()
    soundfile.write(stream, NOISE, RATE, format=kind, subtype=codec)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (DATA[:20000], "truncated: 12044 of the 32044 bytes"),
        (DATA[:-2], "truncated: 2 of the 32044 bytes"),
        (DATA[:44], "truncated: 32000 of the 32044 bytes"),
        (DATA[:40], "truncated: the WAV file ends before its samples"),
        (DATA[:11], "damaged or not audio"),
        (wav(b""), "holds no samples"),
        (wav(b"", length=0, riff=0), "holds no samples"),
        (wav(b"", length=0, extra=b"LIST\4\0\0\0abcd"), "holds no samples"),
        (b"this is a text file\n" * 100, "damaged or not audio"),
        (b"\0" * 5000, "damaged or not audio"),
        (wav(pcm16(np.zeros(RATE))), "silent"),
        (wav((np.ones(RATE) * 5e-7).astype("<f4").tobytes(), bits=32, tag=3), "silent"),
        (wav(np.array([0.1] * 999 + [np.nan], "<f4").tobytes(), bits=32, tag=3), "NaN or Inf"),
        (wav(np.array([0.1] * 999 + [-np.inf], "<f4").tobytes(), bits=32, tag=3), "NaN or Inf"),
        (wav((tone() * 32768).astype("<f4").tobytes(), bits=32, tag=3), "samples reach 16384 where full"),
        (wav(pcm16(tone(0.02))), r"20\.0 ms is too short; 25 ms is the least"),
        (encoded("FLAC", "PCM_16")[:-300], "truncated or damaged"),
        (encoded("FLAC", "PCM_16")[:20000], "truncated or damaged"),
        (encoded("FLAC", "PCM_16")[:30], "damaged or not audio"),
        (encoded("OGG", "VORBIS")[:-300], "truncated: the last Ogg page"),
        (encoded("OGG", "VORBIS")[:5000], "truncated: the last Ogg page"),
        (encoded("OGG", "OPUS")[:-1], "truncated: the last Ogg page"),
        (encoded("OGG", "OPUS")[:20], "truncated: the last Ogg page"),
        (encoded("MP3", "MPEG_LAYER_III")[:8000], "truncated: [0-9]+ of 48000 frames are missing"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_damage_is_named(file, data, message):
    source = file(data, "bad.file")
    with pytest.raises(AudioError, match=rf"^rec1: .*bad\.file: {message}") as caught:
        audio.read(source)
    assert caught.value.name == "rec1"
    assert "\n" not in str(caught.value)
    with pytest.raises(AudioError, match=f"^upload: data: {message}"):
        audio.decode("upload", data)


def test_a_file_just_long_and_loud_enough_is_read(file):
    assert len(audio.read(file(wav(pcm16(tone(0.025))))).samples) == 400
    assert audio.read(file(wav(np.full(800, 2e-6, "<f4").tobytes(), bits=32, tag=3))).samples[0] > 0


def test_overshoot_is_clipped(file):
    wave = audio.read(file(wav((tone() * 2.4).astype("<f4").tobytes(), bits=32, tag=3)))
    assert np.abs(wave.samples).max() == 1.0


def test_wrong_paths_are_named(tmp_path):
    with pytest.raises(AudioError, match=r"^rec1: .*gone\.wav: no such file"):
        audio.read(recording(tmp_path / "gone.wav"))
    with pytest.raises(AudioError, match=r"^rec1: .*: cannot be read: Is a directory"):
        audio.read(recording(tmp_path))
    (tmp_path / "a.raw").write_bytes(pcm16(tone()))
    with pytest.raises(AudioError, match="headerless audio"):
        audio.read(recording(tmp_path / "a.raw"))


def test_flac_without_a_length_is_refused_not_cut(file):
    data = bytearray(encoded("FLAC", "PCM_16"))
    info = int.from_bytes(data[18:26], "big")  # rate, channels, bits and 36 bits of sample count
    data[18:26] = (info >> 36 << 36).to_bytes(8, "big")
    with pytest.raises(AudioError, match="the FLAC header states no length"):
        audio.read(file(bytes(data)))


def test_mp3_longer_than_its_first_frame_suggests_is_refused_not_cut(file):
    loud_at_last = np.concatenate([np.zeros(20 * RATE), np.random.default_rng(0).normal(0, 0.2, 20 * RATE)])
    stream = io.BytesIO()
    soundfile.write(
        stream, loud_at_last[::-1], RATE, format="MP3", subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE", compression_level=0.5,
    )  # fmt: skip
    data = stream.getvalue()
    assert len(audio.decode("x", data).samples) == 40 * RATE
    first = data.index(b"Xing")
    without_xing = data[data.index(data[:2], first) :]
    assert soundfile.info(io.BytesIO(without_xing)).frames < 38 * RATE, "libsndfile now finds the length"
    with pytest.raises(AudioError, match="longer than its MP3 header says"):
        audio.read(file(without_xing))


@pytest.mark.parametrize("suffix", [".flac", ".wav"])
def test_write_keeps_every_16_bit_sample(tmp_path, suffix):
    samples = (np.arange(-32768, 32768) / 32768).astype(np.float32)
    path = tmp_path / "sub" / f"out{suffix}"
    audio.write(path, Waveform(samples, RATE))
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_array_equal(audio.read(recording(path)).samples, samples)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_write_refuses_what_it_cannot_keep(tmp_path):
    with pytest.raises(AudioError, match=r"audio is written as \.flac or \.wav"):
        audio.write(tmp_path / "a.mp3", Waveform(np.ones(800, np.float32), RATE))
    with pytest.raises(AudioError, match="NaN or Inf"):
        audio.write(tmp_path / "a.wav", Waveform(np.full(800, np.nan, np.float32), RATE))
    assert not list(tmp_path.iterdir())


def test_every_channel_is_read_and_one_chosen_even_a_silent_one(file):
    stereo = np.stack([np.zeros(RATE), tone(1.0)], axis=1)
    source = file(wav(pcm16(stereo), channels=2))
    found = audio.read_channels(source)
    assert found.samples.shape == (RATE, 2)
    assert found.sample_rate == RATE
    assert np.array_equal(found.samples, audio.decode_channels("x", Path(source.source).read_bytes()).samples)
    assert not audio.one_channel("x", found, 0).samples.any()
    np.testing.assert_allclose(audio.one_channel("x", found, 1).samples, tone(1.0), atol=4e-5)
    with pytest.raises(AudioError, match="^x: has 2 channels; choose one"):
        audio.one_channel("x", found, None)
    with pytest.raises(AudioError, match="^x: has no channel 2"):
        audio.one_channel("x", found, 2)
    with pytest.raises(AudioError, match="^x: there: damaged or not audio"):
        audio.decode_channels("x", b"no audio at all", "there")


def test_resample_is_what_read_does(file):
    source = file(wav(pcm16(tone(1.0))))
    assert audio.resample(audio.read(source), 8000).samples.shape == (8000,)
    expected = audio.read(source, None, 8000)
    found = audio.resample(audio.read(source), 8000)
    assert found.sample_rate == 8000
    assert np.array_equal(found.samples, expected.samples)
    assert audio.resample(found, 8000) is found


def test_an_encoding_that_cannot_be_sought_in_is_read(tmp_path):
    expected = tone(rate=8000, frequency_hz=200)
    soundfile.write(tmp_path / "a.wav", expected, 8000, subtype="GSM610")
    found = audio.read(recording(tmp_path / "a.wav")).samples[: len(expected)]
    assert np.corrcoef(found, expected)[0, 1] > 0.95


# --- what a header may promise


def flac_of(num_frames):
    """A FLAC file of a second of noise whose header promises ``num_frames``."""
    stream = io.BytesIO()
    soundfile.write(stream, np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE, format="FLAC")
    data = bytearray(stream.getvalue())
    # STREAMINFO begins at 8; its bytes 13 to 17 end with the 36 bits of the number of samples (RFC 9639, 8.2)
    data[21:26] = bytes([data[21] & 0xF0 | num_frames >> 32]) + (num_frames & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("num_frames", [1 << 35, (1 << 36) - 1, audio.MAX_SAMPLES + 1])
def test_a_promise_of_more_than_fits_takes_no_memory(file, num_frames):
    source = file(flac_of(num_frames), "a.flac")
    for read in (audio.read, audio.read_channels):
        with pytest.raises(AudioError, match=r"1 channels of .* h are too much at once; cut it"):
            read(source)
    assert len(audio.read(source, Segment(UttId("u"), RecId("rec1"), 0.0, 0.5)).samples) == RATE // 2


def test_a_false_promise_that_would_fit_takes_no_memory():
    """1.9 GiB are promised; the peak stays within 200 MiB of what decoding the true file takes."""
    code = (
        "import io, resource, sys; from speakerlab.io import audio\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "false, true = sys.stdin.buffer.read().split(b'--')\n"
        "audio.decode_channels('x', true); before = peak()\n"
        "try: audio.decode_channels('x', false)\n"
        "except Exception as error: print(error)\n"
        "print((peak() - before) / 1024)"
    )
    content = flac_of(500_000_000) + b"--" + flac_of(RATE)
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
    error, growth = done.stdout.decode().splitlines()
    assert error.startswith("x: data: ")
    assert float(growth) < 200


def test_memory_that_is_not_there_is_one_line():
    code = (
        "import io, resource, sys; from speakerlab.io import audio\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))\n"
        "audio.decode_channels('x', sys.stdin.buffer.read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=flac_of(500_000_000), capture_output=True, check=False
    )
    assert done.stderr.decode().splitlines()[-1].endswith("do not fit into memory; cut it")


def test_absurd_sample_rates_build_no_filter(file):
    """A prime rate near 2 GHz would be resampled by a filter of 160 GB."""
    samples = pcm16(tone(4.0))
    with pytest.raises(AudioError, match="sample_rate is 1999993 Hz; 768000 is the most"):
        audio.read(file(wav(samples, rate=1_999_993)), sample_rate=RATE)
    assert audio.read(file(wav(samples, rate=768_000)), sample_rate=RATE).sample_rate == RATE
