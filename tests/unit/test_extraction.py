"""Windows of long recordings, batches of like length read ahead, and the worker and its options."""

import threading
import time

import numpy as np
import pytest

from speakerlab.bin import extract_embeddings, session_arguments
from speakerlab.data.datadir import DataDir
from speakerlab.embed import batching, windows
from speakerlab.embed.batching import Input, embedded
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


def averaged(*members):
    average = windows.Average()
    for embedding, speech_s, seconds in members:
        average.add(np.float32(embedding), speech_s, seconds)
    return average.value()


def test_windows_are_averaged_by_hand_computed_values():
    by_speech = averaged(([3, 4], 6.0, 10.0), ([0, 2], 2.0, 10.0), ([5, 0], 0.0, 10.0))
    assert by_speech == pytest.approx([0.75 * 0.6, 0.75 * 0.8 + 0.25])
    no_speech = averaged(([3, 4], 0.0, 30.0), ([0, 2], 0.0, 10.0))
    assert no_speech == pytest.approx([0.75 * 0.6, 0.75 * 0.8 + 0.25])
    assert averaged(([3, 4], 0.0, 7.0)).tolist() == [3, 4]


class Levels:
    """An extractor whose embedding of a window is [its peak, 1]: values can be told by hand."""

    sample_rate = 16000
    largest = 0

    @property
    def session(self):
        return self

    def from_waveform(self, _utt_id, waveform, _voiced=None):
        Levels.largest = max(Levels.largest, len(waveform.samples))
        return waveform.samples[:, None]

    def embed(self, batch):
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


def test_windows_without_speech_do_not_count(tmp_path, talkers):
    """5 s of a talker and 5 s of steady noise, in windows of 5 s."""
    spoken = talkers[0][0].samples
    spoken = 0.5 * np.resize(spoken, 80000) / spoken.max()
    noise = np.clip(0.2 * np.random.default_rng(0).standard_normal(80000), -1, 1)
    audio.write(tmp_path / "a.wav", Waveform(np.concatenate([spoken, noise]).astype(np.float32), 16000))
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    data = DataDir.load(tmp_path)
    inputs = UtteranceInputs(data, Levels(), feats_type="raw", use_vad=False, window_s=5.0)
    first, second = (piece.known for piece in inputs.pieces(data.utterances[0]))
    assert (first.seconds, second.seconds, second.speech_s) == (5.0, 5.0, 0.0)
    assert 3.0 < first.speech_s <= 5.0
    found = dict(embeddings(data.utterances, inputs, Levels(), 1))["a"]
    assert found == pytest.approx(np.array([0.5, 1]) / np.hypot(0.5, 1), abs=1e-4)


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
    config = session_arguments.config(changed)
    assert (config.backend, config.precision) == ("openvino", "bf16")
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


class Counted:
    """A session that embeds features as their number, and remembers its batches."""

    def __init__(self):
        self.batches = []

    def embed(self, batch):
        self.batches.append([len(feats) for feats in batch])
        return np.float32([[len(feats), np.nan if len(feats) == 13 else 0] for feats in batch])


def numbered(lengths, made=None):
    """Inputs called by their place; a length of 0 stands for audio that cannot be used."""
    for place, length in enumerate(lengths):
        if made is not None:
            made.append(place)
        feats = np.zeros((length, 4), np.float32) if length else AudioError(str(place), "bad")
        yield Input(str(place), f"{place}.wav", place, feats)


def test_batches_are_of_like_lengths_and_results_in_order():
    lengths = [50, 10, 0, 40, 11, 51, 41]
    network = Counted()
    found = list(embedded(numbered(lengths), network, 2))
    assert network.batches == [[10, 11], [40, 41], [50, 51]]
    assert [known for known, _ in found] == list(range(7))
    assert [0 if isinstance(out, AudioError) else out[0] for _, out in found] == lengths


def test_a_batch_holds_few_values_however_many_utterances_it_may_hold(monkeypatch):
    monkeypatch.setattr(batching, "MAX_VALUES", 4 * 100)  # a hundred frames
    network = Counted()
    found = list(embedded(numbered([20, 300, 25, 60, 30, 20, 90]), network, 16))
    assert network.batches == [[20, 20, 25], [30], [60], [90], [300]]
    assert len(found) == 7


def test_what_waits_is_bounded_in_number_and_in_values(monkeypatch):
    made = []
    results = embedded(numbered([10] * 1000, made), Counted(), 2)
    next(results)
    time.sleep(0.3)
    window = 2 * batching.WINDOW_BATCHES
    assert window < len(made) <= 3 * window  # read ahead: used, waiting, and in the thread's hand
    results.close()
    monkeypatch.setattr(batching, "MAX_WINDOW_VALUES", 4 * 100)
    made.clear()
    results = embedded(numbered([60] * 1000, made), Counted(), 2)
    next(results)
    time.sleep(0.3)
    assert len(made) <= 3 * 2
    results.close()


def test_an_embedding_that_is_no_number_is_a_failure_of_its_utterance():
    _, wrong, _ = (out for _, out in embedded(numbered([12, 13, 14]), Counted(), 3))
    assert str(wrong) == "1: 1.wav: its embedding is NaN or Inf"
