"""Audio in archives and channels of segments, as Kaldi, kaldiio and ESPnet write them."""

import kaldiio
import numpy as np
import pytest
import soundfile
from conftest import save_tiny, speakerlab

from speakerlab.data import subset
from speakerlab.data.combine import combine, with_prefix
from speakerlab.data.contents import Contents
from speakerlab.data.datadir import DataDir
from speakerlab.data.faults import Faults
from speakerlab.data.tables import read_segments, read_wav_scp
from speakerlab.data.validate import check_audio, validate
from speakerlab.errors import AudioError, DataError
from speakerlab.io import audio
from speakerlab.io.ark import read_embeddings
from speakerlab.pipeline.sources import of_data_dir
from speakerlab.types import RecId, Recording, Segment

RATE = 8000
KEYS = ("rec1", "rec2", "rec3")
SAMPLES = {
    key: np.random.default_rng(n).normal(0, 0.1, RATE + n).astype(np.float32) for n, key in enumerate(KEYS)
}


def packed(folder, name="wav.ark", **how):
    """``folder/wav.scp`` into an archive by kaldiio, with a relative path."""
    steps = {key: (RATE, np.rint(s * 32768).astype(np.int16)) for key, s in SAMPLES.items()}
    kaldiio.save_ark(str(folder / name), steps, scp=str(folder / "wav.scp"), **how)
    (folder / "wav.scp").write_text((folder / "wav.scp").read_text().replace(f"{folder}/", ""))
    return folder


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"write_function": "soundfile"},
        {"write_function": "soundfile", "write_kwargs": {"format": "flac"}},  # ESPnet
    ],
)
def test_recordings_in_an_archive_are_those_that_were_packed(tmp_path, how):
    recordings = read_wav_scp(packed(tmp_path, **how) / "wav.scp")
    for key, samples in SAMPLES.items():
        found = audio.read(recordings[RecId(key)])
        assert found.sample_rate == RATE
        np.testing.assert_allclose(found.samples, samples, atol=0.51 / 32768)
        assert audio.duration_s(recordings[RecId(key)]) == len(samples) / RATE
    part = audio.read(recordings[RecId("rec2")], Segment("u", RecId("rec2"), 0.5, 0.75))
    np.testing.assert_allclose(part.samples, SAMPLES["rec2"][4000:6000], atol=0.51 / 32768)


def test_a_data_dir_of_an_archive_is_valid_and_so_are_its_copies(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    contents = Contents.load(packed(tmp_path / "a"))
    monkeypatch.chdir("/")
    copies = {
        "some": subset.of_utterances(contents, {"rec2"}),
        "all": combine([with_prefix(contents, "x-"), contents]),
    }
    for name, copy in copies.items():
        copy.write(tmp_path / name)
        faults = Faults()
        seconds = check_audio(validate(tmp_path / name, faults), faults)
        assert list(faults.lines()) == []
        assert seconds == pytest.approx({"some": 1.0, "all": 6.0}[name], abs=1e-3)


def test_commands_take_an_archive(tmp_path, talkers, capsys):
    save_tiny(tmp_path / "m")
    for n, talker in enumerate(talkers[:2]):
        soundfile.write(tmp_path / f"u{n}.wav", talker[0].samples, talker[0].sample_rate)
    data = [(tmp_path / f"u{n}.wav").read_bytes() for n in range(2)]
    (tmp_path / "wav.ark").write_bytes(b"u0 " + data[0] + b"u1 " + data[1])
    (tmp_path / "packed.scp").write_text(f"u0 wav.ark:3\nu1 wav.ark:{len(data[0]) + 6}\n")
    (tmp_path / "plain.scp").write_text("u0 u0.wav\nu1 u1.wav\n")
    for name in ("plain", "packed"):
        words = ("--model", str(tmp_path / "m"), "--cpu", "--output-dir", str(tmp_path / name))
        assert speakerlab("embed", str(tmp_path / f"{name}.scp"), *words) == 0
    found = [read_embeddings(tmp_path / name / "xvector.scp") for name in ("plain", "packed")]
    np.testing.assert_array_equal(found[0].matrix, found[1].matrix)
    assert found[1].ids == ("u0", "u1")


def test_what_is_wrong_with_an_archive_is_named(tmp_path):
    packed(tmp_path)
    lines = (tmp_path / "wav.scp").read_text().splitlines()
    offsets = [int(line.rpartition(":")[2]) for line in lines]
    path = tmp_path / "wav.ark"

    def why(rec_id, offset, source=path):
        with pytest.raises(AudioError) as caught:
            audio.read(Recording(RecId(rec_id), str(source), offset=offset))
        return str(caught.value)

    assert f"{path}:{offsets[1]}: the value at this offset is of 'rec2'" in why("rec1", offsets[1])
    assert "of another key" in why("rec1", offsets[1] + 2)
    data = path.read_bytes()
    (tmp_path / "cut.ark").write_bytes(data[:-100])
    assert "truncated: " in why("rec3", offsets[2], tmp_path / "cut.ark")
    (tmp_path / "cut.ark").write_bytes(data[: offsets[2] + 6])
    assert "truncated: " in why("rec3", offsets[2], tmp_path / "cut.ark")
    assert "no such file" in why("rec3", offsets[2], tmp_path / "gone.ark")
    (tmp_path / "text.ark").write_text("rec1 no audio at all")
    assert "neither a WAV file nor" in why("rec1", 5, tmp_path / "text.ark")
    piped = b"rec1 RIFF\xff\xff\xff\xff" + data[offsets[0] + 8 : offsets[1] - 5]
    (tmp_path / "piped.ark").write_bytes(piped)
    assert "written to a pipe" in why("rec1", 5, tmp_path / "piped.ark")


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path):
    soundfile.write(tmp_path / "call.wav", SAMPLES["rec1"], RATE)
    (tmp_path / "call.wav").rename(tmp_path / "call:17")
    (tmp_path / "wav.scp").write_text("a call:17\nb call:18\n")
    found = read_wav_scp(tmp_path / "wav.scp")
    assert (found[RecId("a")].source, found[RecId("a")].offset) == (f"{tmp_path}/call:17", None)
    assert (found[RecId("b")].source, found[RecId("b")].offset) == (f"{tmp_path}/call", 18)


def stereo(folder):
    both = np.stack([SAMPLES["rec1"], 0.5 * SAMPLES["rec3"][:RATE]], axis=1)
    soundfile.write(folder / "c.wav", both, RATE, subtype="FLOAT")
    (folder / "wav.scp").write_text("c c.wav\n")
    return both


def test_the_fifth_column_of_segments_is_a_channel(tmp_path):
    both = stereo(tmp_path)
    (tmp_path / "segments").write_text("c-a c 0 0.5 0\nc-b c 0 0.5 1\nc-x c 0.5 -1 -1\n")
    data = DataDir.load(tmp_path)
    recording = data.recordings[RecId("c")]
    for utterance, channel in zip(data.utterances[:2], (0, 1), strict=True):
        np.testing.assert_array_equal(audio.read(recording, utterance.segment).samples, both[:4000, channel])
        listened = of_data_dir(tmp_path)[utterance.utt_id].read()
        np.testing.assert_array_equal(listened.samples, both[:4000, channel : channel + 1])
    with pytest.raises(AudioError, match="has 2 channels; choose one"):
        audio.read(recording, data.utterances[2].segment)
    Contents.load(tmp_path).write(tmp_path / "copy")
    assert DataDir.load(tmp_path / "copy").utterances == data.utterances
    (tmp_path / "segments").write_text("c-b c 0 0.5 2\n")
    with pytest.raises(AudioError, match="has no channel 2; it has 2, counted from 0"):
        audio.read(recording, DataDir.load(tmp_path).utterances[0].segment)


@pytest.mark.parametrize("line", ["u c 0 1 A", "u c 0 1 -2", "u c 0 1 0 0", "u c 0 1 0.5"])
def test_bad_channels_are_named(tmp_path, line):
    (tmp_path / "segments").write_text(line + "\n")
    with pytest.raises(DataError, match=r"segments:1: 'u' needs .* perhaps a channel from 0; write: utt_id"):
        read_segments(tmp_path / "segments", {RecId("c"): Recording(RecId("c"), "c.wav")})


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0.10009, 0.50006), (0.1, 0.3), (0.12345, 0.99999), (0.29, 0.57)]
)
def test_times_become_samples_as_in_kaldi(tmp_path, start_s, end_s):
    """extract-segments assigns the product, a double, to an int32: what is behind the point is cut off."""
    soundfile.write(tmp_path / "a.wav", SAMPLES["rec1"], RATE, subtype="FLOAT")
    found = audio.read(
        Recording(RecId("a"), str(tmp_path / "a.wav")), Segment("u", RecId("a"), start_s, end_s)
    )
    first, last = (int(np.float64(time) * np.float64(RATE)) for time in (start_s, end_s))
    np.testing.assert_array_equal(found.samples, SAMPLES["rec1"][first:last])
