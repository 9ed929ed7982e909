"""Every documented form of audio_in gives the embedding of the recording, alone, in lists and in pairs.

The cases are the rows of FunASR's contract, most of which its own back-end got wrong: header bytes read as
samples, integer arrays not scaled, sample rates ignored, split lists refused, the second features lost.
"""

import dataclasses
import functools
import http.server
import io
import logging
import shutil
import socket
import threading
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from speakerlab import config as config_io
from speakerlab.embed.extractor import Extractor
from speakerlab.embed.torch_session import TorchSession
from speakerlab.errors import AudioError, DataError, SpeakerLabError
from speakerlab.hub import bundle
from speakerlab.hub.calibration import Calibration
from speakerlab.io import audio, download
from speakerlab.io.ark import ArkWriter, FeatureTable
from speakerlab.metrics.operating_points import OperatingPoint
from speakerlab.pipeline import embedding as pipeline_embedding
from speakerlab.pipeline import pipeline
from speakerlab.types import Waveform

RATE = 16000
SETTINGS = {
    "frontend": {"name": "fbank"},
    "model": {"name": "tdnn", "channels": [16, 16, 16, 16, 32], "embed_dim": 8},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    config = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "m"
    bundle.save(path, config.model.build(feat_dim=80), config, 80, {})
    return bundle.load(path)


@pytest.fixture(scope="module")
def pcm(talkers):
    """16-bit samples of three recordings: twice the first talker, then the second."""
    spoken = (talkers[0][0], talkers[0][1], talkers[1][0])
    return [np.rint(one.samples * 32768).clip(-32768, 32767).astype(np.int16) for one in spoken]


@pytest.fixture(scope="module")
def expected(model, pcm):
    """Embeddings by the extractor, without the pipeline."""
    waveforms = [Waveform(one.astype(np.float32) / 32768, RATE) for one in pcm]
    return [Extractor.of_bundle(model).embed([waveform])[0] for waveform in waveforms]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pcm, model):
    """a.wav, b.flac, c.wav, their lists and features."""
    path = tmp_path_factory.mktemp("audio")
    for name, one in zip(("a.wav", "b.flac", "c.wav"), pcm, strict=True):
        soundfile.write(path / name, one, RATE)
    pcm[0].tofile(path / "a.pcm")
    (path / "wav.scp").write_text("u1 a.wav\nu2 b.flac\n")
    (path / "wav.scp.00").write_text("u1 a.wav\n")
    (path / "turned").write_text("u2 c.wav\nu1 b.flac\n")  # other order, no suffix
    extractor = Extractor.of_bundle(model)
    for name, keys in (("fbank1", (0, 1)), ("fbank2", (1, 2))):
        with ArkWriter(path / f"{name}.ark", path / f"{name}.scp") as writer:
            for utt_id, key in zip(("u1", "u2"), keys, strict=True):
                waveform = Waveform(pcm[key].astype(np.float32) / 32768, RATE)
                writer.write(utt_id, extractor.features(waveform).numpy())
    return path


@pytest.fixture(scope="module")
def server(folder):
    """The folder over HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(scope="module")
def p(model):
    return pipeline("speaker-verification", model=model, ngpu=0, sv_threshold=0.5)


def file_bytes(pcm, kind, **options):
    stream = io.BytesIO()
    soundfile.write(stream, pcm, RATE, format=kind, **options)
    return stream.getvalue()


def wide(samples):
    """Samples in the second of two channels."""
    return np.stack([samples[::-1], samples], axis=1)


@dataclasses.dataclass
class At:
    """Where the forms of one recording are found."""

    folder: Path
    server: str
    pcm: np.ndarray


FORMS = {
    "path": lambda at: str(at.folder / "a.wav"),
    "Path": lambda at: at.folder / "a.wav",
    "url": lambda at: f"{at.server}/a.wav",
    "file url": lambda at: (at.folder / "a.wav").as_uri(),
    "pcm file": lambda at: str(at.folder / "a.pcm"),
    "pcm bytes": lambda at: at.pcm.tobytes(),
    "bytearray": lambda at: bytearray(at.pcm.tobytes()),
    "memoryview": lambda at: memoryview(at.pcm.tobytes()),
    "wav bytes": lambda at: file_bytes(at.pcm, "WAV"),
    "flac bytes": lambda at: file_bytes(at.pcm, "FLAC"),
    "w64 bytes": lambda at: file_bytes(at.pcm, "W64"),
    "big-endian bytes": lambda at: file_bytes(at.pcm, "WAV", endian="BIG"),
    "float array": lambda at: at.pcm.astype(np.float32) / 32768,
    "double array": lambda at: at.pcm / 32768,
    "int16 array": lambda at: at.pcm,
    "int32 array": lambda at: at.pcm.astype(np.int32) << 16,
    "row": lambda at: at.pcm[None],
    "column": lambda at: at.pcm[:, None],
    "float tensor": lambda at: torch.from_numpy(at.pcm / np.float32(32768)),
    "int16 tensor": lambda at: torch.from_numpy(at.pcm)[None],
    "tensor with gradient": lambda at: torch.from_numpy(at.pcm / np.float32(32768)).requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_recording_in_every_form(p, folder, server, pcm, expected, form):
    result = p(audio_in=FORMS[form](At(folder, server, pcm[0])))
    np.testing.assert_allclose(result["spk_embedding"], expected[0], atol=1e-5)
    assert result["reasons"] == []
    assert (result["audio"]["sample_rate"], result["audio"]["channel"]) == (RATE, 0)
    assert result["audio"]["duration_s"] == len(pcm[0]) / RATE


@pytest.mark.parametrize("form", FORMS)
def test_mixed_pairs(p, folder, server, pcm, expected, form):
    a, b = expected[0], expected[2]
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    mapped = max(cosine - 0.5, 0) / 0.5
    for pair in (
        (FORMS[form](At(folder, server, pcm[0])), folder / "c.wav"),
        [file_bytes(pcm[2], "WAV"), FORMS[form](At(folder, server, pcm[0]))],
    ):
        result = p(audio_in=pair)
        assert result["cosine"] == pytest.approx(cosine, abs=1e-6)
        assert result["score"] == round(result["cosine"], 5)
        assert result["scores"] == pytest.approx([mapped, 1 - mapped], abs=1e-5)
        assert (result["label"], result["text"]) == (
            ("Same", "yes") if cosine >= 0.5 else ("Different", "no")
        )
        assert (result["threshold"], result["threshold_origin"]) == (0.5, "given")
        assert len(result["audio"]) == 2


@pytest.mark.parametrize("name", ["wav.scp", "wav.scp,speech,sound", "fbank1.scp,speech,kaldi_ark"])
def test_lists_give_one_result_per_utterance(p, folder, expected, name):
    result = p(audio_in=str(folder / name))
    assert list(result) == ["u1", "u2"]
    for found, embedding in zip(result.values(), expected, strict=False):
        np.testing.assert_allclose(found["spk_embedding"], embedding, atol=1e-5)


def test_a_split_list_is_a_list_even_of_one(p, folder, expected):
    result = p(audio_in=str(folder / "wav.scp.00"))
    assert list(result) == ["u1"]
    np.testing.assert_allclose(result["u1"]["spk_embedding"], expected[0], atol=1e-5)


def test_a_python_list_gives_a_list(p, folder, pcm, expected):
    result = p([folder / "a.wav", pcm[1].tobytes(), pcm[2]])
    for found, embedding in zip(result, expected, strict=True):
        np.testing.assert_allclose(found["spk_embedding"], embedding, atol=1e-5)
    assert len(p([folder / "a.wav"])) == 1


def cosine_of(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("wav.scp", "turned"),
        ("fbank1.scp,speech,kaldi_ark", "fbank2.scp,speech,kaldi_ark"),
        ("fbank1.scp,speech,kaldi_ark", "fbank2.scp,ref_speech,kaldi_ark"),
        ("wav.scp", "fbank2.scp,speech,kaldi_ark"),
    ],
)
def test_pairs_of_lists_are_matched_by_key(p, folder, expected, first, second):
    result = p(audio_in=(str(folder / first), str(folder / second)))
    assert list(result) == ["u1", "u2"]
    assert result["u1"]["cosine"] == pytest.approx(cosine_of(expected[0], expected[1]), abs=1e-5)
    assert result["u2"]["cosine"] == pytest.approx(cosine_of(expected[1], expected[2]), abs=1e-5)
    assert all(0 <= found["scores"][0] <= 1 for found in result.values())


def test_a_list_against_one_recording(p, folder, pcm, expected):
    scores = [cosine_of(embedding, expected[2]) for embedding in expected[:2]]
    for pair in ((folder / "wav.scp", folder / "c.wav"), (pcm[2], str(folder / "wav.scp"))):
        result = p(pair)
        assert [found["cosine"] for found in result.values()] == pytest.approx(scores, abs=1e-5)


# --- rates and channels


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_every_rate_is_resampled_and_stated(p, talkers, expected, tmp_path, rate):
    other = audio.resample(talkers[0][0], rate)
    soundfile.write(tmp_path / "x.wav", other.samples, rate, subtype="FLOAT")
    result = p(str(tmp_path / "x.wav"))
    stated = result["audio"]
    assert (stated["sample_rate"], stated["model_sample_rate"]) == (rate, RATE)
    of_array = p(other.samples, sample_rate=rate)
    np.testing.assert_allclose(of_array["spk_embedding"], result["spk_embedding"], atol=1e-6)
    assert cosine_of(result["spk_embedding"], expected[0]) > (0.99 if rate > RATE else 0.7)
    wrong = p(other.samples)  # as if at 16 kHz
    assert cosine_of(wrong["spk_embedding"], expected[0]) < cosine_of(result["spk_embedding"], expected[0])


def test_raw_pcm_at_another_rate(p, talkers):
    other = audio.resample(talkers[0][0], 8000)
    steps = np.rint(other.samples * 32768).astype(np.int16)
    result = p(steps.tobytes(), sample_rate=8000)
    np.testing.assert_allclose(
        result["spk_embedding"], p(steps, sample_rate=8000)["spk_embedding"], atol=1e-6
    )
    assert result["audio"]["sample_rate"] == 8000


def test_the_channel_is_chosen_and_stated(p, pcm, expected, tmp_path):
    stereo = wide(pcm[0])
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE)
    for form in (tmp_path / "stereo.wav", file_bytes(stereo, "WAV"), stereo, torch.from_numpy(stereo)):
        chosen = p(form, channel=1)
        np.testing.assert_allclose(chosen["spk_embedding"], expected[0], atol=1e-5)
        assert (chosen["audio"]["channel"], chosen["audio"]["num_channels"]) == (1, 2)
        assert not np.allclose(p(form)["spk_embedding"], expected[0], atol=1e-3)
        with pytest.raises(AudioError, match="has no channel 2; it has 2"):
            p(form, channel=2)


# --- batches, devices, thresholds, nothing sticky


def test_batches_equal_single(model, tmp_path, talkers):
    spoken = [one.samples for talker in talkers for one in talker]
    pieces = [
        one[start : start + size] for one in spoken for start, size in ((0, 20000), (9000, 41000), (5, 27123))
    ]
    lines = []
    for number, piece in enumerate(pieces):
        soundfile.write(tmp_path / f"{number}.wav", piece, RATE, subtype="FLOAT")
        lines.append(f"k{number} {number}.wav\n")
    (tmp_path / "list").write_text("".join(lines))
    single, batched = (pipeline(model=model, ngpu=0, batch_size=size)(tmp_path / "list") for size in (1, 5))
    assert list(batched) == [f"k{number}" for number in range(len(pieces))]
    for key, found in single.items():
        np.testing.assert_allclose(batched[key]["spk_embedding"], found["spk_embedding"], atol=1e-5)


def test_batches_are_of_like_lengths(model, monkeypatch, pcm):
    sizes = [30000, 20000, 50000, 21000, 31000, 49000]
    lengths = []
    real = TorchSession.embed

    def watched(self, batch):
        lengths.append([len(feats) for feats in batch])
        return real(self, batch)

    monkeypatch.setattr(TorchSession, "embed", watched)
    pipeline(model=model, ngpu=0, batch_size=2)([pcm[0][:size] for size in sizes])
    assert [[frames * 160 + 240 for frames in batch] for batch in lengths] == [
        [pytest.approx(size, abs=160) for size in batch]
        for batch in ([20000, 21000], [30000, 31000], [49000, 50000])
    ]


def test_an_embedding_that_is_no_number_gives_no_verdict(p, monkeypatch, pcm):
    nan = np.full((1, 8), np.nan, np.float32)
    monkeypatch.setattr(TorchSession, "embed", lambda *_: nan)
    with pytest.raises(AudioError, match="array: its embedding is NaN or Inf"):
        p((pcm[0], pcm[1]))


def test_no_gpu_is_said_once_and_the_cpu_runs(model, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        built = pipeline("speaker-verification", model=model, ngpu=1)
    assert [record.message for record in caplog.records] == ["no GPU here: running on the CPU"]
    assert built.embedder.device.type == "cpu"


def test_a_gpu_is_taken_where_there_is_one_unless_ngpu_is_0(model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices = []
    monkeypatch.setattr(Extractor, "of_bundle", lambda _, device, *__: devices.append(device))
    pipeline(model=model)
    pipeline(model=model, ngpu=0)
    assert devices == ["cuda", "cpu"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"task": "speaker-diarization"}, "this pipeline does 'speaker-verification'"),
        ({"ngpu": 2}, "ngpu is 2, not 0 or 1"),
        ({"batch_size": 0}, "batch_size is 0, 1 is the least"),
        ({"sv_threshold": 1.5}, "the threshold 1.5 is no cosine"),
        ({"model": "no/where/at/all"}, "no such file or folder"),
    ],
)
def test_wrong_settings(model, arguments, said):
    with pytest.raises(SpeakerLabError, match=said):
        pipeline(**{"model": model, "ngpu": 0, **arguments})


def test_a_model_without_a_threshold_decides_nothing(model, pcm):
    pair = (pcm[0], pcm[1])
    result = pipeline(model=model, ngpu=0)(pair)
    assert (result["label"], result["text"], result["scores"]) == ("Uncertain", "uncertain", [0.0, 0.0])
    assert (result["threshold"], result["threshold_origin"], result["llr"]) == (None, "none", None)
    assert result["reasons"][-1] == "this model has no threshold; calibrate it or give one"
    embeddings = [pipeline(model=model, ngpu=0)(one)["spk_embedding"] for one in pair]
    assert result["cosine"] == pytest.approx(cosine_of(*embeddings), abs=1e-5)
    given = pipeline(model=model, ngpu=0)(pair, thr=-1.0)
    assert (given["label"], given["threshold_origin"], given["reasons"]) == ("Same", "given", [])


def test_the_threshold_of_the_publisher(model, pcm):
    published = dataclasses.replace(model, card={**model.card, "threshold": 0.31})
    result = pipeline(model=published, ngpu=0)((pcm[0], pcm[1]))
    assert (result["threshold"], result["threshold_origin"], result["llr"]) == (0.31, "published", None)


def test_a_calibrated_model_decides_at_its_threshold_and_gives_the_llr(model, pcm, tmp_path):
    shutil.copytree(model.path, tmp_path / "m")
    # equal prior and costs: the Bayes threshold is 0, reached at a cosine of 0.25
    point = OperatingPoint(p_target=0.5, c_miss=1, c_fa=1)
    bundle.calibrate(tmp_path / "m", Calibration(8.0, -2.0, "even", point, 0.5, "a list", 10, 10))
    calibrated = pipeline(model=tmp_path / "m", ngpu=0)
    result = calibrated((pcm[0], pcm[1]))
    assert (result["threshold"], result["threshold_origin"]) == (0.25, "calibrated")
    assert result["llr"] == pytest.approx(8 * result["cosine"] - 2)
    assert (result["label"] == "Same") == (result["llr"] >= 0)
    result = calibrated((pcm[0], pcm[1]), thr=0.4)
    assert (result["threshold"], result["threshold_origin"]) == (0.4, "given")
    assert result["llr"] == pytest.approx(8 * result["cosine"] - 2)


def test_nothing_is_kept_from_call_to_call(p, folder, tmp_path):
    pair = (folder / "a.wav", folder / "c.wav")
    before = p(pair)
    outcome = p(pair, thr=-0.9, output_emb=True, output_dir=tmp_path / "out", save_dir=tmp_path / "npy")
    first = dict(outcome["outputs"])
    (tmp_path / "out" / "score.txt").unlink()
    assert p(pair) == before
    assert outcome["outputs"] == first
    assert not (tmp_path / "out" / "score.txt").exists()


# --- ModelScope's form


def test_the_form_of_modelscope(p, folder, expected, tmp_path):
    pair = [str(folder / "a.wav"), str(folder / "c.wav")]
    result = p(pair, thr=-1, output_emb=True, save_dir=str(tmp_path / "npy"))
    assert set(result) == {"outputs", "embs"}
    assert result["outputs"]["text"] == "yes"
    assert result["outputs"]["score"] == round(cosine_of(expected[0], expected[2]), 5)
    assert result["embs"].shape == (2, 8)
    np.testing.assert_allclose(result["embs"], [expected[0], expected[2]], atol=1e-5)
    for name, embedding in (("a.npy", expected[0]), ("c.npy", expected[2])):
        saved = np.load(tmp_path / "npy" / name)
        assert saved.dtype == np.float32
        np.testing.assert_allclose(saved, embedding, atol=1e-5)
    assert p(pair, thr=1)["text"] == "no"
    assert p(pair, thr=0)["threshold"] == 0
    three = p([*pair, pair[0]], output_emb=True)
    assert three["outputs"]["text"] == "No similarity score output"
    assert three["embs"].shape == (3, 8)
    with pytest.raises(SpeakerLabError, match="no cosine"):
        p(pair, thr=2)


def test_two_files_of_one_name_are_not_saved_over_each_other(p, folder, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.wav").write_bytes((folder / "c.wav").read_bytes())
    with pytest.raises(DataError, match=r"would both be a\.npy"):
        p([folder / "a.wav", tmp_path / "d" / "a.wav"], save_dir=tmp_path / "npy")
    assert not (tmp_path / "npy").exists()


# --- files


def vectors(scp):
    """Embeddings as an independent reader finds them."""
    return dict(kaldiio.load_scp(str(scp)).items())


def test_files_of_an_extraction(p, folder, expected, tmp_path):
    p(folder / "wav.scp", output_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["xvector.ark", "xvector.scp"]
    found = vectors(tmp_path / "xvector.scp")
    np.testing.assert_allclose(found["u2"], expected[1], atol=1e-5)
    assert (tmp_path / "xvector.ark").read_bytes().startswith(b"u1 \0BFV \4\x08\0\0\0")


def test_files_of_a_comparison_and_of_the_call_after_it(model, folder, expected, tmp_path):
    p = pipeline(model=model, ngpu=0, sv_threshold=0.2, output_dir=tmp_path)
    result = p((folder / "wav.scp", folder / "turned"))
    lines = [f"{key} {found['scores'][0]:.6f}\n" for key, found in result.items()]
    assert (tmp_path / "score.txt").read_text() == "".join(lines)
    np.testing.assert_allclose(vectors(tmp_path / "xvector.scp")["u1"], expected[0], atol=1e-5)
    np.testing.assert_allclose(vectors(tmp_path / "ref_xvector.scp")["u1"], expected[1], atol=1e-5)
    p(folder / "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["xvector.ark", "xvector.scp"]
    assert list(FeatureTable(tmp_path / "xvector.scp")) == ["test1"]


@pytest.mark.parametrize("extra", ["u3 c.wav\n", ""])
def test_lists_of_other_keys_are_refused_before_anything_is_written(p, folder, tmp_path, extra):
    (folder / "other").write_text("u1 a.wav\n" + extra)
    with pytest.raises(DataError, match="1 only in the first, such as u2") as caught:
        p((folder / "wav.scp", folder / "other"), output_dir=tmp_path / "out")
    assert ("1 only in the second, such as u3" in str(caught.value)) == bool(extra)
    assert not (tmp_path / "out").exists()


def test_one_bad_file_does_not_lose_the_list(p, folder, expected, tmp_path):
    (tmp_path / "broken.wav").write_bytes((folder / "a.wav").read_bytes()[:5000])
    (tmp_path / "list").write_text(f"u1 {folder}/a.wav\nu2 {tmp_path}/broken.wav\nu3 {tmp_path}/none.wav\n")
    result = p(tmp_path / "list", output_dir=tmp_path / "out")
    np.testing.assert_allclose(result["u1"]["spk_embedding"], expected[0], atol=1e-5)
    assert result["u2"]["error"].startswith(f"u2: {tmp_path}/broken.wav: truncated")
    assert result["u3"]["error"] == f"u3: {tmp_path}/none.wav: no such file"
    assert list(vectors(tmp_path / "out" / "xvector.scp")) == ["u1"]
    failures = dict(line.split("\t") for line in (tmp_path / "out" / "failures.tsv").read_text().splitlines())
    assert failures == {
        key: found["error"].partition(": ")[2] for key, found in result.items() if key != "u1"
    }
    pairs = p((tmp_path / "list", folder / "c.wav"))
    assert [next(iter(found)) for found in pairs.values()] == ["scores", "error", "error"]
    with pytest.raises(AudioError, match="truncated"):
        p(tmp_path / "list", output_emb=True)
    (tmp_path / "none").write_text(f"u3 {tmp_path}/none.wav\n")
    with pytest.raises(DataError, match="no recording can be used; the first: u3: .*none.wav: no such file"):
        p(tmp_path / "none", output_dir=tmp_path / "out")
    assert list(vectors(tmp_path / "out" / "xvector.scp")) == ["u1"]


# --- no decision without speech


def test_silence_noise_and_scraps_are_uncertain(p, pcm, folder, tmp_path):
    speech = pcm[0].astype(np.float32) / 32768
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    clipped = np.clip(speech * 50, -1, 1)
    cases = {
        "silence": np.zeros(3 * RATE, np.float32),
        "no speech found": noise,
        "0.50 s long": speech[RATE : 3 * RATE // 2],
        "clipped": clipped,
    }
    for reason, samples in cases.items():
        result = p((speech, samples), thr=-1, output_dir=tmp_path)
        assert (result["label"], result["text"], result["scores"]) == ("Uncertain", "uncertain", [0.0, 0.0])
        assert all(why.startswith("second recording: ") for why in result["reasons"])
        assert any(reason in why for why in result["reasons"])
        assert -1 <= result["cosine"] <= 1
        assert (tmp_path / "score.txt").read_text() == "test1 0.000000\n"
        assert (tmp_path / "uncertain.tsv").read_text() == f"test1\t{'; '.join(result['reasons'])}\n"
        assert reason in p(samples)["reasons"][0]
    p((speech, folder / "c.wav"), output_dir=tmp_path)
    assert not (tmp_path / "uncertain.tsv").exists()


def test_embeddings_of_silence_are_flagged_in_the_files(p, pcm, tmp_path):
    silence = np.zeros(3 * RATE, np.float32)
    result = p([pcm[0], silence, pcm[1]], output_dir=tmp_path)
    assert [bool(one["reasons"]) for one in result] == [False, True, False]
    key = list(vectors(tmp_path / "xvector.scp"))[1]
    assert (tmp_path / "uncertain.tsv").read_text() == f"{key}\t{result[1]['reasons'][0]}\n"
    assert "silence" in result[1]["reasons"][0]
    p([pcm[0]], output_dir=tmp_path)
    assert not (tmp_path / "uncertain.tsv").exists()


def test_a_recording_against_itself_is_the_same(p, folder):
    result = p((folder / "a.wav", folder / "a.wav"))
    assert result["cosine"] == pytest.approx(1)
    assert result["cosine"] <= 1
    assert result["scores"] == pytest.approx([1, 0])


# --- what is none of the forms, or cannot be used


@pytest.mark.parametrize(
    ("audio_in", "said"),
    [
        (None, "audio_in is a NoneType; give a URL"),
        ("", "audio_in is empty"),
        (b"", "0 bytes are neither"),
        (b"odd", "3 bytes are neither"),
        ((), "holds 0 recordings"),
        ([], "holds 0 recordings"),
        (("a.wav",) * 3, "holds 3 recordings"),
        ("UklGR" * 1000, r"UklGR\.\.\.: is no path: File name too long"),
        ("ftp://somewhere/a.wav", "ftp is not one of http, https, file"),
        ("nowhere.wav", r"test1: nowhere\.wav: no such file"),
        ("/", "is a folder; give a recording or a wav.scp"),
        ("feats.scp,speech,npy", "type 'npy' is not one of sound, kaldi_ark"),
        ("nowhere.scp,speech,kaldi_ark", r"nowhere\.scp: cannot be read"),
        (np.zeros((2, RATE), np.float32), "transpose it"),
        (np.zeros((2, 2, 2), np.float32), r"an array \(2, 2, 2\)"),
        (np.zeros(0, np.float32), r"an array \(0,\)"),
        (np.zeros(RATE, np.int64), "an array of int64"),
        (np.full(RATE, np.nan, np.float32), "NaN or Inf"),
        (1000 * np.ones(RATE, np.float32), "samples reach 1000 where full scale is 1"),
        (np.ones(300, np.float32), "18.8 ms is too short"),
        (np.ones(400, np.float32), "1 frames of speech, the model needs"),
    ],
)
def test_what_cannot_be_used(p, audio_in, said):
    with pytest.raises(SpeakerLabError, match=said) as caught:
        p(audio_in)
    assert "\n" not in str(caught.value)


def test_a_list_in_a_list_and_text_that_is_no_list(p, folder, tmp_path):
    with pytest.raises(SpeakerLabError, match="is a list of recordings inside a list"):
        p([folder / "a.wav", folder / "wav.scp", folder / "a.wav"])
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(DataError, match=r"notes\.txt:1: 'hello' stands alone"):
        p(tmp_path / "notes.txt")
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="the file is empty"):
        p(tmp_path / "empty.wav")


def test_features_of_another_size(p, tmp_path):
    with ArkWriter(tmp_path / "f.ark", tmp_path / "f.scp") as writer:
        writer.write("u1", np.ones((200, 40), np.float32))
        writer.write("u2", np.ones(80, np.float32))
        writer.write("u3", np.full((200, 80), np.nan, np.float32))
    result = p(f"{tmp_path}/f.scp,speech,kaldi_ark")
    assert "f.scp u1: features are (200, 40), the model needs [T, 80]" in result["u1"]["error"]
    assert "features of shape (80,)" in result["u2"]["error"]
    assert "NaN or Inf features" in result["u3"]["error"]


# --- URLs


def test_url_faults_are_named(p, server, folder, monkeypatch):
    with pytest.raises(AudioError, match="the server says 404"):
        p(f"{server}/none.wav")
    with pytest.raises(AudioError, match=r"http.*wav\.scp: damaged or not audio"):
        p(f"{server}/wav.scp")
    with pytest.raises(AudioError, match="cannot be fetched"):
        p("http://127.0.0.1:1/a.wav")
    with pytest.raises(AudioError, match=r"/none/at/all\.wav: no such file"):
        p("file:///none/at/all.wav")


def test_a_server_that_says_nothing_is_left_after_the_time_limit(p, monkeypatch):
    monkeypatch.setattr(download, "SILENCE_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(AudioError, match=r"no answer within 0\.2 s|timed out"),
    ):
        p(f"http://127.0.0.1:{silent.getsockname()[1]}/a.wav")


def test_a_transfer_that_breaks_off_is_not_taken_for_the_file(p, folder):
    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = (folder / "a.wav").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        with pytest.raises(AudioError, match="cannot be fetched"):
            p(f"http://127.0.0.1:{running.server_port}/a.wav")
        running.shutdown()


def test_a_comma_in_a_file_name(p, folder, tmp_path):
    path = tmp_path / "a,b,c.wav"
    path.write_bytes((folder / "a.wav").read_bytes())
    assert p(str(path))["audio"]["origin"] == str(path)


def test_content_decides_not_the_suffix(p, folder, expected, tmp_path):
    (tmp_path / "list.wav").write_text(f"u1 {folder}/a.wav\n")
    (tmp_path / "audio.scp").write_bytes((folder / "a.wav").read_bytes())
    assert list(p(tmp_path / "list.wav")) == ["u1"]
    np.testing.assert_allclose(p(tmp_path / "audio.scp")["spk_embedding"], expected[0], atol=1e-5)


def test_paths_are_found_from_the_working_directory(p, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    (tmp_path / "wav.scp.01").write_text("u1 a.wav\n")
    assert "spk_embedding" in p(tmp_path / "wav.scp.01")["u1"]
    assert Path("a.wav").exists()


def test_an_mp3_in_bytes_is_one_and_samples_that_begin_like_one_are_not(p, pcm, tmp_path):
    data = file_bytes(pcm[0], "MP3")
    assert data[0] == 0xFF  # libsndfile writes no ID3
    (tmp_path / "a.mp3").write_bytes(data)
    np.testing.assert_array_equal(p(data)["spk_embedding"], p(tmp_path / "a.mp3")["spk_embedding"])
    samples = np.concatenate([np.frombuffer(data[:4], np.int16), pcm[0]])
    assert p(samples.tobytes())["audio"]["duration_s"] == len(samples) / RATE


@pytest.mark.parametrize("data", [b"\0\0\0\x18ftypM4A ", b"\x1aE\xdf\xa3"])
def test_audio_that_cannot_be_read_is_not_taken_for_samples(p, pcm, data):
    with pytest.raises(AudioError, match="damaged"):
        p(data + pcm[0].tobytes())


def test_the_channel_taken_is_said(p, pcm, caplog):
    stereo = np.stack([one[: 2 * RATE] for one in pcm[:2]], axis=1)
    pipeline_embedding._say_channel.cache_clear()
    with caplog.at_level(logging.INFO):
        p((stereo, stereo), channel=1)
    assert [record.message for record in caplog.records] == [
        "of recordings with several channels, channel 1 (from 0) is listened to"
    ]


def test_what_cannot_be_used_is_named_by_its_path(p, tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav: NaN or Inf samples"):
        p((tmp_path / "nan.wav", tmp_path / "nan.wav"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"audio_in": "a\0b"}, "is no path"),
        ({"audio_in": b"\0\0" * RATE, "sample_rate": 1}, "sample_rate is 1 Hz; 1000 is the least"),
        ({"audio_in": b"\0\0" * RATE, "channel": -1}, "channel is -1; channels count from 0"),
    ],
)
def test_arguments_that_mean_nothing(p, arguments, said):
    with pytest.raises(SpeakerLabError, match=said):
        p(**arguments)


def test_a_folder_that_cannot_be_written_is_said(p, pcm, tmp_path):
    (tmp_path / "file").touch()
    for options in ({"output_dir": tmp_path / "file"}, {"output_dir": tmp_path / "file" / "x"}):
        with pytest.raises(DataError, match="file.*: cannot be written: "):
            p(pcm[0], **options)
    soundfile.write(tmp_path / "a.wav", pcm[0], RATE)
    with pytest.raises(DataError, match=r"a\.npy: cannot be written: "):
        p(tmp_path / "a.wav", save_dir=tmp_path / "file" / "x")
