"""A kill at any moment of a replacement leaves a whole model; scoring that fails costs no earlier scores."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import save_tiny

from speakerlab.backend import cohort
from speakerlab.hub import bundle
from speakerlab.hub.load import load_model
from speakerlab.io import atomic
from speakerlab.types import EmbeddingTable

ROOT = Path(__file__).parents[2]


class KilledError(BaseException):
    """Stands for the end of the process: nothing after it runs."""


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_model_is_whole_whenever_its_replacement_is_killed(can_exchange, moment, tmp_path, monkeypatch):
    path = save_tiny(tmp_path / "model", seed=1)
    before = load_model(path).content_hash
    after = load_model(save_tiny(tmp_path / "other", seed=2)).content_hash
    renames = []
    rename = Path.rename

    def killed(self, target):
        if len(renames) == moment:
            raise KilledError
        renames.append(target)
        return rename(self, target)

    if not can_exchange:
        monkeypatch.setattr(atomic, "_exchanged", lambda *_: False)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with contextlib.suppress(KilledError):
            save_tiny(path, seed=2)
    assert load_model(path).content_hash in (before, after)
    assert bundle.content_hash(path) in (before, after)
    save_tiny(path, seed=2)
    assert load_model(path).content_hash == after


def test_folders_change_places_in_one_step_on_linux(tmp_path):
    if sys.platform != "linux":
        assert not atomic._exchanged(tmp_path / "a", tmp_path / "b")
        return
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert atomic._exchanged(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()


def score_sets(*arguments):
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = ["bash", "steps/score_sets.sh", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_scoring_that_fails_leaves_the_scores_of_earlier_calls(tmp_path):
    kept = [tmp_path / "sc" / "test" / "trials", tmp_path / "sc-as-norm" / "test" / "trials"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("a b 1\n")
    done = score_sets(tmp_path / "nodata", tmp_path / "noemb", tmp_path / "sc", "test")
    assert done.returncode == 1
    assert [path.read_text() for path in kept] == ["a b 1\n"] * 2


def test_a_scoring_that_ends_removes_what_other_options_left(tmp_path):
    from speakerlab.io.ark import ArkWriter

    (tmp_path / "data" / "test").mkdir(parents=True)
    (tmp_path / "data" / "test" / "trials").write_text("a b target\n")
    (tmp_path / "emb" / "test").mkdir(parents=True)
    with ArkWriter(
        tmp_path / "emb" / "test" / "e.ark", tmp_path / "emb" / "test" / "embeddings.scp"
    ) as writer:
        for key in "ab":
            writer.write(key, np.array([1.0, 2.0]))
    (tmp_path / "sc-as-norm" / "test").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    done = score_sets(tmp_path / "data", tmp_path / "emb", tmp_path / "sc", "test")
    assert done.returncode == 0, done.stderr
    enroll, test, score = (tmp_path / "sc" / "test" / "trials").read_text().split()
    assert (enroll, test, float(score)) == ("a", "b", pytest.approx(1, abs=1e-6))
    assert not (tmp_path / "sc-as-norm").exists()
    assert (tmp_path / "other").exists()


def test_the_ids_of_the_trials_are_looked_up_and_not_gone_through():
    """By how often a list of ids that counts is iterated: once, whatever the rows of the cohort."""

    class Counted(list):
        passes = 0

        def __iter__(self):
            type(self).passes += 1
            return super().__iter__()

    ids = tuple(f"u{n}" for n in range(50))
    table = EmbeddingTable(ids, np.ones((50, 2), np.float32))
    utt2spk = {utt_id: f"s{n // 5}" for n, utt_id in enumerate(ids)}
    left = cohort.without_trial_speakers(table, utt2spk, Counted(["u0", "x"]), [])
    assert left.ids == ids[5:]
    assert Counted.passes == 1
