"""The loops of FunASR's document over split lists, in parallel; infer.sh, which does it all and merges."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch

from speakerlab import config as config_io
from speakerlab.embed.session import SessionConfig
from speakerlab.hub import bundle
from speakerlab.pipeline import pipeline

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs" / "modelscope" / "speaker_verification" / "campplus_zh-cn_16k-common"
NUM_UTTS = 4
SETTINGS = {"model": {"name": "tdnn", "channels": [8, 8, 8, 8, 16], "embed_dim": 4}}
LOOP = """
split -l $((`wc -l < wav.scp`/4+1)) --numeric-suffixes wav.scp splits/wav.scp.
pids=
for wav_scp in `ls splits/wav.scp.*`; do
  {visible}infer.py ${{wav_scp}} outputs/$(basename ${{wav_scp}}) &
  pids="$pids $!"
done
for pid in $pids; do wait $pid || exit 1; done
"""


@pytest.fixture
def work(tmp_path, toy_data):
    """A working directory with model, audio and wav.scp, whose paths hold from there."""
    config = config_io.from_mapping(bundle.EmbedderConfig, SETTINGS, "test")
    torch.manual_seed(0)
    bundle.save(tmp_path / "model", config.model.build(feat_dim=80), config, 80, {})
    shutil.copytree(toy_data / "test" / "audio", tmp_path / "audio")
    lines = (toy_data / "test" / "wav.scp").read_text().splitlines(keepends=True)
    (tmp_path / "wav.scp").write_text("".join(lines[:NUM_UTTS]))
    for name in ("splits", "outputs", "bin"):
        (tmp_path / name).mkdir()
    # the loop names no model: it is set in infer.py, as the document says of ngpu
    text = (RECIPE / "infer.py").read_text()
    assert 'MODEL = "iic/speech_campplus_sv_zh-cn_16k-common"' in text
    text = text.replace('MODEL = "iic/speech_campplus_sv_zh-cn_16k-common"', 'MODEL = "model"')
    text = text.replace("Path(__file__).resolve().parents[4]", f'"{ROOT}"')
    (tmp_path / "bin" / "infer.py").write_text(text)
    (tmp_path / "bin" / "infer.py").chmod(0o755)
    return tmp_path


def run(command, cwd):
    path = f"{cwd / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def vectors(scp):
    return dict(kaldiio.load_scp(str(scp)).items())


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, embedding in found.items():
        np.testing.assert_allclose(embedding, expected[key]["spk_embedding"], atol=1e-5)


@pytest.mark.parametrize("visible", ["", "CUDA_VISIBLE_DEVICES=1 "])
def test_the_loops_of_the_document(work, monkeypatch, visible):
    done = run(["bash", "-c", LOOP.format(visible=visible)], work)
    assert done.returncode == 0, done.stderr
    splits = sorted(path.name for path in (work / "splits").iterdir())
    assert splits == ["wav.scp.00", "wav.scp.01"]
    monkeypatch.chdir(work)
    found = {}
    for name in splits:
        part = vectors(work / "outputs" / name / "xvector.scp")
        assert list(part) == [line.split()[0] for line in (work / "splits" / name).read_text().splitlines()]
        found.update(part)
    same(found, pipeline(model=work / "model", ngpu=0)(work / "wav.scp"))


def test_a_bad_recording_is_said_and_loses_no_other(work):
    with (work / "wav.scp").open("a") as stream:
        stream.write("zz none.wav\n")
    done = run(["infer.py", "--ngpu", "0", "wav.scp", "outputs"], work)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert (
        last
        == f"infer: outputs: 1 of 5 have no embedding, see failures.tsv; zz: {work}/none.wav: no such file"
    )
    assert len(vectors(work / "outputs" / "xvector.scp")) == NUM_UTTS
    assert (work / "outputs" / "failures.tsv").read_text().startswith("zz\t")


def infer_sh(work, *options):
    command = [
        "bash",
        str(RECIPE.relative_to(ROOT) / "infer.sh"),
        "--gpus",
        "",
        "--model",
        str(work / "model"),
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*command, *options, str(work / "wav.scp"), str(work / "outputs")],
        cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_infer_sh_merges_what_its_jobs_did(work, monkeypatch):
    done = infer_sh(work, "--nj", "2")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(work)
    expected = pipeline(model=work / "model", ngpu=0)(work / "wav.scp")
    found = vectors(work / "outputs" / "xvector.scp")
    assert list(found) == sorted(expected)
    same(found, expected)
    (work / "wav.scp").write_text((work / "wav.scp").read_text() + "zz none.wav\n")
    done = infer_sh(work, "--nj", "1")
    assert done.returncode == 1
    assert "--overwrite true" in done.stderr
    same(vectors(work / "outputs" / "xvector.scp"), expected)  # what is refused takes nothing away
    done = infer_sh(work, "--nj", "1", "--overwrite", "true")
    assert done.returncode == 1
    assert "1 of 5 failed" in done.stderr
    assert not (work / "outputs" / "xvector.scp").exists()  # it was of another list
    done = infer_sh(work, "--nj", "1", "--max-fail-rate", "0.2")
    assert done.returncode == 0, done.stderr
    assert list(vectors(work / "outputs" / "xvector.scp")) == sorted(expected)


def test_backends_are_those_of_the_step(work, monkeypatch):
    """infer.py, infer.sh and the pipeline with ONNX Runtime; bf16 is refused there by all alike."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    monkeypatch.chdir(work)
    expected = pipeline(model=work / "model", ngpu=0)(work / "wav.scp")
    done = run(["infer.py", "--ngpu", "0", "--backend", "onnx", "wav.scp", "outputs/py"], work)
    assert done.returncode == 0, done.stderr
    same(vectors(work / "outputs" / "py" / "xvector.scp"), expected)
    assert list((work / "cache" / "speakerlab").glob("optimised-*.onnx"))
    done = infer_sh(work, "--nj", "1", "--backend", "onnx")
    assert done.returncode == 0, done.stderr
    same(vectors(work / "outputs" / "xvector.scp"), expected)
    running = SessionConfig(work / "cache" / "speakerlab", "onnx")
    found = pipeline(model=work / "model", ngpu=0, running=running)(work / "wav.scp")
    same({key: one["spk_embedding"] for key, one in found.items()}, expected)
    done = run(["infer.py", "--ngpu", "0", "--backend", "onnx", "--precision", "bf16", "wav.scp", "x"], work)
    assert (done.returncode, done.stderr) == (
        1, "infer: back-end onnx has no bf16; use --backend openvino\n"
    )  # fmt: skip
    done = infer_sh(work, "--nj", "1", "--overwrite", "true", "--backend", "onnx", "--precision", "bf16")
    assert done.returncode == 1
    assert "back-end onnx has no bf16" in done.stderr


def test_infer_sh_runs_an_exported_file(work, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    monkeypatch.chdir(work)
    files = [str(work / "model"), str(work / "m.onnx")]
    done = run([sys.executable, "-m", "speakerlab.bin.export_model", *files], ROOT)
    assert done.returncode == 0, done.stderr
    done = infer_sh(work, "--nj", "1", "--graph", str(work / "m.onnx"))
    assert done.returncode == 1
    assert "back-end torch runs no graph; use --backend onnx with --graph" in done.stderr
    done = infer_sh(work, "--nj", "1", "--graph", str(work / "m.onnx"), "--backend", "onnx")
    assert done.returncode == 0, done.stderr
    same(vectors(work / "outputs" / "xvector.scp"), pipeline(model=work / "model", ngpu=0)(work / "wav.scp"))


def test_infer_sh_explains_itself():
    done = subprocess.run(
        ["bash", str(RECIPE / "infer.sh"), "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert "Example: " in done.stdout
    assert "--nj" in done.stdout


def test_a_list_that_is_none(work):
    (work / "wav.scp").write_text("alone\n")
    done = infer_sh(work)
    assert done.returncode == 1
    assert "wav.scp:1: 'alone' stands alone on its line" in done.stderr
