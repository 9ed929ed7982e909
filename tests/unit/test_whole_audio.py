"""Audio is read whole or refused: lengths by the header, chained Ogg, durations, files of another kind."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from test_container import encoded

from speakerlab.errors import AudioError
from speakerlab.io import audio, container, ogg, promised
from speakerlab.pipeline.sources import find_one
from speakerlab.types import RecId, Recording, Segment

RATE = 8000
NOISE = np.random.default_rng(3).normal(0, 0.1, (2 * RATE, 2)).astype(np.float32)
NO_LENGTH = {"PAF", "PVF", "IRCAM", "XI"}  # the formats whose header has none; libsndfile writes 0 into XI
UNFIT = {"RAW", "SD2"}  # no header; a header in another file
OF_ITS_OWN = {"FLAC", "OGG", "MP3", "HTK"}  # what tells there is not a length in bytes


def files():
    """Every format that libsndfile writes, with some encodings, one and two channels."""
    for kind in sorted(set(soundfile.available_formats()) - UNFIT):
        fitting = [name for name in soundfile.available_subtypes(kind) if soundfile.check_format(kind, name)]
        for encoding in [  # those that soundfile writes
            name for name in fitting if not name.startswith(("DWVW", "NMS", "G72", "VOX"))
        ]:
            for channels in (1, 2):
                stream = io.BytesIO()
                try:
                    soundfile.write(stream, NOISE[:, :channels], RATE, format=kind, subtype=encoding)
                except soundfile.LibsndfileError:
                    continue  # mono only
                yield pytest.param(kind, stream.getvalue(), id=f"{kind}-{encoding}-{channels}")


def why(data):
    with pytest.raises(AudioError) as caught:
        audio.decode_channels("a", data, "x")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stored(tmp_path, data, name="a.wav"):
    (tmp_path / name).write_bytes(data)
    return Recording(RecId("a"), str(tmp_path / name))


@pytest.mark.parametrize(("kind", "data"), list(files()))
def test_every_container_is_read_whole_and_refused_when_cut(kind, data, tmp_path):
    found = audio.decode_channels("a", data)
    size = len(found.samples)
    assert len(NOISE) <= size <= len(NOISE) + 2304  # whole blocks of ADPCM and MP3
    assert audio.duration_s(stored(tmp_path, data)) == size / found.sample_rate
    if kind in NO_LENGTH:
        assert promised.end(io.BytesIO(data)) is None
    elif kind not in OF_ITS_OWN:
        assert len(data) - 64 <= promised.end(io.BytesIO(data)) <= len(data)  # chunks may follow the samples
        for share in (0.02, 0.6, 0.99):
            assert "truncated: " in why(data[: int(share * len(data))])


RF64 = b"RF64....WAVEds64"


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (b".snd" + struct.pack(">2I", 24, 0xFFFFFFFF), None),
        (b"dns." + struct.pack("<2I", 24, 100), 124),
        (b"caff\0\1\0\0desc" + struct.pack(">q", 2) + b"..data" + struct.pack(">q", -1), None),
        (b"caff\0\1\0\0desc" + struct.pack(">q", 2) + b"..data" + struct.pack(">q", 100), 134),
        (b"FORM....AIFFCOMM" + struct.pack(">I", 1) + b"..SSND" + struct.pack(">I", 0x7F000008), None),
        (b"FORM....AIFFCOMM" + struct.pack(">I", 1) + b"..SSND" + struct.pack(">I", 100), 130),
        (b"RIFF....WAVEdata" + struct.pack("<I", 0xFFFFFFFF), None),
        (b"RIFF....WAVEdata" + struct.pack("<I", 0x7FFFF000), None),
        (b"RIFX....WAVEdata" + struct.pack(">I", 100), 120),
        (RF64 + struct.pack("<I3Q", 24, 5 << 32, 1 << 33, 9) + b"data\xff\xff\xff\xff", 52 + (1 << 33)),
        (RF64 + struct.pack("<I3Q", 24, 0, 0, 0) + b"data\xff\xff\xff\xff", None),
        (b"NIST_1A\n   1024\nsample_count -i 50\nsample_n_bytes -i 1\nchannel_count -i 2\nend_head\n", 1124),
        (b"NIST_1A\n   1024\nsample_count -i 50\nsample_n_bytes -i 2\nend_head\n", None),
        (b"Creative Voice File\x1a\x1a\0\x14\x01\x1f\x11" + b"\x09\0\0\0" + bytes(20), None),
        (b"Creative Voice File\x1a\x1a\0\x14\x01\x1f\x11" + b"\x09\x40\0\0", 94),
        (b"fLaC", None),
    ],
)  # fmt: skip
def test_lengths_that_headers_state(start, length):
    assert promised.end(io.BytesIO(start)) == length


def ogg_file(codec="VORBIS", seconds=1.0, rate=16000, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.1, int(seconds * rate))
    stream = io.BytesIO()
    soundfile.write(stream, noise, rate, format="OGG", subtype=codec)
    return stream.getvalue()


def pages(data):
    """The pages of an Ogg file by the lengths in their headers."""
    while data:
        size = 27 + data[26] + sum(data[27 : 27 + data[26]])
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_chained_ogg_is_read_whole(codec, tmp_path):
    parts = [ogg_file(codec, 1.0, seed=1), ogg_file(codec, 0.5, seed=2), ogg_file(codec, 0.7, seed=3)]
    whole = np.concatenate([soundfile.read(io.BytesIO(part), dtype="float32")[0] for part in parts])
    recording = stored(tmp_path, b"".join(parts), "a.ogg")
    assert len(whole) == 2.2 * 16000
    np.testing.assert_array_equal(audio.read(recording).samples, whole)
    assert audio.duration_s(recording) == pytest.approx(2.2)
    part = audio.read(recording, Segment("a1", RecId("a"), 1.25, 1.75))  # from the second into the third
    size = len(part.samples)
    assert size == 8000
    np.testing.assert_allclose(part.samples, whole[20000:28000], atol=0.02 if codec == "OPUS" else 1e-6)


def test_video_beside_the_audio_is_left_out():
    first, second = (list(pages(ogg_file(seconds=1.0, seed=seed))) for seed in (1, 2))
    other = [second[0].replace(b"\x01vorbis", b"\x80theora"), *second[1:]]
    mixed = b"".join(page for pair in zip(first, other, strict=True) for page in pair)
    found = audio.decode_channels("a", mixed).samples[:, 0]
    np.testing.assert_array_equal(found, soundfile.read(io.BytesIO(b"".join(first)), dtype="float32")[0])
    both = b"".join(page for pair in zip(first, second, strict=True) for page in pair)
    assert "2 audio tracks side by side" in why(both)
    assert "without audio" in why(b"".join(other) + b"".join(other))


def test_ogg_that_is_not_whole_is_refused():
    found = list(pages(ogg_file(seconds=20.0)))
    assert len(found) > 4
    assert "truncated: the last Ogg page is not marked" in why(b"".join(found[:-1]))
    assert "pages are missing: Ogg page 2 is followed by page 4" in why(b"".join([*found[:3], *found[4:]]))
    assert "no first page" in why(b"".join(found[1:]))
    assert "truncated: the last Ogg page" in why(ogg_file() + ogg_file(seed=2)[:-9])
    assert "no Ogg page at byte" in why(ogg_file()[:-9] + ogg_file(seed=2))
    assert len(audio.decode_channels("a", b"".join(found) + b"TAG" + bytes(125)).samples) == 320000


def test_chained_parts_of_two_rates_are_refused():
    assert "differ in rate" in why(ogg_file() + ogg_file(rate=8000))


def test_a_chain_reads_across_its_parts():
    parts = [soundfile.SoundFile(io.BytesIO(ogg_file(seconds=s))) for s in (0.5, 0.25)]
    with ogg.Chain(parts) as chain:
        assert (chain.frames, chain.samplerate, chain.channels) == (12000, 16000, 1)
        chain.seek(7990)
        assert len(chain.read(20, "float32", always_2d=True)) == 20
        assert len(chain.read(9000, "float32", always_2d=True)) == 12000 - 8010
    assert parts[0].closed


@pytest.mark.parametrize(("kind", "share"), [("FLAC", 0.6), ("OGG", 0.6), ("MP3", 0.4)])
def test_durations_are_of_what_is_there(kind, share, tmp_path):
    stream = io.BytesIO()
    soundfile.write(stream, NOISE[:, 0], RATE, format=kind)
    assert audio.duration_s(stored(tmp_path, stream.getvalue())) == pytest.approx(2.0, abs=0.2)
    data = stream.getvalue()
    with pytest.raises(AudioError, match="truncated"):
        audio.duration_s(stored(tmp_path, data[: int(share * len(data))]))


@pytest.mark.parametrize(
    ("kind", "codec", "rate", "hertz"), [("mp4", "aac", 16000, 440), ("amr", "libopencore_amrnb", 8000, 440)]
)
def test_what_pyav_decodes_is_read_and_measured(kind, codec, rate, hertz, tmp_path):
    tone = (0.3 * np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)).astype(np.float32)
    recording = stored(tmp_path, encoded(kind, codec, tone[None], rate), f"a.{kind}")
    found = audio.read(recording)
    assert found.sample_rate == rate
    assert audio.duration_s(recording) == found.duration_s == pytest.approx(2.0, abs=0.2)
    spectrum = np.abs(np.fft.rfft(found.samples[rate // 2 : rate // 2 + rate]))
    assert np.argmax(spectrum) == hertz


SHORTEN = b"NIST_1A\n   1024\nsample_coding -s26 ulaw,embedded-shorten-v2.00\nend_head\n"
WMA_IN_WAV = (
    b"RIFF\x34\0\0\0WAVEfmt \x10\0\0\0"
    + struct.pack("<HHIIHH", 0x161, 1, 8000, 8000, 1, 8)
    + b"data\x10\0\0\0"
)


@pytest.mark.parametrize(
    ("start", "what", "pipe"),
    [
        (SHORTEN, "shorten", "sph2pipe -f wav -p"),
        (b"wvpk", "WavPack", "ffmpeg -v error -i"),
        (WMA_IN_WAV, "a WAV file of codec 0x0161", "ffmpeg"),
        (b"OggS\0\6" + bytes(20) + b"\1\x08Speex   ", "Ogg file of a codec", "ffmpeg"),
        (b"\0\0\0\x18ftypM4A ", "an MP4 file (m4a, 3gp)", "ffmpeg -v error -i"),
        (b"#!AMR-WB\n", "an AMR file", "ffmpeg"),
    ],
)  # fmt: skip
def test_intact_files_of_another_kind_are_named_with_the_pipe_that_reads_them(start, what, pipe, tmp_path):
    recording = stored(tmp_path, start + bytes(range(256)) * 20, "it's one.bin")
    with pytest.raises(AudioError) as caught:
        audio.read(recording)
    assert what in str(caught.value)
    assert caught.value.pipe.startswith(pipe)
    assert caught.value.pipe.endswith(" |")
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {caught.value.pipe[:-1]}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert recording.source in words  # one word to the shell


@pytest.mark.parametrize(
    "start", [b"wvpk", b"MAC ", b"#!AMR\n", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b".RMF", b"RIFF....AVI "]
)
def test_bytes_of_a_compressed_file_are_never_taken_for_samples(start):
    source = find_one(start + bytes(range(256)) * 40, 16000)
    with pytest.raises(AudioError):
        source.read()


def test_text_is_no_audio_of_another_kind(tmp_path):
    with pytest.raises(AudioError, match="damaged or not audio") as caught:
        audio.read(stored(tmp_path, b"this is text\n" * 100))
    assert caught.value.pipe == ""


def test_a_pipe_or_an_upload_gets_no_advice_to_pipe_it(tmp_path):
    stored(tmp_path, b"wvpk" + bytes(3000), "a.wv")
    with pytest.raises(AudioError, match="WavPack") as caught:
        audio.read(Recording(RecId("a"), f"cat {tmp_path}/a.wv |", is_pipe=True))
    assert caught.value.pipe == ""


def test_without_pyav_the_extra_and_the_pipe_are_named(tmp_path, monkeypatch):
    recording = stored(tmp_path, encoded("mp4", "aac", NOISE.T[:1], RATE), "a.m4a")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        AudioError, match=r"MP4.*is not installed.*serve.*ffmpeg -v error -i .*a\.m4a -f wav - \|"
    ):
        audio.read(recording)


def test_kinds_by_the_first_bytes():
    frame = b"\xff\xf1\x50\x80\x02\x00\xfc" + bytes(9)  # 16 bytes
    assert container.kind(frame + frame) == "aac"
    assert container.kind(frame + bytes(16)) is None  # samples may begin so
    assert container.kind(frame) is None
    assert container.kind(b"\xff\xfb\x90\x64") is None  # MP3
    assert container.kind(b"\0\0\0\x08wide") == "mov"
    assert container.unread(b"RIFF....WAVEfmt \x10\0\0\0\1\0") is None  # PCM: libsndfile's own message counts
