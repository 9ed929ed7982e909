"""WebM and MP4 as browsers and phones record them: the samples, the limits, what is cut off or missing."""

import io
import json
import sys

import av
import numpy as np
import pytest
import soundfile
from conftest import save_tiny, speakerlab

from speakerlab.errors import AudioError
from speakerlab.io import audio, container
from speakerlab.types import RecId, Recording, Segment

RATE = 48000


def tone(seconds=3.0, hz=440.0, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(kind, codec, channels, rate=RATE, missing=()):
    """``channels`` [C, S] as a file of ``kind``; packets numbered ``missing`` are left out."""
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as out:
        track = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(format=track.codec_context.format.name, layout=layout, rate=rate)
        frames = []
        for start in range(0, channels.shape[1], 960):
            block = np.ascontiguousarray(channels[:, start : start + 960])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            frames += resampler.resample(frame)
        packets = [packet for frame in [*frames, *resampler.resample(None)] for packet in track.encode(frame)]
        for number, packet in enumerate([*packets, *track.encode(None)]):
            if number not in missing:
                out.mux(packet)
    return stream.getvalue()


@pytest.mark.parametrize(("kind", "codec"), [("matroska", "flac"), ("mp4", "alac")])
def test_lossless_codecs_give_the_samples(kind, codec):
    stereo = np.stack([tone(), 0.5 * tone(hz=300)])
    found = audio.decode_channels("a", encoded(kind, codec, stereo))
    assert (found.sample_rate, found.samples.shape) == (RATE, (3 * RATE, 2))
    np.testing.assert_allclose(found.samples.T, stereo, atol=1.01 / 2**15)


def test_opus_of_webm_is_what_libsndfile_decodes_of_ogg():
    stereo = np.stack([tone(), 0.5 * tone(hz=300)])
    webm = audio.decode_channels("a", encoded("webm", "libopus", stereo))
    theirs, rate = soundfile.read(io.BytesIO(encoded("ogg", "libopus", stereo)), dtype="float32")
    assert webm.sample_rate == rate
    size = min(len(theirs), len(webm.samples))
    assert abs(len(theirs) - len(webm.samples)) <= 960
    np.testing.assert_allclose(webm.samples[:size], theirs[:size], atol=2e-3)


def test_aac_of_mp4_at_another_rate():
    found = audio.decode_channels("a", encoded("mp4", "aac", tone(rate=44100)[None], 44100))
    assert found.sample_rate == 44100
    samples = found.samples[:, 0]
    assert np.sqrt(np.mean(samples[4410:-4410] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.01)
    spectrum = np.abs(np.fft.rfft(samples[4410 : 4410 + 44100]))
    assert np.argmax(spectrum) == 440


def test_a_part_of_a_file(tmp_path):
    (tmp_path / "a.mka").write_bytes(encoded("matroska", "flac", tone()[None]))
    recording = Recording(RecId("a"), str(tmp_path / "a.mka"))
    whole = audio.read(recording)
    part = audio.read(recording, Segment("a1", RecId("a"), 1.0, 1.5))
    np.testing.assert_array_equal(part.samples, whole.samples[RATE : RATE + RATE // 2])


def why(data, **limits):
    with pytest.raises(AudioError) as caught:
        audio.decode_channels("a", data, "upload", **limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_lost_piece_is_noticed():
    stereo = np.stack([tone(), tone()])
    # packets of 20 ms, less the 6.5 ms that the encoder looks ahead
    data = encoded("webm", "libopus", stereo, missing=range(50, 58))
    assert "upload: a piece is missing or out of place between 0.99 and 1.15 s" in why(data)


@pytest.mark.parametrize(("kind", "codec"), [("webm", "libopus"), ("mp4", "aac"), ("matroska", "flac")])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.9])
def test_what_is_cut_off_is_refused(kind, codec, share):
    data = encoded(kind, codec, tone()[None])
    assert "upload: " in why(data[: max(12, int(share * len(data)))])


def test_damaged_bytes_never_end_the_process():
    data = bytearray(encoded("webm", "libopus", tone()[None]))
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(60):
        harmed = bytearray(data)
        for place in rng.integers(12, len(data), 40):
            harmed[place] = rng.integers(256)
        try:
            audio.decode_channels("a", bytes(harmed))
            outcomes.add("decoded")
        except AudioError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_limits_of_length():
    assert "longer than 2 s, the limit" in why(encoded("webm", "libopus", tone()[None]), max_s=2.0)
    wav = io.BytesIO()
    soundfile.write(wav, tone(), RATE, format="WAV")
    assert "3.0 s long; 2 s is the limit" in why(wav.getvalue(), max_s=2.0)
    assert len(audio.decode_channels("a", wav.getvalue(), max_s=3.0).samples) == 3 * RATE


def test_a_file_without_audio_or_of_an_unknown_codec():
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as out:
        track = out.add_stream("mpeg4", rate=10)
        track.width = track.height = 32
        track.pix_fmt = "yuv420p"
        for packet in (*track.encode(av.VideoFrame(32, 32, "yuv420p")), *track.encode(None)):
            out.mux(packet)
    assert "holds no audio" in why(stream.getvalue())
    assert "its codec ac3; send Opus, AAC, FLAC or WAV" in why(encoded("matroska", "ac3", tone()[None]))


def test_without_the_package_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert "a WebM or Matroska file, and PyAV, which reads it, is not installed: " in why(encoded_header())
    assert "serve" in why(encoded_header())


def encoded_header():
    return b"\x1aE\xdf\xa3" + bytes(100)


def test_commands_take_what_a_browser_recorded(tmp_path, talkers, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "m", threshold=0.5)
    samples = np.repeat(talkers[0][0].samples, 3)[None]  # 48 kHz: the images are weak and above speech
    (tmp_path / "a.webm").write_bytes(encoded("webm", "libopus", samples))
    soundfile.write(tmp_path / "a.wav", samples[0], RATE)
    assert speakerlab("verify", "a.webm", "a.wav", "--model", "m", "--json", "--cpu") == 0
    assert json.loads(capsys.readouterr().out)["cosine"] > 0.95


def test_what_is_no_container():
    assert container.kind(b"RIFF\0\0\0\0WAVE") is None
    assert container.kind(b"") is None
