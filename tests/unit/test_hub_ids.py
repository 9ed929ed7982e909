"""Model ids: which client is asked for what, once; the cache first; clear words when there is nothing."""

import http.server
import json
import sys
import threading
import types

import pytest
import torch

from speakerlab import registry
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.hub import model_ids
from speakerlab.hub.load import load_model


class Hub:
    """A client: ``snapshot_download`` with a cache and a remote, which can be out of reach."""

    def __init__(self, folder, files):
        self.folder, self.files = folder, files
        self.online = True
        self.calls = []

    def snapshot_download(self, model_id, revision=None, *, local_files_only=False):
        self.calls.append((model_id, revision, local_files_only))
        if local_files_only:
            if not self.folder.exists():
                raise ValueError("not in the cache,\nnor near it")
            return str(self.folder)
        if not self.online:
            raise ConnectionError("no route")
        self.folder.mkdir(exist_ok=True)
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)
        return str(self.folder)


@pytest.fixture
def files(tmp_path):
    cls = registry.get("model", "xvector")
    torch.save(cls(cls.Config(), feat_dim=80).state_dict(), tmp_path / "w")
    section = {"type": "tdnn-sv", "model_config": {}, "pretrained_model": "tdnn.pt", "yesOrno_thr": 0.4}
    card = json.dumps({"model": section}).encode()
    return {"configuration.json": card, "tdnn.pt": (tmp_path / "w").read_bytes()}


@pytest.fixture
def modelscope(tmp_path, files, monkeypatch):
    hub = Hub(tmp_path / "cache", files)
    module = types.ModuleType("modelscope.hub.snapshot_download")
    module.snapshot_download = hub.snapshot_download
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(model_ids, "_answers", lambda _: True)
    return hub


@pytest.fixture
def hugging_face(tmp_path, files, monkeypatch):
    hub = Hub(tmp_path / "cache", files)
    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = hub.snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return hub


TDNN = "iic/speech_tdnn_sv_en_voxceleb_16k"


def test_downloaded_once_then_found_offline(modelscope):
    assert load_model(TDNN).card["threshold"] == 0.4
    assert modelscope.calls == [(TDNN, None, True), (TDNN, None, False)]
    modelscope.online = False
    modelscope.calls.clear()
    assert load_model(TDNN).card["threshold"] == 0.4
    assert modelscope.calls == [(TDNN, None, True)]


def test_an_interrupted_download_is_completed(modelscope, files):
    modelscope.folder.mkdir()
    (modelscope.folder / "configuration.json").write_bytes(files["configuration.json"])
    load_model(TDNN)
    assert modelscope.calls[-1] == (TDNN, None, False)


def test_the_former_owner_and_the_tested_revision(modelscope):
    loaded = load_model("damo/speech_campplus_sv_en_voxceleb_16k")
    assert loaded.card["provenance"] == {
        "source": "iic/speech_campplus_sv_en_voxceleb_16k", "revision": "v1.0.2", "format": "modelscope",
    }  # fmt: skip
    assert modelscope.calls[0] == ("iic/speech_campplus_sv_en_voxceleb_16k", "v1.0.2", True)
    assert model_ids.resolve("iic/speech_unknown") == ("iic/speech_unknown", None)


def test_out_of_reach(modelscope):
    modelscope.online = False
    with pytest.raises(DataError) as error:
        load_model("iic/speech_campplus_sv_zh-cn_16k-comon")
    text = str(error.value)
    assert "cannot be downloaded (ConnectionError: no route)" in text
    assert "did you mean 'iic/speech_campplus_sv_zh-cn_16k-common'" in text
    assert "\n" not in text


def test_a_hub_that_does_not_answer_is_not_waited_for(modelscope, monkeypatch):
    monkeypatch.setattr(model_ids, "_answers", lambda _: False)
    with pytest.raises(
        DataError, match=r"cannot be downloaded \(https://www.modelscope.cn does not answer\)"
    ):
        load_model(TDNN)
    assert modelscope.calls == [(TDNN, None, True)]


def test_whether_a_server_answers():
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert model_ids._answers(url)
    assert not model_ids._answers(url)


def test_models_of_the_hugging_face_hub_are_named_as_such(hugging_face):
    load_model("hf:someone/some-tdnn")
    assert hugging_face.calls == [("someone/some-tdnn", None, True), ("someone/some-tdnn", None, False)]


def test_clients_that_are_not_installed(monkeypatch):
    for name in ("modelscope", "modelscope.hub", "modelscope.hub.snapshot_download", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"modelscope is not installed; .*requirements/hub\.txt"):
        load_model(TDNN)
    with pytest.raises(MissingExtraError, match=r"huggingface_hub is not installed; .*requirements/hub\.txt"):
        load_model("hf:someone/model")


def test_a_mistyped_path_is_not_looked_for_at_a_hub(hugging_face, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp" / "model").mkdir(parents=True)
    with pytest.raises(DataError) as error:
        load_model("exp/modle")
    text = str(error.value)
    assert text.startswith("exp/modle: no such file or folder; did you mean exp/model? ")
    assert "hf:OWNER/NAME of Hugging Face" in text
    assert "\n" not in text
    assert not hugging_face.calls


def test_a_folder_is_no_id(modelscope, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iic" / "model").mkdir(parents=True)
    with pytest.raises(DataError, match="is not a bundle"):
        load_model("iic/model")
    assert not modelscope.calls


@pytest.mark.parametrize(
    "source",
    [
        "model",
        "a/b/c",
        "/a/b",
        "./b",
        "../b",
        "a/",
        "a b/c",
        "~/x",
        "a/..",
        "owner/name",
        "hf:name",
        "hf:a/b/c",
        "iic/",
        "iic/../x",
    ],
)
def test_what_has_not_the_form_of_an_id(source):
    assert not model_ids.is_id(source)
    with pytest.raises(DataError, match="no such file or folder; |is not a bundle"):
        load_model(source)


def test_the_table_of_ids():
    assert len(model_ids.REVISIONS) == 28
    assert all(model_ids.is_id(name) for name in model_ids.REVISIONS)
    assert model_ids.REVISIONS["iic/speech_eres2netv2w24s4ep4_sv_zh-cn_16k-common"] == "v1.0.1"
