"""train_calibration, calibrate_scores, calibrate_model, measure_quality and their steps on small files."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from speakerlab import config as config_io
from speakerlab.bin import (
    calibrate_model,
    calibrate_scores,
    convert_model,
    measure_quality,
    score_trials,
    train_calibration,
)
from speakerlab.data.tables import read_numbers, read_trials
from speakerlab.errors import DataError
from speakerlab.hub import bundle
from speakerlab.hub.load import load_model
from speakerlab.io import scores as score_files
from speakerlab.io.ark import read_embeddings
from speakerlab.io.parts import PartStore
from speakerlab.metrics.log_likelihood_ratio import cllr
from speakerlab.metrics.operating_points import OperatingPoint

ROOT = Path(__file__).parents[2]
NUM_SPEAKERS, NUM_UTTS, DIM = 8, 5, 16


def run(command, *arguments):
    """What the command prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        command.main(command.options().parse_args([str(a) for a in arguments]))
    return stdout.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle of the smallest network."""
    path = tmp_path_factory.mktemp("model") / "m"
    settings = {"model": {"name": "tdnn", "channels": [8, 8, 8, 8, 16], "embed_dim": DIM}}
    config = config_io.from_mapping(bundle.EmbedderConfig, settings, "test")
    torch.manual_seed(0)
    bundle.save(path, config.model.build(feat_dim=80), config, 80, {})
    return path


@pytest.fixture
def work(tmp_path, model):
    """Embeddings stored as the model's, lists of trials, scores of two systems and durations."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((NUM_SPEAKERS, DIM))
    ids = [f"s{spk}-{utt}" for spk in range(NUM_SPEAKERS) for utt in range(NUM_UTTS)]
    vectors = {i: (centres[int(i[1])] + 0.9 * rng.standard_normal(DIM)).astype(np.float32) for i in ids}
    store_embeddings(tmp_path / "embeddings", vectors, bundle.load(model).content_hash)
    pairs = [(a, b) for a in ids for b in ids if a < b]
    write(tmp_path / "trials", [f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}" for a, b in pairs])
    write(tmp_path / "unlabelled", [f"{a} {b}" for a, b in pairs])
    write(tmp_path / "utt2dur", [f"{i} {1 + n % 7}" for n, i in enumerate(ids)])
    files = tmp_path / "embeddings/embeddings.scp", tmp_path / "trials"
    run(score_trials, "--embeddings", *files, tmp_path / "cosines")
    write(
        tmp_path / "noise",
        [f"{a} {b} {value}" for (a, b), value in zip(pairs, rng.random(len(pairs)), strict=True)],
    )
    return tmp_path


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


def store_embeddings(folder, vectors, content_hash):
    store = PartStore(folder, "embeddings", list(vectors), {"model": content_hash})
    store.check_or_claim()
    for part in store.pending(1, 1):
        store.write(part, [(key, vectors[key]) for key in part.keys])
    store.merge()


def read(path, trials):
    return score_files.read(path, read_trials(trials))


def plain(work, path):
    """Arguments: the list and the cosines under the name a."""
    return work / "trials", f"a={work}/cosines", path


def test_one_list_to_calibrate_on_and_one_to_use(work):
    out = run(train_calibration, *plain(work, work / "c.json"))
    trials = read(work / "cosines", work / "trials")
    known = json.loads((work / "c.json").read_text())
    assert out.startswith(f"{work}/c.json: LLR = ")
    assert out.endswith(f"* a, Cllr {known['cost']:.4f}; 80 targets, 700 non-targets\n")
    assert known["provenance"] == {"trials": str(work / "trials"), "num_targets": 80, "num_nontargets": 700}
    out = run(calibrate_scores, work / "c.json", work / "unlabelled", f"a={work}/cosines", work / "llrs")
    llrs = read(work / "llrs", work / "trials")
    assert cllr(llrs) == pytest.approx(known["cost"], abs=1e-6)
    assert known["cost"] < 0.5 < cllr(trials)
    assert out == (
        f"{work}/llrs: 780 log-likelihood ratios from {llrs.scores.min():.2f} to {llrs.scores.max():.2f}, "
        f"calibrated on {work}/trials\n"
    )
    card = json.loads((work / "llrs.json").read_text())
    assert card["systems"] == {"a": f"{work}/cosines"}
    assert card["calibration"] == f"{work}/c.json"
    assert card["num_scores"] == 780


def test_systems_and_measures_are_fused_by_name(work):
    measures = ("--measure", f"min-log={work}/utt2dur", "--measure", f"max={work}/utt2dur")
    systems = [f"a={work}/cosines", f"noise={work}/noise"]
    out = run(train_calibration, *measures, work / "trials", *systems, work / "c.json")
    for name in ("* a", "* noise", "* min-log:utt2dur", "* max:utt2dur"):
        assert name in out
    run(calibrate_scores, *measures, work / "c.json", work / "unlabelled", *systems, work / "x")
    run(
        calibrate_scores,
        *measures[2:],
        *measures[:2],
        work / "c.json",
        work / "trials",
        *systems[::-1],
        work / "y",
    )
    assert (work / "x").read_bytes() == (work / "y").read_bytes()
    with pytest.raises(DataError, match="c.json: was trained on the systems a, noise, not a;"):
        run(calibrate_scores, *measures, work / "c.json", work / "trials", systems[0], work / "z")
    with pytest.raises(DataError, match="the quality measures min-log:utt2dur, max:utt2dur, not max:utt2dur"):
        run(calibrate_scores, *measures[2:], work / "c.json", work / "trials", *systems, work / "z")
    assert not (work / "z").exists()


def test_pav_and_another_prior(work):
    out = run(train_calibration, "--method", "pav", *plain(work, work / "c.json"))
    assert "rising map of " in out
    run(calibrate_scores, work / "c.json", work / "trials", f"a={work}/cosines", work / "llrs")
    llrs, cosines = (
        read(work / "llrs", work / "trials").scores,
        read(work / "cosines", work / "trials").scores,
    )
    assert (np.diff(llrs[np.argsort(cosines)]) >= 0).all()
    out = run(train_calibration, "--prior", "0.01", *plain(work, work / "d.json"))
    assert "normalised cost at prior 0.01 " in out


def test_separated_trials_are_calibrated_with_a_warning(work, caplog):
    is_target = read_trials(work / "trials").labels == 1
    rows = [line.split()[:2] for line in (work / "trials").read_text().splitlines()]
    write(
        work / "cosines", [f"{a} {b} {0.9 if t else 0.1}" for (a, b), t in zip(rows, is_target, strict=True)]
    )
    run(train_calibration, *plain(work, work / "c.json"))
    assert "every target is above every non-target" in caplog.text


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("trials", " target", " nontarget", "trials: no target trial among 780"),
        ("cosines", "s0-0 s0-1 ", "s0-0 s9-1 ", "cosines:1: pair 's0-0 s9-1' is not in "),
        ("cosines", "s0-0 s0-1 0", "s0-0 s0-1 nan", "cosines:1: score 'nan"),
        ("utt2dur", "s0-1 2", "s0-1 two", "utt2dur:2: 's0-1' has 'two', which is not a finite number"),
        ("utt2dur", "s0-1 2", "s0-1 inf", "utt2dur:2: 's0-1' has 'inf', which is not a finite number"),
        ("utt2dur", "s0-1 2", "s0-1 2 3", "utt2dur:2: 's0-1' has '2 3', which is not a finite number"),
        ("utt2dur", "s0-1 2", "s0-1 0", "utt2dur: s0-1 has 0; min-log needs a positive number"),
        ("utt2dur", "s0-1 2", "s0-2 3", "utt2dur:3: 's0-2' is on line 2 already"),
        ("utt2dur", "s0-1 2\n", "", "utt2dur: no value for s0-1 (1 such ids of "),
    ],
)
def test_bad_inputs_are_named_and_nothing_is_written(work, name, old, new, why):
    text = (work / name).read_text()
    assert old in text
    (work / name).write_text(text.replace(old, new))
    with pytest.raises(DataError) as error:
        run(train_calibration, "--measure", f"min-log={work}/utt2dur", *plain(work, work / "c.json"))
    assert why in str(error.value)
    assert not (work / "c.json").exists()


def test_missing_trials_unknown_rules_and_names_given_twice(work):
    lines = (work / "cosines").read_text().splitlines(keepends=True)
    (work / "short").write_text("".join(lines[1:]))
    with pytest.raises(DataError, match="short: no score for pair 's0-0 s0-1'"):
        run(train_calibration, work / "trials", f"a={work}/short", work / "c.json")
    with pytest.raises(DataError, match="no such rule; choose min, max, min-log, max-log"):
        run(train_calibration, "--measure", f"mean={work}/utt2dur", *plain(work, work / "c.json"))
    with pytest.raises(DataError, match="two systems or measures have one name"):
        run(train_calibration, work / "trials", f"a={work}/cosines", f"a={work}/noise", work / "c.json")
    for option in (["--prior", "1"], ["--prior", "x"], ["--measure", "utt2dur"]):
        with pytest.raises(SystemExit, match="2"), contextlib.redirect_stderr(io.StringIO()):
            run(train_calibration, *option, *plain(work, work / "c.json"))


@pytest.fixture
def own_model(work, model):
    """A copy of the bundle that a test may change."""
    loaded = bundle.load(model)
    bundle.save(work / "model", loaded.model, loaded.config, 80, {})
    return work / "model"


def test_a_model_is_calibrated_on_its_plain_cosines(work, own_model):
    before = bundle.load(own_model)
    out = run(calibrate_model, own_model, work / "embeddings", work / "trials")
    after = bundle.load(own_model)
    found = after.calibration
    run(train_calibration, *plain(work, work / "c.json"))
    run(calibrate_scores, work / "c.json", work / "trials", f"a={work}/cosines", work / "llrs")
    cosines, llrs = (read(work / name, work / "trials").scores for name in ("cosines", "llrs"))
    np.testing.assert_allclose(found.scale * cosines + found.offset, llrs, atol=1e-4)
    assert found.llr(found.threshold) == pytest.approx(math.log(99))
    assert (found.point_name, found.point, found.prior) == ("voxceleb", OperatingPoint(0.01), 0.5)
    assert (found.trials, found.num_targets, found.num_nontargets) == (str(work / "trials"), 80, 700)
    labels = [line.split()[2] for line in (work / "trials").read_text().splitlines()]
    above = [label for label, score in zip(labels, cosines, strict=True) if score >= found.threshold]
    assert (80 - above.count("target"), above.count("nontarget")) == (
        found.num_misses,
        found.num_false_accepts,
    )
    assert f"threshold {found.threshold:.4f} at 0.01" in out
    assert after.content_hash == before.content_hash


def test_a_damaged_calibration_is_mended_by_calibrating_again(work, own_model):
    files = work / "embeddings", work / "trials"
    run(calibrate_model, own_model, *files)
    good = (own_model / bundle.CARD).read_text()
    (own_model / bundle.CARD).write_text(good.replace('"scale": ', '"scale": 1'))
    with pytest.raises(DataError, match="does not match its hash; calibrate the model again"):
        bundle.load(own_model)
    run(calibrate_model, own_model, *files)
    assert (own_model / bundle.CARD).read_text() == good


def test_the_operating_point_moves_the_threshold(work, own_model):
    thresholds = []
    for point in ("0.5", "sre08", "voxsrc", "0.05,1,2"):
        run(calibrate_model, "--operating-point", point, own_model, work / "embeddings", work / "trials")
        found = bundle.load(own_model).calibration
        assert found.point_name == point
        thresholds.append(found.llr(found.threshold))
    np.testing.assert_allclose(thresholds, [0, math.log(9.9), math.log(19), math.log(38)], atol=1e-9)


def test_a_converted_copy_keeps_the_calibration(work, own_model):
    run(calibrate_model, own_model, work / "embeddings", work / "trials")
    run(convert_model, own_model, work / "copy")
    assert load_model(work / "copy").calibration == bundle.load(own_model).calibration


def test_a_model_is_not_calibrated_on_what_does_not_fit(work, own_model):
    card = (own_model / bundle.CARD).read_bytes()
    for point in ("voxcelebs", "2", "0.1,1,1,1", ""):
        with pytest.raises(DataError, match="no such operating point; choose voxceleb"):
            run(calibrate_model, "--operating-point", point, own_model, work / "embeddings", work / "trials")
    with pytest.raises(DataError, match="in -1 to 1: .* choose another --operating-point"):
        run(calibrate_model, "--operating-point", "1e-9", own_model, work / "embeddings", work / "trials")
    vectors = {"s0-0": np.ones(DIM, np.float32), "s0-1": np.ones(DIM, np.float32)}
    store_embeddings(work / "other", vectors, "0" * 64)
    with pytest.raises(
        DataError, match="its embeddings are not of .*/model; run steps/extract_embeddings.sh"
    ):
        run(calibrate_model, own_model, work / "other", work / "trials")
    with pytest.raises(DataError, match="nothing says what embeddings were made from"):
        run(calibrate_model, own_model, work, work / "trials")
    with pytest.raises(DataError, match="is not a model bundle"):
        run(calibrate_model, work / "embeddings", work / "embeddings", work / "trials")
    with pytest.raises(DataError, match="has no label"):
        run(calibrate_model, own_model, work / "embeddings", work / "unlabelled")
    assert (own_model / bundle.CARD).read_bytes() == card


def test_a_model_whose_cosines_say_the_opposite_is_not_calibrated(work, own_model):
    text = (work / "trials").read_text().replace(" nontarget", " x").replace(" target", " nontarget")
    (work / "turned").write_text(text.replace(" x", " target"))
    with pytest.raises(DataError, match="a higher cosine would speak against the same speaker"):
        run(calibrate_model, own_model, work / "embeddings", work / "turned")


def test_quality_measures_of_a_data_dir(work, toy_data):
    data, rng = toy_data / "test", np.random.default_rng(1)
    ids = [line.split()[0] for line in (data / "wav.scp").read_text().splitlines()]
    vectors = {i: rng.standard_normal(DIM).astype(np.float32) for i in ids}
    store_embeddings(work / "e", vectors, "x")
    scp = work / "e/embeddings.scp"
    write(work / "pairs", [f"{ids[0]} {i}" for i in ids[1:]])
    cohort = [
        "--norm",
        "t-norm",
        "--cohort",
        work / "embeddings/embeddings.scp",
        "--cohort-unit",
        "utterance",
    ]
    cohort += ["--norm-stats", work / "stats"]
    run(score_trials, "--embeddings", scp, *cohort, work / "pairs", work / "normed")
    out = run(measure_quality, "--norm-stats", work / "stats", data, scp, work / "quality")
    assert out == f"{work}/quality: utt2dur of 15, utt2mag of 15, utt2cohort of 15\n"
    found = {name: read_numbers(work / "quality" / name) for name in ("utt2dur", "utt2mag", "utt2cohort")}
    assert found["utt2dur"][ids[0]] == pytest.approx(1.2 + 0.37 * (10 % 4), abs=1e-3)
    others = read_embeddings(work / "embeddings/embeddings.scp").matrix
    others = others / np.linalg.norm(others, axis=1, keepdims=True)
    for i in ids:
        length = np.linalg.norm(vectors[i].astype(np.float64))
        assert found["utt2mag"][i] == pytest.approx(length, rel=1e-12)
        assert found["utt2cohort"][i] == pytest.approx((others @ (vectors[i] / length)).mean(), abs=1e-6)


def test_the_steps_do_what_the_commands_do(work, own_model):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def step(name, *arguments):
        command = ["bash", f"steps/{name}.sh", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    systems = [f"a={work}/cosines", f"noise={work}/noise"]
    measures = ["--measures", f"min-log={work}/utt2dur max-log={work}/utt2dur"]
    status, said = step(
        "train_calibration", *measures, "--prior", 0.1, work / "trials", *systems, work / "c.json"
    )
    assert (status, "max-log:utt2dur, normalised cost at prior 0.1" in said) == (0, True), said
    status, said = step(
        "calibrate_scores", *measures, work / "c.json", work / "trials", *systems, work / "llrs"
    )
    assert (status, "780 log-likelihood ratios" in said) == (0, True), said
    status, said = step("calibrate_scores", work / "c.json", work / "trials", *systems, work / "z")
    assert (status, said.count("\n")) == (1, 1), said
    assert "was trained on the quality measures" in said
    options = ["--operating-point", "voxsrc"]
    status, said = step("calibrate_model", *options, own_model, work / "embeddings", work / "trials")
    assert (status, "at 0.05" in said) == (0, True), said
    assert bundle.load(own_model).calibration.point == OperatingPoint(0.05)
    status, said = step("train_calibration", work / "trials", work / "c.json")
    assert (status, "needs TRIALS NAME=SCORES... OUT_FILE" in said) == (2, True), said
