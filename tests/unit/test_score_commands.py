"""train_backend, score_trials and compute_metrics on small files: results, messages, exit statuses."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from speakerlab.backend import cohort as cohort_module
from speakerlab.backend.chain import Backend
from speakerlab.bin import compute_metrics, score_trials, train_backend
from speakerlab.data.tables import read_utt2spk
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.io import scores as score_files
from speakerlab.io.ark import ArkWriter, read_embeddings
from speakerlab.types import ScoreTable, TrialList

NUM_SPEAKERS, NUM_UTTS, DIM = 6, 4, 12
STEPS = "mean subtracted, length normalised, cosine"


def run(command, *arguments):
    """The lines that the command prints on stdout."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        command.main(command.options().parse_args([str(a) for a in arguments]))
    return stdout.getvalue().splitlines()


@pytest.fixture
def corpus(tmp_path):
    """Embeddings of six speakers, every pair a trial, speakers of the utterances."""
    rng = np.random.default_rng(0)
    vectors = {
        f"s{spk}-{utt}": centre + 0.8 * rng.standard_normal(DIM)
        for spk, centre in enumerate(rng.standard_normal((NUM_SPEAKERS, DIM)))
        for utt in range(NUM_UTTS)
    }
    write_embeddings(tmp_path / "embeddings.scp", vectors)
    utts = sorted(vectors)
    pairs = [(a, b) for a in utts for b in utts if a < b]
    lines = [f"{a} {b} {'target' if a[:2] == b[:2] else 'nontarget'}\n" for a, b in pairs]
    (tmp_path / "trials").write_text("".join(lines))
    (tmp_path / "utt2spk").write_text("".join(f"{utt} {utt[:2]}\n" for utt in utts))
    return tmp_path


def write_embeddings(scp, vectors):
    with ArkWriter(scp.with_suffix(".ark"), scp) as writer:
        for utt_id, vector in vectors.items():
            writer.write(utt_id, vector.astype(np.float32))


def score(corpus, *options):
    files = corpus / "trials", corpus / "scores"
    return run(score_trials, "--embeddings", corpus / "embeddings.scp", *options, *files)


def metrics(corpus, *options):
    return run(compute_metrics, "--system", "trained", corpus / "trials", corpus / "scores", *options)


def test_from_embeddings_to_the_table(corpus):
    out = run(train_backend, corpus / "embeddings.scp", corpus / "backend.json")
    assert out == [f"{corpus}/backend.json: {STEPS}; trained on 24 embeddings of size 12"]
    out = score(corpus, "--backend", corpus / "backend.json")
    how = f"{STEPS}; models of one utterance; no score normalisation"
    assert out == [f"{corpus}/scores: 276 scores; {how}"]
    options = ("--utt2spk", corpus / "utt2spk", "--num-draws", 50, "--json", corpus / "metrics.json")
    header, row, legend, plot = metrics(corpus, *options, "--plot-dir", corpus)
    content = json.loads((corpus / "metrics.json").read_text())["rows"][0]
    assert header.split()[:5] == ["system", "list", "trials", "targets", "EER"]
    eer = f"{100 * content['eer']:.2f}"
    assert row.split()[:5] == ["trained", f"{corpus.name}/trials", "276", "36", eer]
    assert len(header) == len(row)
    assert 0 < content["eer"] < 0.4
    assert content["intervals"]["eer"]["low"] <= content["eer"] <= content["intervals"]["eer"]["high"]
    assert set(content["min_dcf"]) == {"0.01", "0.05"}
    assert legend == "[low, high]: 95 % interval from 50 bootstrap draws of the speakers."
    assert plot == f"plots: {corpus}"
    assert (corpus / "det.png").read_bytes().startswith(b"\x89PNG")


def test_scores_are_cosines_in_eight_decimals(corpus):
    score(corpus)
    table = read_embeddings(corpus / "embeddings.scp")
    vectors = dict(zip(table.ids, table.matrix.astype(np.float64), strict=True))
    for line in (corpus / "scores").read_text().splitlines():
        enroll_id, test_id, text = line.split(" ")
        a, b = vectors[enroll_id], vectors[test_id]
        assert float(text) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=3e-7)
        assert len(text.split(".")[1]) == 8


def test_the_card_says_what_was_done(corpus):
    score(corpus)
    card = json.loads((corpus / "scores.json").read_text())
    assert card == {
        "trials": f"{corpus}/trials",
        "embeddings": f"{corpus}/embeddings.scp",
        "enroll_embeddings": f"{corpus}/embeddings.scp",
        "backend": "length normalised, cosine",
        "enrolment": "models of one utterance",
        "norm": "no score normalisation",
        "num_scores": 276,
    }


def test_scores_never_stand_beside_the_card_of_others(corpus, monkeypatch):
    """Killed between the two: the scores are there, the card is not."""
    score(corpus)
    monkeypatch.setattr(score_files.atomic, "write_text", None)
    with pytest.raises(TypeError):
        score(corpus)
    assert (corpus / "scores").exists()
    assert not (corpus / "scores.json").exists()


def test_a_failed_run_leaves_the_last_result_as_it_was(corpus):
    score(corpus)
    before = [(corpus / name).read_bytes() for name in ("scores", "scores.json")]
    with (corpus / "trials").open("a") as stream:
        stream.write("s0-0 s0-1 target\n")
    with pytest.raises(
        DataError, match=r"trials:277: this pair is on line 1 already; run .* to drop repeated"
    ):
        score(corpus)
    assert [(corpus / name).read_bytes() for name in ("scores", "scores.json")] == before
    assert not list(corpus.glob(".*"))


def test_order_of_the_score_file_does_not_matter(corpus):
    score(corpus)
    first = metrics(corpus)
    lines = (corpus / "scores").read_text().splitlines(keepends=True)
    (corpus / "scores").write_text("".join(reversed(lines)))
    assert metrics(corpus) == first


def test_a_row_for_each_system_and_list(corpus):
    (corpus / "utt2spk").unlink()  # no intervals
    score(corpus)
    lines = (corpus / "trials").read_text().splitlines(keepends=True)
    kept = [line for line in lines if "s0" not in line]
    (corpus / "trials_hard").write_text("".join(kept))
    pairs = {tuple(line.split()[:2]) for line in kept}
    rows = (corpus / "scores").read_text().splitlines(keepends=True)
    (corpus / "scores_hard").write_text("".join(r for r in rows if tuple(r.split()[:2]) in pairs))
    hard = (corpus / "trials_hard", corpus / "scores_hard")
    out = metrics(corpus, "--system", "trained", *hard, "--system", "again", *hard)
    assert [line.split()[:2] for line in out[1:4]] == [
        ["trained", f"{corpus.name}/trials"],
        ["trained", f"{corpus.name}/trials_hard"],
        ["again", f"{corpus.name}/trials_hard"],
    ]
    assert out[2].split()[2:] == out[3].split()[2:] != out[1].split()[2:]
    assert out[4:] == ["No intervals: give --utt2spk or --spk-from-id."]


def test_lists_of_one_name_are_told_apart(corpus):
    score(corpus)
    other = corpus / "other" / corpus.name
    other.mkdir(parents=True)
    (other / "trials").write_bytes((corpus / "trials").read_bytes())
    rows = metrics(corpus, "--system", "trained", other / "trials", corpus / "scores")[1:3]
    assert [row.split()[1] for row in rows] == [f"{corpus}/trials", f"{other}/trials"]


def test_operating_points_are_chosen_by_name(corpus):
    (corpus / "utt2spk").unlink()  # no intervals
    score(corpus)
    assert "minDCF(0.01, 10:1)  minDCF(0.001)" in metrics(corpus, "--points", "sre08", "sre10")[0]


def test_speakers_beside_the_list_give_intervals_only_if_they_know_every_id(corpus, caplog):
    score(corpus)
    assert "[" in metrics(corpus, "--num-draws", 9)[1]
    lines = (corpus / "utt2spk").read_text().splitlines(keepends=True)
    (corpus / "utt2spk").write_text("".join(lines[1:]))
    assert "[" not in metrics(corpus)[1]
    assert "no interval, 1 ids have no speaker" in caplog.text


def test_two_scores_of_one_name_and_list_are_refused(corpus):
    score(corpus)
    with pytest.raises(DataError, match="two sets of scores for system 'trained'"):
        metrics(corpus, "--system", "trained", corpus / "trials", corpus / "scores")


def test_speakers_from_several_files(corpus):
    score(corpus)
    lines = (corpus / "utt2spk").read_text().splitlines(keepends=True)
    (corpus / "a").write_text("".join(lines[:10]))
    (corpus / "b").write_text("".join(lines[8:]))
    out = corpus / "metrics.json"
    metrics(corpus, "--utt2spk", corpus / "a", "--utt2spk", corpus / "b", "--num-draws", 9, "--json", out)
    assert json.loads(out.read_text())["rows"][0]["intervals"]["num_speakers"] == 6
    (corpus / "b").write_text("".join(lines[8:]).replace("s2-0 s2", "s2-0 s3"))
    with pytest.raises(DataError, match="b: s2-0 is speaker s3 here and s2 in an earlier file"):
        metrics(corpus, "--utt2spk", corpus / "a", "--utt2spk", corpus / "b")


def test_models_of_several_utterances(corpus):
    (corpus / "enroll.map").write_text("m0 s0-0 s0-1\nm1 s1-0\t s1-1\n")
    (corpus / "trials").write_text("m0 s0-2 target\nm1 s0-2 nontarget\n")
    score(corpus, "--enroll-map", corpus / "enroll.map")
    rows = [line.split() for line in (corpus / "scores").read_text().splitlines()]
    assert [row[:2] for row in rows] == [["m0", "s0-2"], ["m1", "s0-2"]]
    table = read_embeddings(corpus / "embeddings.scp")
    unit = {i: v / np.linalg.norm(v) for i, v in zip(table.ids, table.matrix.astype(float), strict=True)}
    model = unit["s0-0"] + unit["s0-1"]
    assert float(rows[0][2]) == pytest.approx(model @ unit["s0-2"] / np.linalg.norm(model), abs=3e-7)


def test_the_map_of_a_data_dir_is_found_and_gives_intervals(corpus, capsys):
    (corpus / "enroll.map").write_text("".join(f"m{n} s{n}-0 s{n}-1\n" for n in range(6)))
    pairs = [(m, t) for m in range(6) for t in range(6)]
    words = ("nontarget", "target")
    (corpus / "trials").write_text("".join(f"m{m} s{t}-2 {words[m == t]}\n" for m, t in pairs))
    assert "; 6 models of 2 to 2 utterances, mean-embedding; " in score(corpus)[0]
    found = (corpus / "scores").read_text()
    score(corpus, "--enroll-map", corpus / "enroll.map")
    assert (corpus / "scores").read_text() == found
    metrics(corpus, "--num-draws", 9, "--json", corpus / "metrics.json")
    assert json.loads((corpus / "metrics.json").read_text())["rows"][0]["intervals"]["num_speakers"] == 6
    (corpus / "trials").write_text(
        "s0-0 s0-2 target\ns1-0 s0-2 nontarget\n"
    )  # a list of utterances beside it
    assert "; models of one utterance; " in score(corpus)[0]


@pytest.mark.parametrize("rule", ["mean-embedding", "mean-score", "max-score"])
def test_the_rule_of_models_is_an_option_and_is_said(corpus, rule):
    (corpus / "enroll.map").write_text("m0 s0-0 s0-1\nm1 s1-0 s1-1 s1-2\n")
    (corpus / "trials").write_text("m0 s0-2\nm1 s0-2\n")
    out = score(corpus, "--enroll-map", corpus / "enroll.map", "--enroll-rule", rule)
    assert f"; 2 models of 2 to 3 utterances, {rule}; " in out[0]
    assert json.loads((corpus / "scores.json").read_text())["enrolment"].endswith(rule)
    scored = [float(line.split()[2]) for line in (corpus / "scores").read_text().splitlines()]
    table = read_embeddings(corpus / "embeddings.scp")
    unit = {i: v / np.linalg.norm(v) for i, v in zip(table.ids, table.matrix.astype(float), strict=True)}
    for value, utts in zip(scored, (["s0-0", "s0-1"], ["s1-0", "s1-1", "s1-2"]), strict=True):
        each = [unit[utt] @ unit["s0-2"] for utt in utts]
        length = np.linalg.norm(np.mean([unit[utt] for utt in utts], axis=0))
        expected = {
            "mean-embedding": np.mean(each) / length,
            "mean-score": np.mean(each),
            "max-score": max(each),
        }
        assert value == pytest.approx(expected[rule], abs=3e-7)


@pytest.fixture
def cohort(corpus):
    """Ten speakers of two or three utterances; c9 is called as a speaker of the trials."""
    rng = np.random.default_rng(3)
    names = [f"c{spk}-{utt}" for spk in range(10) for utt in range(2 + spk % 2)]
    (corpus / "cohort").mkdir()
    write_embeddings(corpus / "cohort" / "embeddings.scp", {n: rng.standard_normal(DIM) for n in names})
    speakers = "".join(f"{n} {n[:2].replace('c9', 's1')}\n" for n in names)
    (corpus / "cohort" / "utt2spk").write_text(speakers)
    return corpus / "cohort"


def normalise(corpus, cohort, *options):
    utt2spk = ("--utt2spk", corpus / "utt2spk", "--cohort-utt2spk", cohort / "utt2spk")
    return score(corpus, "--cohort", cohort / "embeddings.scp", *utt2spk, *options)


def test_as_norm_from_files_to_scores(corpus, cohort, caplog):
    """Against the definition, step by step: means, cosines, the four highest, standardised, halves added."""
    out = normalise(corpus, cohort, "--norm", "as-norm", "--top-n", 4)
    said = f"as-norm with 9 speakers of {cohort}/embeddings.scp, the highest 4"
    assert out[0].endswith(said)
    assert json.loads((corpus / "scores.json").read_text())["norm"] == said
    assert "1 of 10 cohort speakers occur in the trials and are left out, 's1' for one" in caplog.text
    raw = read_embeddings(cohort / "embeddings.scp")
    means = [raw.matrix[[i.startswith(f"c{spk}-") for i in raw.ids]].mean(0) for spk in range(9)]
    means = [mean / np.linalg.norm(mean) for mean in means]
    table = read_embeddings(corpus / "embeddings.scp")
    unit = {i: v / np.linalg.norm(v) for i, v in zip(table.ids, table.matrix.astype(float), strict=True)}
    for line in (corpus / "scores").read_text().splitlines():
        a, b, text = line.split()
        tops = [sorted(unit[name] @ mean for mean in means)[-4:] for name in (a, b)]
        halves = [(unit[a] @ unit[b] - np.mean(top)) / np.std(top) for top in tops]
        assert float(text) == pytest.approx(np.mean(halves), rel=2e-5, abs=2e-5)


def test_statistics_are_kept_used_again_and_refused_when_stale(corpus, cohort):
    options = ("--norm", "s-norm", "--norm-stats", corpus / "stats.json")
    normalise(corpus, cohort, *options)
    scored, kept = (corpus / "scores").read_bytes(), (corpus / "stats.json").read_bytes()
    normalise(corpus, cohort, *options)
    assert (corpus / "scores").read_bytes() == scored
    assert (corpus / "stats.json").read_bytes() == kept
    normalise(corpus, cohort, *options[:2])  # computed, not kept
    assert (corpus / "scores").read_bytes() == scored
    with pytest.raises(
        DataError, match=r"stats.json: these cohort statistics were made from another norm \(was s-"
    ):
        normalise(corpus, cohort, "--norm", "as-norm", "--top-n", 4, *options[2:])
    lines = (cohort / "utt2spk").read_text().splitlines(keepends=True)
    (cohort / "utt2spk").write_text("".join(lines).replace("c0-1 c0", "c0-1 c1"))
    with pytest.raises(DataError, match=r"stats.json: .* from another cohort \(was .*remove it, or give"):
        normalise(corpus, cohort, *options)
    assert (corpus / "scores").read_bytes() == scored


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--norm", "as-norm"), r"9 speakers of .*: top-n is 300 but there are only 9; lower --top-n"),
        (("--norm", "as-norm", "--top-n", 1), "a standard deviation of 1 scores; take at least two"),
    ],
)
def test_an_unfit_cohort_is_refused(corpus, cohort, options, message):
    with pytest.raises(DataError, match=message):
        normalise(corpus, cohort, *options)
    assert not (corpus / "scores").exists()


def test_cohort_options_that_are_missing(corpus, cohort):
    with pytest.raises(DataError, match="--norm z-norm: needs impostors; give --cohort SCP"):
        score(corpus, "--norm", "z-norm")
    with pytest.raises(
        DataError, match="speakers of the cohort are not known; give --cohort-utt2spk FILE, or"
    ):
        score(corpus, "--norm", "z-norm", "--cohort", cohort / "embeddings.scp")
    out = score(
        corpus, "--norm", "z-norm", "--cohort", cohort / "embeddings.scp", "--cohort-unit", "utterance"
    )
    assert out[0].endswith(f"z-norm with 25 utterances of {cohort}/embeddings.scp")


def test_plda_scores_models_of_several_utterances_by_the_book_and_takes_as_norm(corpus, cohort):
    """Factors of every model and utterance by themselves, standardised as the definition says."""
    options = ("--utt2spk", corpus / "utt2spk", "--lda-dim", 4, "--scorer", "plda")
    run(train_backend, *options, corpus / "embeddings.scp", corpus / "backend.json")
    (corpus / "enroll.map").write_text("m0 s0-0 s0-1\nm1 s1-0 s1-1 s1-2\n")
    (corpus / "trials").write_text("m0 s0-2\nm1 s0-2\nm1 s5-1\n")
    maps = ("--backend", corpus / "backend.json", "--enroll-map", corpus / "enroll.map")
    utts = {"m0": ["s0-0", "s0-1"], "m1": ["s1-0", "s1-1", "s1-2"]}
    backend = Backend.load(corpus / "backend.json")
    table = backend.transform(read_embeddings(corpus / "embeddings.scp"))
    vectors = dict(zip(table.ids, table.matrix.astype(float), strict=True))
    raw = cohort_module.speaker_means(
        read_embeddings(cohort / "embeddings.scp"), read_utt2spk(cohort / "utt2spk")
    )
    kept = [row for row, spk_id in enumerate(raw.ids) if spk_id != "s1"]
    impostors = backend.transform(raw).matrix[kept].astype(float)

    def pair(model, count, test):
        enroll = backend.scorer.enroll_factors(model[None], [count])
        return float((enroll @ backend.scorer.test_factors(test[None]).T).item())

    expected, normed = [], []
    for model_id, test_id in (("m0", "s0-2"), ("m1", "s0-2"), ("m1", "s5-1")):
        model = np.mean([vectors[utt] for utt in utts[model_id]], axis=0)
        count, test = len(utts[model_id]), vectors[test_id]
        value = pair(model, count, test)
        of_model = sorted(pair(model, count, other) for other in impostors)[-4:]
        of_test = sorted(pair(other, 1, test) for other in impostors)[-4:]
        expected.append(value)
        normed.append(np.mean([(value - np.mean(top)) / np.std(top) for top in (of_model, of_test)]))
    score(corpus, *maps)
    np.testing.assert_allclose(scores_in(corpus), expected, rtol=0, atol=1e-5)
    normalise(corpus, cohort, *maps, "--norm", "as-norm", "--top-n", 4)
    np.testing.assert_allclose(scores_in(corpus), normed, rtol=1e-5, atol=1e-5)


def scores_in(corpus):
    return [float(line.split()[2]) for line in (corpus / "scores").read_text().splitlines()]


def test_enrolment_from_its_own_archive(corpus):
    write_embeddings(corpus / "enroll.scp", {"m": np.ones(DIM)})
    (corpus / "trials").write_text("m s0-0\n")
    score(corpus, "--enroll-embeddings", corpus / "enroll.scp")
    assert (corpus / "scores").read_text().startswith("m s0-0 ")


def test_unknown_ids_leave_no_score_file(corpus):
    with (corpus / "trials").open("a") as stream:
        stream.write("s0-0 nobody nontarget\ns0-1 noone nontarget\n")
    with pytest.raises(
        DataError, match=r"trials:277: no embedding for 'nobody' in .*embeddings.scp; extract"
    ):
        score(corpus)
    assert not (corpus / "scores").exists()


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"{}"])
def test_a_backend_that_is_none(corpus, content):
    if content is not None:
        (corpus / "backend.json").write_bytes(content)
    with pytest.raises(DataError, match=r"backend.json: (cannot be read|not a back-end file)"):
        score(corpus, "--backend", corpus / "backend.json")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[:-2], r"scores: no score for pair 's5-1 s5-3' \(2 such pairs\)"),
        (lambda rows: [*rows, "x y 0.1\n"], r"scores:277: pair 'x y' is not in .*trials \(1 such lines\)"),
        (lambda rows: [*rows, *rows[:2]], r"scores:277: pair 's0-0 s0-1' is scored twice \(2 such lines\)"),
        (lambda rows: ["s0-0 s0-1 nan\n", *rows[1:]], "scores:1: score 'nan' is not a finite number"),
        (lambda rows: ["s0-0 s0-1 high\n", *rows[1:]], "scores:1: score 'high' is not a finite number"),
        (
            lambda rows: ["s0-0 s0-1 0.5 target\n", *rows[1:]],
            "scores:2: .* does not fit .*; write every line alike",
        ),
        (lambda _: [], "scores: empty file"),
    ],
)
def test_scores_that_do_not_match_the_trials(corpus, edit, message):
    score(corpus)
    rows = (corpus / "scores").read_text().splitlines(keepends=True)
    (corpus / "scores").write_text("".join(edit(rows)))
    with pytest.raises(DataError, match=message):
        metrics(corpus)


def test_missing_score_file(corpus):
    with pytest.raises(DataError, match="scores: cannot be read: No such file"):
        metrics(corpus)


def test_comments_at_the_top_of_a_score_file_are_skipped(tmp_path):
    trials = TrialList(["a", "b"], ["b", "c"], np.array([1, 0], dtype=np.int8), "list")
    (tmp_path / "scores").write_text("# enroll test score\n#\nb c 0.25\na\tb  -1e-3\n")
    assert score_files.read(tmp_path / "scores", trials).scores.tolist() == [-1e-3, 0.25]
    (tmp_path / "scores").write_text("# enroll test score\nb c 0.25\n# a b -1\n")
    with pytest.raises(DataError, match="scores:3: 4 fields"):
        score_files.read(tmp_path / "scores", trials)
    (tmp_path / "scores").write_text("# one\n# two\nb c 0.25\nb c 0.5\n")
    with pytest.raises(DataError, match="scores:4: pair 'b c' is scored twice"):
        score_files.read(tmp_path / "scores", trials)
    (tmp_path / "scores").write_text("# nothing else")
    with pytest.raises(DataError, match=r"no score for pair 'a b' \(2 such pairs\)"):
        score_files.read(tmp_path / "scores", trials)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_not_written(tmp_path, value):
    trials = TrialList(["a", "b"], ["b", "c"], np.array([1, 0], dtype=np.int8))
    with pytest.raises(DataError, match=rf"the score of 'b c' would be {value} \(1 such"):
        score_files.write(tmp_path / "scores", ScoreTable(trials, np.array([0.0, value])))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", "", "a\n", "\ud800", "a\0", "\ufeffa"])
def test_ids_that_would_not_read_back_are_not_written(tmp_path, name):
    table = ScoreTable(TrialList(["a"], [name], np.array([1], dtype=np.int8)), np.array([0.5]))
    with pytest.raises(DataError, match="cannot write id"):
        score_files.write(tmp_path / "scores", table)
    assert not list(tmp_path.iterdir())


def test_a_score_file_does_not_begin_as_a_comment_does(tmp_path):
    labels = np.array([1, 0], dtype=np.int8)
    table = ScoreTable(TrialList(["#a", "b"], ["b", "c"], labels), np.array([0.5, 1]))
    with pytest.raises(DataError, match="the file would begin with '#a', which reads as a comment"):
        score_files.write(tmp_path / "scores", table)
    trials = TrialList(["b", "#a"], ["c", "b"], labels)
    score_files.write(tmp_path / "scores", ScoreTable(trials, np.array([1, 0.5])))
    assert score_files.read(tmp_path / "scores", trials).scores.tolist() == [1, 0.5]


def test_the_step_scores_every_list_with_one_set_of_statistics(corpus, cohort):
    data, out = corpus / "data", corpus / "out"
    data.mkdir()
    for name in ("trials", "utt2spk"):
        (corpus / name).rename(data / name)
    (data / "trials_few").write_text("s0-0 s1-0\n")
    norm = ["--norm", "as-norm", "--top-n", "5", "--cohort", cohort]
    dirs = [corpus, data, out]

    def step(*options):
        command = ["bash", "steps/score_trials.sh", *options, *dirs]
        return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)

    done = step(*norm, "--cohort-utt2spk", cohort / "utt2spk")
    assert done.returncode == 0, done.stderr
    lists = [line.split(": ")[0] for line in done.stdout.splitlines()]
    assert lists == [f"{out}/trials", f"{out}/trials_few"]
    names = ["cohort_stats.json", "trials", "trials.json", "trials_few", "trials_few.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    (few,) = (out / "trials_few").read_text().splitlines()
    same = next(line for line in (out / "trials").read_text().splitlines() if line.startswith("s0-0 s1-0 "))
    assert float(few.split()[2]) == pytest.approx(float(same.split()[2]), abs=1e-6)
    assert "1 of 10 cohort speakers occur in the trials" in done.stderr
    usage = step(*norm[:4])
    assert (usage.returncode, usage.stdout) == (2, "")
    assert usage.stderr.startswith("score_trials.sh: --norm as-norm needs --cohort; see")


def test_ids_with_wide_blanks_are_read_back(tmp_path):
    """U+3000 is a blank to str.split, not to Kaldi."""
    trials = TrialList(["说话人\u3000甲"], ["b"], np.array([1], dtype=np.int8))
    table = ScoreTable(trials, np.array([-1.5e-7]))
    score_files.write(tmp_path / "scores", table)
    assert score_files.read(tmp_path / "scores", trials).scores.tolist() == [-1.5e-7]


def test_without_matplotlib_the_table_is_printed_and_the_extra_named(corpus, capsys, monkeypatch):
    score(corpus)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    table = metrics(corpus)
    assert len(table) == 3
    plot = ["--system", "trained", f"{corpus}/trials", f"{corpus}/scores", "--plot-dir", f"{corpus}"]
    with pytest.raises(MissingExtraError, match=r"matplotlib is not installed; .*requirements/plot\.txt"):
        compute_metrics.main(compute_metrics.options().parse_args(plot))
    assert capsys.readouterr().out.splitlines() == table
    assert not (corpus / "det.png").exists()


def test_exit_statuses(corpus):
    def shell(*options):
        system = ("--system", "a", corpus / "trials", corpus / "scores")
        command = [sys.executable, "-m", "speakerlab.bin.compute_metrics", *map(str, (*system, *options))]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    score(corpus)
    good = shell()
    assert (good.returncode, len(good.stdout.splitlines())) == (0, 3)
    usage = shell("--num-draws", 0)
    assert (usage.returncode, usage.stdout) == (2, "")
    (corpus / "trials").write_text("s0-0 s0-1 target\n")
    (corpus / "scores").write_text("s0-0 s0-1 0.5\n")
    bad = shell()
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "Traceback" not in bad.stderr
    last = bad.stderr.splitlines()[-1]
    assert last.startswith(f"compute_metrics: {corpus}/trials: no nontarget trial among 1; ")
