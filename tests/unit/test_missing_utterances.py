"""Utterances that a step left out: later steps know them and go on; read errors that pass are tried again."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from speakerlab.backend import enrolment
from speakerlab.backend.chain import Backend
from speakerlab.bin import calibrate_model, calibrate_scores, score_trials, train_calibration
from speakerlab.errors import AudioError, DataError
from speakerlab.io import audio, parts, retry, scores
from speakerlab.io.ark import ArkWriter
from speakerlab.train.validation import ValidationSet
from speakerlab.types import EmbeddingTable, TrialList

ANGLES = {"a": 0.0, "b": 20.0, "c": 90.0}  # degrees; of x and y there is no embedding
TRIALS = "a b target\na c nontarget\na x nontarget\nx c nontarget\nb c nontarget\nx y target\n"


def unit(degrees):
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    """Embeddings of three utterances beside the list of two that failed, and trials of all five."""
    with ArkWriter(tmp_path / "embeddings.ark", tmp_path / "embeddings.scp") as writer:
        for key, degrees in ANGLES.items():
            writer.write(key, unit(degrees))
    (tmp_path / "failures.tsv").write_text("x\tsilent\ny\tno such file\n")
    (tmp_path / "trials").write_text(TRIALS)
    return tmp_path


def score(folder, *options, trials="trials"):
    given = ["--embeddings", str(folder / "embeddings.scp"), *map(str, options)]
    score_trials.main(score_trials.options().parse_args([*given, str(folder / trials), str(folder / "out")]))
    rows = [line.split() for line in (folder / "out").read_text().splitlines()]
    return {(enroll, test): float(value) for enroll, test, value in rows}


def test_trials_of_missing_utterances_are_left_out_and_counted(folder, capsys):
    found = score(folder)
    expected = {("a", "b"): np.cos(np.radians(20)), ("a", "c"): 0.0, ("b", "c"): np.cos(np.radians(70))}
    assert found == pytest.approx(expected, abs=1e-6)
    assert "3 of 6 trials left out, of 2 missing ids" in capsys.readouterr().out
    card = json.loads((folder / "out.json").read_text())
    assert card["left_out"] == ["x", "y"]
    assert card["num_scores"] == 3


def test_an_utterance_that_nobody_lists_as_failed_is_still_an_error(folder):
    (folder / "failures.tsv").write_text("y\tno such file\n")
    with pytest.raises(DataError, match="trials:4: no embedding for 'x'"):
        score(folder)


def test_a_list_of_missing_utterances_alone_is_no_result(folder):
    (folder / "trials").write_text("x y target\n")
    with pytest.raises(DataError, match="every trial is of an utterance that has no embedding"):
        score(folder)
    assert not (folder / "out").exists()


def test_models_do_without_missing_utterances_and_go_with_their_last(folder, capsys):
    (folder / "map").write_text("m1 a x\nm2 x y\nm3 b c\n")
    (folder / "trials").write_text("m1 c nontarget\nm2 c nontarget\nm3 a nontarget\nm3 x target\n")
    found = score(folder, "--enroll-map", folder / "map")
    assert found == pytest.approx({("m1", "c"): 0.0, ("m3", "a"): np.cos(np.radians(55))}, abs=1e-6)
    assert "2 of 4 trials left out" in capsys.readouterr().out
    table = EmbeddingTable(("a",), unit(0)[None])
    with pytest.raises(DataError, match="every utterance of every model lacks an embedding"):
        enrolment.models({"m": ["x"]}, table, Backend.default().scorer, "mean-score", "map", {"x"})


def test_readers_of_scores_expect_no_trial_that_was_left_out(folder):
    score(folder)
    whole = TrialList(
        ["a", "a", "a", "x", "b", "x"], ["b", "c", "x", "c", "c", "y"], np.array([1, 0, 0, 0, 0, 1], np.int8)
    )
    table = scores.read(folder / "out", whole)
    assert list(table.trials.enroll_ids) == ["a", "a", "b"]
    assert table.trials.labels.tolist() == [1, 0, 0]
    (folder / "out.json").unlink()
    with pytest.raises(DataError, match="no score for pair 'a x'"):
        scores.read(folder / "out", whole)


def test_calibration_goes_on_without_them_and_says_so(folder):
    (folder / "trials").write_text(TRIALS + "b a nontarget\nc a target\n")
    score(folder)
    inputs = [str(folder / "trials"), f"s={folder / 'out'}"]
    train_calibration.main(
        train_calibration.options().parse_args([*inputs, str(folder / "calibration.json")])
    )
    given = [str(folder / "calibration.json"), *inputs, str(folder / "llr")]
    calibrate_scores.main(calibrate_scores.options().parse_args(given))
    assert len((folder / "llr").read_text().splitlines()) == 5
    assert json.loads((folder / "llr.json").read_text())["left_out"] == ["x", "y"]
    table = calibrate_model.plain_cosines(folder / "embeddings.scp", folder / "trials")
    assert len(table.scores) == 5


def test_the_validation_set_does_without_unusable_utterances_within_the_limit(toy_data, tmp_path):
    from speakerlab import config as config_io
    from speakerlab.hub.bundle import EmbedderConfig

    config = config_io.from_mapping(
        EmbedderConfig, {"model": {"name": "tdnn", "channels": [8, 8, 8, 8, 8], "embed_dim": 4}}, "test"
    )
    source = toy_data / "test"
    lines = [line.split() for line in (source / "wav.scp").read_text().splitlines()]
    rows = [f"{key} {source / path}\n" for key, path in lines[:-1]] + [f"{lines[-1][0]} gone.wav\n"]
    (tmp_path / "wav.scp").write_text("".join(rows))
    (tmp_path / "trials").write_text((source / "trials").read_text())
    with pytest.raises(AudioError, match="gone.wav"):
        ValidationSet.load(tmp_path, config, feats_type="raw", use_vad=False)
    found = ValidationSet.load(tmp_path, config, feats_type="raw", use_vad=False, max_fail_rate=0.1)
    assert len(found.feats) == 14
    assert len(found.trials) == 14 * 13 // 2


def test_failures_are_read_as_they_were_written(folder, tmp_path):
    assert parts.failures(folder) == {"x": "silent", "y": "no such file"}
    assert parts.failures(tmp_path / "nothing") == {}


@pytest.mark.parametrize(("number", "tries"), [(errno.ESTALE, 3), (errno.EIO, 3), (errno.EACCES, 1)])
def test_read_errors_that_pass_are_tried_again(toy_data, monkeypatch, number, tries):
    from speakerlab.types import RecId, Recording

    path = next((toy_data / "test" / "audio").iterdir())
    calls, pauses = [], []
    opened = Path.open

    def flaky(self, *arguments, **options):
        if self == path:
            calls.append(self)
            if len(calls) < 3:
                raise OSError(number, "the file server is away")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", flaky)
    monkeypatch.setattr(retry.time, "sleep", pauses.append)

    def read():
        return retry.retried(lambda: audio.read(Recording(RecId("u"), str(path))))

    if tries == 1:
        with pytest.raises(AudioError, match="the file server is away"):
            read()
    else:
        assert len(read().samples)
    assert len(pauses) == tries - 1
