"""Windows of long recordings, reading ahead, and the worker's options."""

import threading
import time

import numpy as np
import pytest
import torch

from speakerlab.bin import extract_embeddings
from speakerlab.data.datadir import DataDir
from speakerlab.embed import windows
from speakerlab.embed.extraction import embeddings
from speakerlab.embed.inputs import UtteranceInputs
from speakerlab.embed.prefetch import prefetched
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.io import audio
from speakerlab.types import RecId, Segment, UttId, Waveform


def segment(start=0.0, end=None):
    return Segment(UttId("u"), RecId("r"), start, end)


def test_windows_are_equal_and_cover_the_segment():
    cuts = windows.cut(segment(2.0, 72.0), 70.0, 30.0)
    assert [(c.start_s, c.end_s) for c in cuts] == [
        (2.0, pytest.approx(2 + 70 / 3)), (pytest.approx(2 + 70 / 3), pytest.approx(2 + 140 / 3)),
        (pytest.approx(2 + 140 / 3), 72.0),
    ]  # fmt: skip
    assert windows.cut(segment(), 30.0, 30.0) == [segment()]
    assert windows.cut(segment(), 1e6, 0) == [segment()]
    assert windows.cut(segment(), 31.0, 30.0)[-1].end_s is None


def test_windows_are_joined_by_hand_computed_values():
    joined = windows.join([np.float32([3, 4]), np.float32([0, 2])], [30.0, 10.0])
    assert joined == pytest.approx([0.75 * 0.6, 0.75 * 0.8 + 0.25])
    assert windows.join([np.float32([3, 4])], [7.0]).tolist() == [3, 4]


class Levels:
    """An extractor whose embedding of a window is [its peak, 1]: values can be told by hand."""

    sample_rate = 16000
    largest = 0

    def features(self, waveform):
        Levels.largest = max(Levels.largest, len(waveform.samples))
        return torch.from_numpy(waveform.samples)[:, None]

    def normalise(self, _utt_id, feats, _voiced):
        return feats

    def embed_features(self, batch):
        return np.stack([np.float32([feats.max(), 1]) for feats in batch])


@pytest.fixture
def long_dir(tmp_path):
    """``a``: 2 s at 0.25, 2 s of silence, 2 s at 0.75; ``b`` 1 s; ``c`` is no audio."""
    levels = np.repeat(np.float32([0.25, 0, 0.75]), 32000)
    audio.write(tmp_path / "a.wav", Waveform(levels, 16000))
    audio.write(tmp_path / "b.wav", Waveform(np.full(16000, 0.5, np.float32), 16000))
    (tmp_path / "c.wav").write_bytes(b"no audio")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"{n} {tmp_path}/{n}.wav\n" for n in "abc"))
    (folder / "utt2spk").write_text("a a\nb b\nc c\n")
    (folder / "spk2utt").write_text("a a\nb b\nc c\n")
    return DataDir.load(folder)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_long_recording_is_read_by_windows(long_dir, batch_size):
    Levels.largest = 0
    inputs = UtteranceInputs(long_dir, Levels(), feats_type="raw", use_vad=False, window_s=2.0)
    found = dict(embeddings(long_dir.utterances, inputs, Levels(), batch_size))
    unit = [np.array([peak, 1]) / np.hypot(peak, 1) for peak in (0.25, 0.75)]  # silence has no weight
    assert found["a"] == pytest.approx((unit[0] + unit[1]) / 2)
    assert found["b"].tolist() == [0.5, 1]  # short: as it is
    assert isinstance(found["c"], AudioError)
    assert Levels.largest == 32000  # no more than a window was decoded at once


def test_windows_that_cannot_be_are_refused(long_dir):
    for options in ({"use_vad": True, "window_s": 2.0}, {"use_vad": False, "window_s": 0.2}):
        with pytest.raises(SpeakerLabError, match="windows"):
            UtteranceInputs(long_dir, Levels(), feats_type="raw", **options)


def test_a_window_is_part_of_what_embeddings_are_made_from(long_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    parser = extract_embeddings.options()

    def parse(*options):
        return parser.parse_args(["--model", "m", "data", "out", *options])

    assert extract_embeddings.deviations(parse("--backend", "onnx")) == {}
    changed = parse("--backend", "openvino", "--precision", "bf16", "--window-s", "30")
    assert extract_embeddings.deviations(changed) == {"precision": "bf16", "window_s": "30"}
    config = extract_embeddings.session_config(changed)
    assert (config.cache_dir, config.num_threads) == (tmp_path / "cache" / "speakerlab", 3)


def test_reading_ahead_keeps_order_and_is_bounded():
    made = []

    def source():
        for n in range(50):
            made.append(n)
            yield n

    items = prefetched(source(), depth=3)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1  # used, waiting, and the one in the thread's hand
    assert [0, *items] == list(range(50))


def test_reading_ahead_raises_what_the_source_raises_and_ends_its_thread():
    def source():
        yield 1
        raise DataError("x", "broken")

    items = prefetched(source(), depth=2)
    assert next(items) == 1
    with pytest.raises(DataError, match="broken"):
        next(items)
    before = threading.active_count()
    items = prefetched(iter(range(1000)), depth=1)
    next(items)
    items.close()
    assert threading.active_count() == before
