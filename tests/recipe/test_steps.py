"""The steps and the driver on a toy corpus: from data dir to table, alone, in parallel, killed, resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speakerlab.data.contents import Contents
from speakerlab.io.ark import read_embeddings
from speakerlab.types import TrialList

ROOT = Path(__file__).parents[2]
CONFIG = """
model: {name: tdnn, channels: [32, 32, 32, 32, 64], embed_dim: 16}
sampling: {crop_s: 1.0}
optimizer: {lr: 0.05}
train: {epochs: 3, batch_size: 16, average: 2, margin_epochs: [1, 2]}
"""
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "CUDA_VISIBLE_DEVICES": "",
}


def bash(*arguments, env=ENV):
    command = ["bash", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(toy_data, tmp_path_factory):
    """``run.sh`` from stage 0 to 9 on the toy corpus: its folder and what it printed."""
    work = tmp_path_factory.mktemp("run")
    (work / "config.yaml").write_text(CONFIG)
    test = toy_data / "test"
    options = ["--train-data", toy_data / "train", "--test-data", test, "--exp", work / "exp"]
    options += ["--config", work / "config.yaml", "--num-valid-speakers", 2]
    done = bash("run.sh", *options)
    assert done.returncode == 0, done.stderr
    return work, options, done


def test_the_driver_ends_with_a_table_and_a_plot(finished):
    work, _, done = finished
    lines = done.stdout.splitlines()
    blank = lines.index("")
    table = [line.split() for line in lines[:blank] if line.startswith(("model", "untrained"))]
    systems = ["model", "model-calibrated", "untrained"]
    assert [row[:2] for row in table] == [[system, "test/trials"] for system in systems]
    assert "[" in lines[blank - 2]
    calibration = next(line for line in lines[blank + 1 :] if line.startswith("model-calibrated"))
    assert calibration.split()[1] == "test/trials"
    compared = [line.split()[:3] for line in lines[blank + 1 :] if line.startswith("untrained")]
    assert compared == [["untrained", "model", "test/trials"]]
    assert lines[-2:] == [f"report: {work}/exp/results/report.html", f"plots: {work}/exp/results"]
    assert (work / "exp/results/det.png").read_bytes().startswith(b"\x89PNG")
    page = (work / "exp/results/report.html").read_text()
    assert all(f"<h2>{name}</h2>" in page for name in ("Results", "Plots", "Training", "Settings"))
    cards = [json.loads((work / "exp" / name / "bundle.json").read_text()) for name in ("model", "untrained")]
    assert [card["domain"] for card in cards] == ["toy voices"] * 2
    rows = json.loads((work / "exp/results/metrics.json").read_text())["rows"]
    assert rows[0]["num_targets"] == 5 * 3
    assert rows[0]["intervals"]["num_speakers"] == 5


@pytest.mark.parametrize("stage", range(10))
def test_every_stage_runs_alone_on_what_the_others_left(finished, stage):
    _, options, _ = finished
    done = bash("run.sh", *options, "--stage", stage, "--stop-stage", stage)
    assert done.returncode == 0, done.stderr
    assert f"stage {stage}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_set_with_models_of_several_utterances_runs_through(finished, toy_data, tmp_path):
    """Trials of models, as in SRE and CN-Celeb: their map is part of the data dir, in all stages."""
    work, options, _ = finished
    shutil.copytree(work / "exp", tmp_path / "exp")
    models = Contents.load(toy_data / "test")
    speakers = models.speakers()
    enrolled = {f"m-{spk_id}": tuple(utt_ids[:2]) for spk_id, utt_ids in speakers.items()}
    tests = [(spk_id, utt_id) for spk_id, utt_ids in speakers.items() for utt_id in utt_ids[2:]]
    pairs = [(name, utt_id, name == f"m-{spk_id}") for name in enrolled for spk_id, utt_id in tests]
    enroll_ids, test_ids, labels = zip(*pairs, strict=True)
    trials = TrialList(enroll_ids, test_ids, np.array(labels, dtype=np.int8))
    replace(models, models=enrolled, trials={"trials": trials}).write(tmp_path / "models")
    options = [*options, "--test-data", tmp_path / "models", "--exp", tmp_path / "exp"]
    for first, last in ((1, 1), (6, 9)):
        done = bash("run.sh", *options, "--stage", first, "--stop-stage", last)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "exp/data/models/enroll.map").exists()
    card = json.loads((tmp_path / "exp/scores/model/models/trials.json").read_text())
    assert card["enrolment"] == f"{len(enrolled)} models of 2 to 2 utterances, mean-embedding"
    row = json.loads((tmp_path / "exp/results/metrics.json").read_text())["rows"][0]
    assert (row["num_targets"], row["intervals"]["num_speakers"]) == (len(tests), len(enrolled))


def test_stored_features_and_vad_give_a_system_too(toy_data, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    options = ["--train-data", toy_data / "train", "--test-data", toy_data / "test"]
    options += ["--exp", tmp_path / "exp", "--config", tmp_path / "config.yaml"]
    options += ["--num-valid-speakers", 2, "--feats-type", "fbank", "--use-vad", "true"]
    done = bash("run.sh", *options)
    assert done.returncode == 1  # nothing that was asked for is left undone
    assert "config.yaml: sampling.speeds: stored features are used as they are; set [1.0]" in done.stderr
    options += ["--set", "sampling.speeds=[1.0]"]
    done = bash("run.sh", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exp/data/train/feats.scp").exists()
    assert done.stdout.splitlines()[-1] == f"plots: {tmp_path}/exp/results"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--stage", "x"], 2, "--stage and --stop-stage are 0 to 9"),
        (["--stage"], 2, "--stage needs a value"),
        (["--stage", "--nj"], 2, "--stage needs a value, not --nj"),
        (["--stge", "1"], 2, "unknown option 'stge'"),
        (["--use-vad", "yes"], 2, "use-vad is true or false, not 'yes'"),
        (["file"], 2, "unexpected argument 'file'"),
        (["--recipe", "egs/none"], 1, "egs/none/config.yaml: missing or empty"),
        (["--exp", "exp/none", "--stage", "4"], 1, "exp/none/data/train: no such directory; run stage 1"),
        (["--test-data", "a/x b/x", "--stage", "1"], 1, "two sets are called x"),
    ],
)
def test_wrong_use_is_one_line(arguments, status, said):
    done = bash("run.sh", *arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def make_recipe(corpus):
    (corpus / "recipe").mkdir()
    (corpus / "recipe" / "config.yaml").write_text("base: conf/base.yaml\n")
    return corpus / "recipe"


@pytest.mark.parametrize(
    ("line", "said"),
    [("nope=1", "unknown option 'nope'"), ("nj 4", "write name=value"), ("use_vad=1", "is true or false")],
)
@pytest.mark.parametrize("file", ["corpus.conf", "recipe/recipe.conf"])
def test_a_fault_in_recipe_conf_is_said_with_its_line(tmp_path, file, line, said):
    recipe = make_recipe(tmp_path)
    (tmp_path / file).write_text(f"# a comment\n\n{line}\n")
    done = bash("run.sh", "--recipe", recipe)
    assert done.returncode in {1, 2}
    assert f"{tmp_path / file}:3: " in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_line_overrides_the_recipe_and_that_the_corpus(tmp_path):
    recipe = make_recipe(tmp_path)
    (tmp_path / "corpus.conf").write_text('exp="from the corpus"\nstage=4 # a comment\nstop_stage=4\n')
    done = bash("run.sh", "--recipe", recipe)
    assert "from the corpus/data/train: no such directory" in done.stderr
    (recipe / "recipe.conf").write_text('exp="from the recipe"\n')
    done = bash("run.sh", "--recipe", recipe)
    assert "from the recipe/data/train: no such directory" in done.stderr
    done = bash("run.sh", "--exp", "exp/from-the-command-line", "--recipe", recipe)
    assert "exp/from-the-command-line/data/train: no such directory" in done.stderr


def test_a_recipe_keeps_its_results_beside_it(tmp_path):
    recipe = make_recipe(tmp_path)
    done = bash("run.sh", "--recipe", recipe, "--stage", "4", "--stop-stage", "4")
    assert f"{recipe}/exp/data/train: no such directory" in done.stderr


def test_missing_training_data_is_said_with_the_path(tmp_path):
    done = bash("run.sh", "--train-data", tmp_path / "no", "--test-data", tmp_path, "--exp", tmp_path / "e")
    assert done.returncode == 1
    assert f"{tmp_path}/no" in done.stderr
    assert "Traceback" not in done.stderr


def extract(finished, toy_data, out, *options):
    work, _, _ = finished
    return bash("steps/extract_embeddings.sh", *options, work / "exp/model", toy_data / "test", out)


def test_one_job_and_four_give_the_same_ids_in_order_and_equal_arrays(finished, toy_data, tmp_path):
    for nj in (1, 4):
        done = extract(finished, toy_data, tmp_path / str(nj), "--nj", nj)
        assert done.returncode == 0, done.stderr
        assert "15" in done.stderr.splitlines()[-1]
    one, four = (read_embeddings(tmp_path / nj / "embeddings.scp") for nj in ("1", "4"))
    assert one.ids == four.ids == tuple(sorted(one.ids))
    np.testing.assert_array_equal(one.matrix, four.matrix)


def test_a_batch_gives_the_embeddings_of_single_utterances(finished, toy_data, tmp_path):
    assert extract(finished, toy_data, tmp_path / "1").returncode == 0
    assert extract(finished, toy_data, tmp_path / "5", "--batch-size", 5).returncode == 0
    single, batched = (read_embeddings(tmp_path / b / "embeddings.scp") for b in ("1", "5"))
    np.testing.assert_allclose(single.matrix, batched.matrix, atol=1e-5)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_killed_worker_fails_the_step_and_a_rerun_does_only_what_is_missing(finished, toy_data, tmp_path):
    work, _, _ = finished
    out, gate = tmp_path / "out", tmp_path / "gate"
    data = shutil.copytree(toy_data / "test", tmp_path / "data")
    lines = (data / "wav.scp").read_text().splitlines()
    # the last utterance is piped from a file that is not there yet: its worker waits until it is killed
    utt_id, path = lines[-1].split()
    lines[-1] = f"{utt_id} while [ ! -e {gate} ]; do sleep 0.05; done; cat {data}/{path} |"
    (data / "wav.scp").write_text("\n".join(lines) + "\n")
    command = [
        "bash",
        "steps/extract_embeddings.sh",
        "--nj",
        "2",
        str(work / "exp/model"),
        str(data),
        str(out),
    ]
    step = subprocess.Popen(command, cwd=ROOT, env=ENV, stderr=subprocess.PIPE, text=True)
    parts = out / "parts"
    wait_for(lambda: len(list(parts.glob("*.scp"))) == 14)
    victims = subprocess.run(
        ["pgrep", "-f", f"extract_embeddings .*{out} --job 2"], capture_output=True, text=True, check=True
    ).stdout.split()
    for pid in victims:
        if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
            os.kill(int(pid), signal.SIGKILL)
    _, stderr = step.communicate(timeout=60)
    assert step.returncode == 1
    assert "job 2 of 2 was killed by signal 9 (KILL); out of memory?" in stderr
    assert "run the same command again" in stderr
    assert not (out / "embeddings.scp").exists()

    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.ark")}
    gate.touch()
    done = bash(*command[1:])
    assert done.returncode == 0, done.stderr
    after = {path: path.stat().st_mtime_ns for path in parts.glob("*.ark")}
    assert len(after) == 15
    assert {path: after[path] for path in before} == before
    assert len(read_embeddings(out / "embeddings.scp").ids) == 15


def test_bad_files_are_all_listed_and_may_be_tolerated(finished, toy_data, tmp_path):
    data = shutil.copytree(toy_data / "test", tmp_path / "data")
    (data / "audio" / "s10-u0.wav").write_bytes(b"")
    whole = (data / "audio" / "s11-u1.wav").read_bytes()
    (data / "audio" / "s11-u1.wav").write_bytes(whole[: len(whole) // 2])
    work, _, _ = finished
    command = ["steps/extract_embeddings.sh", work / "exp/model", data, tmp_path / "out"]
    done = bash(*command)
    assert done.returncode == 1
    assert "2 of 15 failed" in done.stderr
    assert "s10-u0: " in done.stderr
    assert "s11-u1: " in done.stderr
    assert not (tmp_path / "out/embeddings.scp").exists()
    done = bash(command[0], "--max-fail-rate", "0.2", *command[1:])
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out/embeddings.scp").read_text().splitlines()) == 13
    failures = (tmp_path / "out/failures.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in failures] == ["s10-u0", "s11-u1"]


def test_embeddings_of_another_model_are_refused_until_overwritten(finished, toy_data, tmp_path):
    work, _, _ = finished
    out = tmp_path / "out"
    assert extract(finished, toy_data, out).returncode == 0
    before = read_embeddings(out / "embeddings.scp").matrix
    command = ["steps/extract_embeddings.sh", work / "exp/untrained", toy_data / "test", out]
    done = bash(*command)
    assert done.returncode == 1
    assert "made from other model" in done.stderr
    np.testing.assert_array_equal(read_embeddings(out / "embeddings.scp").matrix, before)
    assert bash(command[0], "--overwrite", "true", *command[1:]).returncode == 0
    assert not np.array_equal(read_embeddings(out / "embeddings.scp").matrix, before)


def test_gpus_are_dealt_in_turn_and_logs_are_framed(tmp_path):
    job = "echo device=$CUDA_VISIBLE_DEVICES; [[ $2 != 3 ]] || exit 7"
    launch = f"gpus='3 5' launch probe {tmp_path} 3 bash -c '{job}' x"
    script = f". steps/lib/strict.sh; . steps/lib/launch.sh; {launch}"
    done = bash("-c", script)
    assert done.returncode == 1
    assert "job 3 of 3 exited with status 7" in done.stderr
    logs = [(tmp_path / f"probe.{job}.log").read_text() for job in (1, 2, 3)]
    assert ["device=3" in logs[0], "device=5" in logs[1], "device=3" in logs[2]] == [True] * 3
    for mark in ("# command: ", "# host: ", "# started: ", "# ended: "):
        assert all(mark in log for log in logs)
    assert "status: 7" in logs[2]
    assert "status: 0" in logs[0]


def test_an_interrupted_step_leaves_no_worker_behind(tmp_path):
    script = (
        ". steps/lib/strict.sh; . steps/lib/launch.sh; gpus= launch probe {0} 2 bash -c 'sleep 12345.{1}' x"
    )
    tag = os.getpid()
    step = subprocess.Popen(
        ["bash", "-c", script.format(tmp_path, tag)], cwd=ROOT, env=ENV, stderr=subprocess.PIPE, text=True
    )

    def workers():
        found = subprocess.run(
            ["pgrep", "-cf", f"^sleep 12345.{tag}"], capture_output=True, text=True, check=False
        )
        return int(found.stdout)

    wait_for(lambda: workers() == 2)
    step.terminate()
    _, stderr = step.communicate(timeout=30)
    assert step.returncode == 1
    assert "interrupted; run the same command again" in stderr
    wait_for(lambda: workers() == 0)


@pytest.mark.parametrize(
    ("setting", "visible", "expected"),
    [("auto", "2,7", "2 7"), ("auto", "", ""), ("0,1", "5", "0 1"), ("0 1", None, "0 1"), ("", "3", "")],
)
def test_which_gpus_are_used(setting, visible, expected):
    env = {k: v for k, v in ENV.items() if k != "CUDA_VISIBLE_DEVICES"}
    if visible is not None:
        env["CUDA_VISIBLE_DEVICES"] = visible
    done = bash("-c", f". steps/lib/launch.sh; resolve_gpus '{setting}'", env=env)
    assert done.stdout.strip() == expected
