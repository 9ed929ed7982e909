"""compute_metrics and its step: others' files, log-likelihood ratios, comparisons, conditions, the report."""

from __future__ import annotations

import contextlib
import html.parser
import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speakerlab.bin import compute_metrics
from speakerlab.distribution import how_to_install
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.report.evaluation import hardest
from speakerlab.report.experiment import Experiment
from speakerlab.report.tables import Table
from speakerlab.types import ScoreTable, TrialList

ROOT = Path(__file__).parents[2]
NUM_SPEAKERS, NUM_UTTS = 6, 6


def run(*arguments):
    """The lines that the command prints on stdout."""
    parsed = compute_metrics.options().parse_args([str(a) for a in arguments])
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        compute_metrics.main(parsed)
    return stdout.getvalue().splitlines()


@pytest.fixture
def folder(tmp_path):
    """A test set whose ids are VoxCeleb's, and the scores of a good and a bad system."""
    ids = [f"id{spk}/video{utt % 2}/{utt}.wav" for spk in range(NUM_SPEAKERS) for utt in range(NUM_UTTS)]
    pairs = list(itertools.combinations(ids, 2))
    labels = np.array([a[:3] == b[:3] for a, b in pairs], dtype=int)
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    trials = "".join(f"{label} {a} {b}\n" for label, (a, b) in zip(labels, pairs, strict=True))
    (tmp_path / "set/trials").write_text(trials)
    for name, distance in (("good", 3.0), ("bad", 1.0)):
        (tmp_path / "scores" / name / "set").mkdir(parents=True)
        scores = rng.standard_normal(len(pairs)) * distance + (labels - 0.5) * distance**2
        text = "".join(f"{a} {b} {score:.6f}\n" for (a, b), score in zip(pairs, scores, strict=True))
        (tmp_path / "scores" / name / "set/trials").write_text(text)
    return tmp_path


def good(folder):
    return folder / "scores/good/set/trials"


def with_speakers(folder):
    ids = {i for line in (folder / "set/trials").read_text().splitlines() for i in line.split()[1:]}
    (folder / "set/utt2spk").write_text("".join(f"{i} {i[:3]}\n" for i in sorted(ids)))
    (folder / "set/utt2video").write_text("".join(f"{i} {i.split('/')[1]}\n" for i in sorted(ids)))


def systems(folder):
    names = ("good", "bad")
    rows = [
        ("--system", name, folder / "set/trials", folder / "scores" / name / "set/trials") for name in names
    ]
    return list(itertools.chain(*rows))


def test_a_list_of_the_working_directory_has_its_name_alone(folder, monkeypatch):
    monkeypatch.chdir(folder / "set")
    (row,) = run(good(folder), "--trials", "trials", "--num-draws", 9)[1:2]
    assert row.split()[1] == "trials"


def test_scores_of_any_toolkit_give_the_same_table(folder):
    (kaldi,) = run(good(folder), "--trials", folder / "set/trials", "--num-draws", 9)[1:2]
    labels = {tuple(line.split()[1:]): line[0] for line in (folder / "set/trials").read_text().splitlines()}
    rows = [line.split() for line in good(folder).read_text().splitlines()]
    words = {"1": "target", "0": "nontarget"}
    forms = {
        "wespeaker": [f"{a} {b} {s} {words[labels[a, b]]}" for a, b, s in rows],
        "3d-speaker": [f"{a} {b} {labels[a, b]} {s}" for a, b, s in rows],
        "nist": ["modelid\tsegmentid\tLLR", *("\t".join(row) for row in rows)],
    }
    for form, lines in forms.items():
        path = folder / form / "trials"
        path.parent.mkdir()
        path.write_text("\n".join(lines) + "\n")
        out = run(path, "--trials", folder / "set/trials")
        assert out[1].split() == kaldi.split()
        assert run(path, "--trials", folder / "set/trials", "--format", form)[1] == out[1]
        if form != "nist":
            assert run(path)[1].split()[2:] == kaldi.split()[2:]


def test_ids_tell_the_speakers(folder):
    options = (good(folder), "--trials", folder / "set/trials", "--num-draws", 9)
    assert run(*options)[2] == "No intervals: give --utt2spk or --spk-from-id."
    derived = run(*options, "--spk-from-id", "/")
    with_speakers(folder)
    assert run(*options) == derived
    assert "[" in derived[1]
    with pytest.raises(DataError, match="no '#' in the id 'id"):
        run(*options, "--spk-from-id", "#")
    (folder / "few").write_text("id0/video0/0.wav id0\n")
    with pytest.raises(
        DataError, match=r"few: no speaker for 'id0/video0/2.wav' of .*trials \(35 such ids\)"
    ):
        run(*options, "--utt2spk", folder / "few")


@pytest.mark.parametrize("how", ["option", "card", "nist"])
def test_log_likelihood_ratios_are_known_by_option_card_or_format(folder, how):
    path, options = good(folder), ()
    if how == "option":
        options = ("--llr", "trials")
    elif how == "card":
        path.with_name("trials.json").write_text('{"llr": true}')
    else:
        rows = (line.split() for line in path.read_text().splitlines())
        path.write_text("modelid\tsegmentid\tLLR\n" + "".join("\t".join(row) + "\n" for row in rows))
    out = run(path, "--trials", folder / "set/trials", *options, "--json", folder / "m.json")
    blank = out.index("")
    assert out[blank + 1].split() == [
        "system", "list", "Cllr", "minCllr",
        "actDCF(0.01)", "minDCF(0.01)", "actDCF(0.05)", "minDCF(0.05)",
    ]  # fmt: skip
    row = json.loads((folder / "m.json").read_text())["rows"][0]
    said = run(path, "--trials", folder / "set/trials", *options, "--json", "-")
    assert json.loads("\n".join(said))["rows"][0] == row
    assert row["llr"] is True
    assert out[blank + 2].split()[2] == f"{row['cllr']:.3f}"
    assert 0 < row["min_cllr"] <= row["cllr"] < 1


def test_scores_without_such_a_card_are_no_ratios(folder):
    card = good(folder).with_name("trials.json")
    card.write_text('{"scorer": "cosine"}')
    out = run(good(folder), "--trials", folder / "set/trials", "--json", folder / "m.json")
    assert "" not in out
    assert json.loads((folder / "m.json").read_text())["rows"][0]["cllr"] is None
    card.write_text("{")
    with pytest.raises(DataError, match=r"trials.json: not JSON: .*; score the list again"):
        run(good(folder), "--trials", folder / "set/trials")


def test_plans_with_several_points_get_their_mean(folder):
    out = run(good(folder), "--trials", folder / "set/trials", "--points", "sre16", "--llr", "trials")
    assert "minC_primary(sre16)" in out[0]
    row = out[1].split()
    assert float(row[-2]) == pytest.approx((float(row[-4]) + float(row[-3])) / 2, abs=0.001)
    assert "actC_primary(sre16)" in out[out.index("") + 1]


def test_systems_are_compared_on_the_same_speakers(folder):
    with_speakers(folder)
    out = run(*systems(folder), "--num-draws", 60, "--json", folder / "m.json")
    content = json.loads((folder / "m.json").read_text())
    line = out[out.index("") + 2].split()
    assert line[:3] == ["bad", "good", "set/trials"]
    eers = [row["eer"] for row in content["rows"]]
    assert line[3] == f"{100 * (eers[1] - eers[0]):.2f}"
    assert float(line[6]) == pytest.approx(
        content["comparisons"][0]["differences"]["eer"]["p_value"], abs=5e-4
    )
    assert content["comparisons"][0]["differences"]["eer"]["low"] > 0


def test_conditions_are_printed_and_written(folder):
    with_speakers(folder)
    out = run(*systems(folder), "--num-draws", 9, "--conditions", "utt2video", "--json", folder / "m.json")
    start = out.index("set/trials by utt2video")
    assert [line.split()[:2] for line in out[start + 2 : start + 4]] == [
        ["good", "video0"],
        ["good", "video0"],
    ]
    reports = json.loads((folder / "m.json").read_text())["conditions"]
    assert [report["system"] for report in reports] == ["good", "bad"]
    assert [cell["values"] for cell in reports[0]["cells"]] == [["video0"], ["video0", "video1"], ["video1"]]


class Page(html.parser.HTMLParser):
    """Tags left open, addresses, and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.ids, self.text = [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert tag not in {"script", "link", "iframe", "object"}
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        self.ids.add(attributes.get("id"))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_stands_alone_and_holds_everything(folder):
    with_speakers(folder)
    exp = folder / "exp <1> & co"
    exp.mkdir()
    (exp / "config.yaml").write_text("model:\n  name: <campplus> & co\n")
    (exp / "provenance.json").write_text('{"command": "train.py <x>", "commit": "abc"}')
    epochs = ({"epoch": n, "loss": 9.0 - n, "accuracy": None, "valid_eer": None, "lr": 0.1} for n in (1, 2))
    (exp / "train.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    options = ("--num-draws", 9, "--llr", "good", "--conditions", "utt2video", "--exp-dir", exp)
    run(*systems(folder), *options, "--report", folder / "report.html")
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(address.startswith(("data:image/svg+xml;base64,", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address[0] == "#"} <= page.ids
    assert not re.search(r"url\(|@import|https?:", text)
    assert text.count("<img") == 5  # DET, scores, Bayes error, reliability, training
    for part in ("exp <1> & co", "name: <campplus> & co", "train.py <x>", "Cllr", "Comparison of systems"):
        assert part in page.text
    worst = hardest(_table(folder, "bad"))
    for trial in (worst.targets[0], worst.nontargets[0]):
        assert trial.enroll_id in page.text
        assert f"{trial.score:.4f}" in page.text


def _table(folder, system):
    labels, scores = {}, {}
    for line in (folder / "set/trials").read_text().splitlines():
        labels[tuple(line.split()[1:])] = int(line[0])
    for line in (folder / "scores" / system / "set/trials").read_text().splitlines():
        scores[tuple(line.split()[:2])] = float(line.split()[2])
    ids = ([pair[side] for pair in labels] for side in (0, 1))
    trials = TrialList(*ids, np.array(list(labels.values()), dtype=np.int8))
    return ScoreTable(trials, np.array([scores[pair] for pair in labels]))


def test_the_hardest_errors_are_the_extremes():
    labels = np.array([1, 0, 1, 0, 1, 0], dtype=np.int8)
    table = ScoreTable(TrialList(list("abcdef"), list("uvwxyz"), labels), np.array([3.0, 1, 2, 9, 2, 1]))
    found = hardest(table, 2)
    assert [(t.enroll_id, t.test_id, t.score) for t in found.targets] == [("c", "w", 2.0), ("e", "y", 2.0)]
    assert [(t.enroll_id, t.test_id, t.score) for t in found.nontargets] == [("d", "x", 9.0), ("b", "v", 1.0)]


def test_without_matplotlib_the_report_has_no_pictures_but_all_else(folder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = run(*systems(folder), "--report", folder / "report.html", "--json", folder / "m.json")
    assert out[-1] == f"report: {folder}/report.html"
    text = (folder / "report.html").read_text()
    assert "<img" not in text
    assert f"matplotlib is not installed; run: {how_to_install('plot')}" in Page(text).text
    assert len(caplog.records) == 1
    with pytest.raises(MissingExtraError, match=r"requirements/plot\.txt"):
        run(*systems(folder), "--plot-dir", folder / "plots")


def step(folder, *options, path=()):
    command = ["bash", "steps/compute_metrics.sh", *options, folder, folder / "scores", folder / "out", "set"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = ":".join(map(str, path))
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_step_measures_every_system(folder):
    with_speakers(folder)
    (folder / "config.yaml").write_text("seed: 7\n")
    options = ("--num-draws", 9, "--conditions", "utt2video", "--llr", "good", "--exp-dir", folder)
    done = step(folder, *options, "--points", "sre16 sre21")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (folder / "out").iterdir()}
    pictures = {"det.png", "scores.png", "bayes_error.png", "reliability.png"}
    assert names == {"metrics.json", "report.html", *pictures}
    assert "minC_primary(sre21)" in done.stdout
    assert "set/trials by utt2video" in done.stdout
    assert "seed: 7" in (folder / "out/report.html").read_text()


def test_the_step_without_matplotlib_says_what_to_install(folder):
    (folder / "broken/matplotlib").mkdir(parents=True)
    (folder / "broken/matplotlib/__init__.py").write_text("raise ImportError\n")
    done = step(folder, path=[folder / "broken"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(how_to_install("plot")) == 1
    assert {path.name for path in (folder / "out").iterdir()} == {"metrics.json", "report.html"}
    assert done.stdout.splitlines()[1].startswith("bad ")
    done = step(folder, "--plot", "true", path=[folder / "broken"])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert step(folder, "--plot", "maybe").returncode == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no scores to measure; give SCORES or --system"),
        (("{scores}",), "the scores have no labels; give the trial list: --trials"),
        (("{scores}", "{scores}", "--trials", "{trials}"), "two sets of scores for system 'trials'"),
        (("{scores}", "--trials", "{trials}", "--llr", "x"), "no system 'x'; the systems are trials"),
        (
            ("{scores}", "--trials", "{trials}", "--exp-dir", "none", "--report", "r"),
            "none: no such experiment",
        ),
        (("{scores}", "--trials", "{trials}", "--format", "nist"), "the header has no 'modelid'"),
    ],
)
def test_what_the_command_refuses(folder, options, message):
    names = {"scores": good(folder), "trials": folder / "set/trials"}
    with pytest.raises(DataError, match=message):
        run(*(option.format(**names) for option in options))
    assert not (ROOT / "r").exists()


def test_edges_that_do_not_rise_are_wrong_usage(folder):
    with pytest.raises(SystemExit) as status:
        run(good(folder), "--conditions", "utt2dur:6,3")
    assert status.value.code == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.jsonl", '{"epoch": 1}\n{"ep', "train.jsonl:2: not JSON"),
        ("train.jsonl", "[1]\n", "train.jsonl:1: not a JSON object"),
        ("provenance.json", "{", "provenance.json:1: not JSON"),
    ],
)
def test_a_damaged_experiment_folder_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        Experiment.read(tmp_path)


def test_tables_align_names_left_and_figures_right():
    table = Table("t", ["name", "x"], [["a", "1.0"], ["long-name", "10.0"]], num_names=1, notes=["<note>"])
    assert table.text() == ["name          x", "a           1.0", "long-name  10.0", "<note>"]
    assert "<td class=name>long-name</td><td>10.0</td>" in table.html()
    assert "&lt;note&gt;" in table.html()
