"""Export to ONNX: what is published computes what the network does and says all of itself."""

import copy
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from speakerlab import cli
from speakerlab import config as config_io
from speakerlab.errors import MissingExtraError, SpeakerLabError
from speakerlab.hub import bundle, onnx_check, onnx_export, onnx_file
from speakerlab.hub.calibration import Calibration
from speakerlab.metrics.operating_points import OperatingPoint

SETTINGS = {
    "frontend": {"name": "fbank", "num_mels": 80, "scale": 1.0},
    "model": {"name": "tdnn", "channels": [8, 8, 8, 8, 16], "embed_dim": 4},
}


def save(path, settings=SETTINGS, threshold=None):
    config = config_io.from_mapping(bundle.EmbedderConfig, settings, "test")
    torch.manual_seed(0)
    feat_dim = config.frontend.build().dim
    bundle.save(path, config.model.build(feat_dim=feat_dim), config, feat_dim, {"source": "here"}, threshold)
    return bundle.load(path)


@pytest.fixture
def saved(tmp_path):
    return save(tmp_path / "m", threshold=0.31)


@pytest.fixture
def speakerlab(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["speakerlab", *map(str, arguments)])
        cli.main()

    return run


def refused(capsys, run, *arguments, code=1):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == code
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_the_graph_is_the_network_at_any_size_and_names_itself(saved, tmp_path, speakerlab):
    speakerlab("export", saved.path, tmp_path / "out.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    (feature,), (embedding,) = session.get_inputs(), session.get_outputs()
    assert (feature.name, feature.shape[2], embedding.name) == ("feature", 80, "embedding")
    assert all(isinstance(axis, str) for axis in (*feature.shape[:2], embedding.shape[0]))
    for batch, frames in ((1, saved.model.min_frames), (4, 61), (2, 777)):
        feats = torch.randn(batch, frames, 80)
        (found,) = session.run(None, {"feature": feats.numpy()})
        np.testing.assert_allclose(found, saved.model(feats).detach().numpy(), atol=1e-5)
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta["frontend"]) == {"name": "fbank", **vars(saved.config.frontend.config)}
    assert json.loads(meta["cmvn"]) == vars(saved.config.cmvn)
    assert meta["content_hash"] == saved.content_hash
    assert (meta["sample_rate"], meta["embed_dim"], meta["threshold"]) == ("16000", "4", "0.31")
    assert (meta["framework"], meta["output_dim"], meta["normalize_samples"]) == ("3d-speaker", "4", "1")
    assert meta["feature_normalize_type"] == "global-mean"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "out.onnx"]


def test_a_graph_that_differs_is_not_published(saved, tmp_path, speakerlab, capsys, monkeypatch):
    export = onnx_export.export

    def wrong(model, feat_dim, path):
        other = copy.deepcopy(model)
        with torch.no_grad():
            next(other.parameters()).add_(0.1)
        export(other, feat_dim, path)

    monkeypatch.setattr(onnx_export, "export", wrong)
    (tmp_path / "out.onnx").write_text("before")
    said = refused(capsys, speakerlab, "export", saved.path, tmp_path / "out.onnx", "--overwrite")
    assert "differs from the network by" in said
    assert (tmp_path / "out.onnx").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "out.onnx"]


def test_a_graph_that_is_wrong_at_one_length_is_found(saved, tmp_path):
    class WrongAt200(torch.nn.Module):
        min_frames = saved.model.min_frames

        def forward(self, feats):
            return saved.model(feats) + 0.1 * float(feats.shape[1] == 200)

    onnx_export.export(saved.model, 80, tmp_path / "out.onnx")
    with pytest.raises(SpeakerLabError, match=r"input of \(\d, 200, 80\)"):
        onnx_check.check(tmp_path / "out.onnx", WrongAt200(), onnx_check.feature_inputs(saved.model, 80))


def test_an_existing_file_stays_unless_overwriting_is_asked_for(saved, tmp_path, speakerlab, capsys):
    out = tmp_path / "out.onnx"
    out.write_text("before")
    assert "out.onnx: exists; add --overwrite" in refused(capsys, speakerlab, "export", saved.path, out)
    assert out.read_text() == "before"
    speakerlab("export", saved.path, out, "--overwrite")
    onnx.checker.check_model(onnx.load(out))


def test_what_cannot_be_written_or_read_is_one_line(saved, tmp_path, speakerlab, capsys, monkeypatch):
    assert "is a folder" in refused(capsys, speakerlab, "export", saved.path, tmp_path)
    (tmp_path / "file").touch()
    said = refused(capsys, speakerlab, "export", saved.path, tmp_path / "file" / "out.onnx")
    assert "out.onnx: cannot be written" in said
    said = refused(capsys, speakerlab, "export", tmp_path / "none", tmp_path / "out.onnx")
    assert "no such file or folder" in said
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "requirements/onnx.txt" in refused(capsys, speakerlab, "export", saved.path, tmp_path / "out.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnxruntime"):
        onnx_file.runtime()


def test_export_says_itself_in_json(saved, tmp_path, speakerlab, capsys):
    speakerlab("export", saved.path, tmp_path / "out.onnx", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["content_hash"]) == (str(tmp_path / "out.onnx"), saved.content_hash)
    assert float(said["relative_error"]) < 1e-3


def test_the_calibration_goes_along(saved, tmp_path, speakerlab):
    point = OperatingPoint(0.01, 1.0, 1.0)
    bundle.calibrate(saved.path, Calibration(20.0, -5.0, "sre", point, 0.5, "trials", 10, 90))
    speakerlab("export", saved.path, tmp_path / "out.onnx")
    meta = onnxruntime.InferenceSession(tmp_path / "out.onnx").get_modelmeta().custom_metadata_map
    found = json.loads(meta["calibration"])
    assert (found["scale"], found["offset"], found["point_name"]) == (20.0, -5.0, "sre")
    assert found["threshold"] == pytest.approx((np.log(99) + 5) / 20)


def test_sherpa_keys_are_left_out_where_it_cannot_run_the_model(tmp_path, speakerlab):
    save(tmp_path / "m", {**SETTINGS, "frontend": {"name": "fbank", "num_mels": 24}})
    speakerlab("export", tmp_path / "m", tmp_path / "out.onnx")
    meta = onnxruntime.InferenceSession(tmp_path / "out.onnx").get_modelmeta().custom_metadata_map
    assert meta["feat_dim"] == "24"
    assert "framework" not in meta
    assert "threshold" not in meta
