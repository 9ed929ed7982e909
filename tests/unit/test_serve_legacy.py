"""The six old routes, called as their page prints it; modes are galleries and belong to the client."""

import numpy as np
import pytest
import torch
from conftest import save_tiny
from serving import encoded, start

from speakerlab import config as config_io
from speakerlab.hub import bundle
from speakerlab.pipeline import pipeline
from speakerlab.serve.keys import KeyRing
from speakerlab.voiceprint.gates import Gates

GATES = Gates(min_speech_s=None, cohesion=False, duplicates="off")
MODES = {"all": ["ai", "morning"], "moring": ["morning"], "ai": ["ai"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


@pytest.fixture
def served(model, tmp_path, talkers):
    service, client = start(model, tmp_path, gates=GATES, legacy=MODES)
    with client:
        for gallery, name, talker in zip(MODES["all"], ("Ann", "Bob"), talkers, strict=True):
            client.put(f"/v1/galleries/{gallery}")
            params = {"name": name, "gallery": gallery}
            assert client.post("/v1/enrolments", params=params, content=encoded(talker[0])).status_code == 201
        yield service, client


def test_the_calls_of_the_page(served, talkers):
    _, client = served
    assert client.post("/InitSpeakerFeats").json() == {"label": ["Ann", "Bob"], "feats_mode": "all"}
    wave = talkers[1][1].samples.tolist()
    found = client.post("/speaker", json={"speaker": wave}).json()
    exact = client.post("/v1/identify", content=encoded(talkers[1][1], "WAV", "FLOAT")).json()
    assert found["name"] == exact["speaker"]["name"]
    assert found["score"] == f"{exact['score']:.2f}"
    told = client.post("/GetSpeakerList").json()
    assert (told["feats_mode"], told["label"]) == ("all", ["Ann", "Bob"])
    assert np.shape(told["feats"]) == (2, 8)
    assert client.post("/ModifyFeatsMode", json={"feats_mode": "ai"}).json() == {
        "label": ["Ann"], "feats_mode": "ai",
    }  # fmt: skip
    assert client.post("/speaker", json={"speaker": wave}).json()["name"] in {"Ann", ""}
    assert client.post("/ModifyFeatsMode", json={"feats_mode": "moring"}).json()["label"] == ["Bob"]
    (feats,) = client.post("/SpeakerFeats", json={"speaker": wave}).json()["feats"]
    custom = {"label": ["me", "not me"], "feats": [feats, (-np.array(feats)).tolist()]}
    assert client.post("/ModifyFeatsCustom", json=custom).json() == {
        "label": ["me", "not me"], "feats_mode": "custom",
    }  # fmt: skip
    mine = client.post("/speaker", json={"speaker": wave}).json()
    assert (mine["name"], mine["score"]) == ("me", "1.00")
    assert client.post("/InitSpeakerFeats").json()["feats_mode"] == "all"


GHOSTVLAD = {  # as in the seed, with a sixth of its channels
    "frontend": {
        "name": "spectrogram", "n_fft": 512, "edges": "zeros", "use_power": False, "use_log": False,
        "standardise_bins": True, "append_reversed": True,
    },
    "cmvn": {"mean": False},
    "model": {
        "name": "ghostvlad", "embed_dim": 64,
        "inner_channels": [8, 16, 24, 48], "out_channels": [16, 24, 48, 96],
    },
}  # fmt: skip


def test_the_network_of_the_old_server(tmp_path, talkers):
    """GhostVLAD enrols and recognises; its embeddings, 512 numbers in the seed, are those of the library."""
    config = config_io.from_mapping(bundle.EmbedderConfig, GHOSTVLAD, "test")
    torch.manual_seed(0)
    path = tmp_path / "ghostvlad"
    bundle.save(path, config.model.build(feat_dim=257), config, 257, {}, threshold=0.5)
    _, client = start(bundle.load(path), tmp_path, gates=GATES, legacy=MODES)
    with client:
        for gallery, name, talker in zip(MODES["all"], ("Ann", "Bob"), talkers, strict=True):
            client.put(f"/v1/galleries/{gallery}")
            params = {"name": name, "gallery": gallery}
            assert client.post("/v1/enrolments", params=params, content=encoded(talker[0])).status_code == 201
        wave = talkers[1][0].samples
        told = client.post("/speaker", json={"speaker": wave.tolist()})
        assert told.status_code == 200, told.text
        (feats,) = client.post("/SpeakerFeats", json={"speaker": wave.tolist()}).json()["feats"]
    expected = pipeline(model=bundle.load(path), ngpu=0)(wave)["spk_embedding"]
    np.testing.assert_allclose(
        np.array(feats) / np.linalg.norm(feats), expected / np.linalg.norm(expected), atol=1e-5
    )
    assert (np.array(feats) >= 0).all()  # its last layer is a rectifier
    assert (told.json()["name"], told.json()["score"]) == ("Bob", "1.00")


def test_a_new_mode_needs_no_code_and_an_unknown_one_is_refused(served):
    _, client = served
    answer = client.post("/ModifyFeatsMode", json={"feats_mode": "none"})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert "all, moring, ai" in answer.json()["message"]


def test_nobody_is_no_name(served, talkers):
    _, client = served
    client.post("/ModifyFeatsMode", json={"feats_mode": "ai"})
    found = client.post("/speaker", json={"speaker": [0.001, -0.001] * 16000}).json()
    assert (found["name"], found["accepted"]) == ("", False)
    assert found["reasons"] == ["no speech found"]


@pytest.mark.parametrize("body", [
    {}, {"speaker": []}, {"speaker": "x"}, {"speaker": [[0.1]]}, {"speaker": [None] * 100},
    {"speaker": [1e300] * 20000}, {"speaker": [0.1] * 100}, {"speaker": [5.0] * 20000},
])  # fmt: skip
def test_waveforms_that_are_none(served, body):
    answer = served[1].post("/speaker", json=body)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["message"]


@pytest.mark.parametrize("body", [
    {"label": ["a"], "feats": []}, {"label": ["a"], "feats": [[1.0]]}, {"label": ["a"], "feats": [[0.0] * 8]},
    {"label": ["a", "b"], "feats": [[1.0] * 8]}, {"label": ["a"], "feats": [[1e200] * 8]},
])  # fmt: skip
def test_vectors_that_are_none(served, body):
    assert served[1].post("/ModifyFeatsCustom", json=body).status_code == 422


def test_a_mode_belongs_to_the_key_and_vectors_to_its_scope(model, tmp_path, talkers):
    ring = KeyRing(tmp_path / "keys.json")
    tokens = [ring.add(name, scopes) for name, scopes in (
        ("one", {"read"}), ("two", {"read", "vectors"}), ("boss", {"admin"}),
    )]  # fmt: skip
    one, two, boss = ({"authorization": f"Bearer {token}"} for token in tokens)
    _, client = start(model, tmp_path, gates=GATES, legacy=MODES)
    with client:
        for gallery, name, talker in zip(MODES["all"], ("Ann", "Bob"), talkers, strict=True):
            client.put(f"/v1/galleries/{gallery}", headers=boss)
            params = {"name": name, "gallery": gallery}
            client.post("/v1/enrolments", params=params, content=encoded(talker[0]), headers=boss)
        assert client.post("/ModifyFeatsMode", json={"feats_mode": "ai"}, headers=one).json()["label"] == [
            "Ann"
        ]
        told = client.post("/GetSpeakerList", headers=two).json()
        assert (told["label"], len(told["feats"])) == (["Ann", "Bob"], 2)
        told = client.post("/GetSpeakerList", headers=one).json()
        assert (told["label"], told["feats"]) == (["Ann"], [])
        wave = {"speaker": talkers[0][0].samples.tolist()}
        assert client.post("/SpeakerFeats", json=wave, headers=one).status_code == 403
        assert client.post("/SpeakerFeats", json=wave, headers=two).status_code == 200
        assert client.post("/GetSpeakerList").status_code == 401


def test_without_the_option_they_are_not_there(model, tmp_path):
    _, client = start(model, tmp_path)
    with client:
        assert client.post("/GetSpeakerList").status_code == 404
