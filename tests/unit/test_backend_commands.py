"""train_backend, adapt_backend and convert_backend, and their steps, on small files."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speakerlab.backend.chain import Backend
from speakerlab.bin import adapt_backend, convert_backend, train_backend
from speakerlab.errors import DataError
from speakerlab.io import kaldi_plda
from speakerlab.io.ark import ArkWriter, read_array, read_embeddings

ROOT = Path(__file__).parents[2]
DIM, NUM_SPEAKERS, NUM_UTTS = 8, 20, 5


def run(command, *arguments):
    """The lines that the command prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        command.main(command.options().parse_args([str(a) for a in arguments]))
    return stdout.getvalue().splitlines()


def step(name, *arguments):
    """Exit status, stdout and stderr of a step."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", f"steps/{name}.sh", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def corpus(tmp_path):
    """Embeddings of twenty speakers in ``train``, others in ``domain``; utt2spk of both."""
    for name, seed in (("train", 0), ("domain", 1)):
        rng = np.random.default_rng(seed)
        (tmp_path / name).mkdir()
        scp = tmp_path / name / "embeddings.scp"
        lines = []
        with ArkWriter(scp.with_suffix(".ark"), scp) as writer:
            for speaker in range(NUM_SPEAKERS):
                centre = seed + rng.normal(size=DIM)
                for utt in range(NUM_UTTS):
                    writer.write(f"s{speaker:02d}-{utt}", centre + 0.5 * rng.normal(size=DIM))
                    lines.append(f"s{speaker:02d}-{utt} s{speaker:02d}\n")
        (tmp_path / f"utt2spk.{name}").write_text("".join(lines))
    return tmp_path


def train(corpus, *options):
    out = corpus / "backend.json"
    options = ("--utt2spk", corpus / "utt2spk.train", *options)
    return run(train_backend, *options, corpus / "train" / "embeddings.scp", out)[0]


def test_the_default_is_mean_and_cosine(corpus):
    out = run(train_backend, corpus / "train" / "embeddings.scp", corpus / "backend.json")
    said = "mean subtracted, length normalised, cosine; trained on 100 embeddings of size 8"
    assert out == [f"{corpus}/backend.json: {said}"]


def test_plda_is_trained_and_adapted(corpus):
    said = train(corpus, "--lda-dim", 5, "--scorer", "plda", "--plda-rank", 3)
    plda = "mean subtracted, LDA to 5, length normalised, PLDA (simplified, speaker subspace of 3"
    assert said == f"{corpus}/backend.json: {plda}); trained on 100 embeddings of size 8 of 20 speakers"
    domain = corpus / "domain" / "embeddings.scp"
    out = run(adapt_backend, "--method", "coral+", corpus / "backend.json", domain, corpus / "adapted.json")
    assert out[0].startswith(f"{corpus}/adapted.json: {plda}, CORAL+); trained on 100 embeddings")
    assert out[0].endswith("; adapted (coral+) to 100 embeddings of size 8")
    assert Backend.load(corpus / "adapted.json").describe() == f"{plda}, CORAL+)"


def test_the_steps_do_what_the_commands_do(corpus):
    train(corpus, "--whiten", "pca", "--wccn", "--scorer", "plda")
    options = ("--utt2spk", corpus / "utt2spk.train", "--whiten", "pca", "--wccn", "true", "--scorer", "plda")
    status, out, err = step("train_backend", *options, corpus / "train", corpus / "step.json")
    assert (status, err) == (0, "")
    assert out.startswith(
        f"{corpus}/step.json: mean subtracted, whitened (PCA), WCCN, length normalised, PLDA"
    )
    assert (corpus / "step.json").read_bytes() == (corpus / "backend.json").read_bytes()
    options = ("--method", "interpolation", "--weight", 0.3, "--utt2spk", corpus / "utt2spk.domain")
    run(
        adapt_backend, *options, corpus / "step.json", corpus / "domain" / "embeddings.scp", corpus / "a.json"
    )
    status, out, err = step(
        "adapt_backend", *options, corpus / "step.json", corpus / "domain", corpus / "b.json"
    )
    assert (status, err) == (0, "")
    assert "interpolated by 0.3" in out
    assert (corpus / "a.json").read_bytes() == (corpus / "b.json").read_bytes()


def test_a_fault_is_one_line_and_leaves_no_file(corpus):
    lines = (corpus / "utt2spk.train").read_text().splitlines(keepends=True)
    (corpus / "utt2spk.train").write_text("".join(lines[2:]))
    options = ("--utt2spk", corpus / "utt2spk.train", "--scorer", "plda")
    status, out, err = step("train_backend", *options, corpus / "train", corpus / "backend.json")
    assert (status, out) == (1, "")
    assert "embeddings.scp: s00-0 has no speaker in utt2spk (2 such embeddings); give" in err
    assert err.count("\n") == 1
    assert not (corpus / "backend.json").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "status", "message"),
    [
        ("train_backend", ("nowhere",), 2, "needs EMBEDDINGS_DIR OUT_FILE"),
        ("train_backend", ("nowhere", "out"), 1, "nowhere/embeddings.scp: missing or empty"),
        ("adapt_backend", ("nowhere", "a", "b"), 1, "nowhere: missing or empty; run steps/train_backend.sh"),
        ("adapt_backend", ("--method",), 2, "--method needs a value"),
    ],
)
def test_steps_refuse_what_is_missing(name, arguments, status, message):
    code, _, err = step(name, *arguments)
    assert (code, err.count("\n")) == (status, 1)
    assert message in err


def test_embeddings_with_nan_are_refused(corpus):
    with ArkWriter(corpus / "nan.ark", corpus / "nan.scp") as writer:
        writer.write("a", np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="nan.scp: a has NaN or Inf"):
        run(train_backend, corpus / "nan.scp", corpus / "backend.json")


def test_to_kaldi_and_back(corpus):
    train(corpus, "--lda-dim", 5, "--scorer", "kaldi-plda")
    out = run(convert_backend, corpus / "backend.json", corpus / "kaldi")
    assert out[0] == f"{corpus}/kaldi/plda: score with ivector-plda-scoring --normalize-length=true"
    assert read_array(corpus / "kaldi" / "transform.mat", 2).shape == (5, DIM + 1)
    files = [corpus / "kaldi" / name for name in ("mean.vec", "transform.mat", "plda")]
    options = ("--mean", files[0], "--transform", files[1])
    out = run(convert_backend, *options, files[2], corpus / "again.json")
    assert out[0].endswith("length normalised, PLDA (Kaldi, Kaldi's length normalisation inside)")
    first, again = Backend.load(corpus / "backend.json"), Backend.load(corpus / "again.json")
    table = read_embeddings(corpus / "train" / "embeddings.scp")
    np.testing.assert_allclose(again.rows(table), first.rows(table), atol=1e-12)
    assert again.scorer.psi.tolist() == first.scorer.psi.tolist()


def test_kaldis_files_alone(tmp_path):
    kaldi_plda.write(tmp_path / "plda", np.zeros(2), np.eye(2), np.ones(2))
    options = ("--length-norm", "none")
    out = run(convert_backend, *options, tmp_path / "plda", tmp_path / "backend.json")
    assert out == [f"{tmp_path}/backend.json: length normalised, PLDA (Kaldi)"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\0B<Plda> DV "])
def test_a_source_that_is_neither_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "source").write_bytes(content)
    with pytest.raises(DataError, match=r"source: (cannot be read|not a back-end file|damaged Kaldi plda)"):
        run(convert_backend, tmp_path / "source", tmp_path / "out")
