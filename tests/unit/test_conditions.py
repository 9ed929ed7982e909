"""Results by condition: which trials a cell holds, what small cells show, what equalising does."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.metrics.detection import detection
from speakerlab.report import conditions, result_tables
from speakerlab.report.evaluation import Scored, Settings
from speakerlab.types import ScoreTable, TrialList

SETTINGS = Settings(num_draws=50)
NUM_UTTS = 9  # of each speaker: 36 targets


def make(folder, genders, *, by_model=False, llr=False):
    """Every pair of the utterances of speakers s0, s1, ... as a trial; women are easy, men are not."""
    speakers = {f"s{spk}-{utt}": f"s{spk}" for spk in range(len(genders)) for utt in range(NUM_UTTS)}
    rng = np.random.default_rng(1)
    pairs = list(itertools.combinations(speakers, 2))
    labels = np.array([speakers[a] == speakers[b] for a, b in pairs], dtype=np.int8)
    women = np.array([genders[int(speakers[a][1:])] == "f" for a, _ in pairs])
    scores = rng.standard_normal(len(pairs)) + labels * np.where(women, 4.0, 1.5)
    ids = ["m-" + a for a, _ in pairs] if by_model else [a for a, _ in pairs]
    table = ScoreTable(TrialList(ids, [b for _, b in pairs], labels, "trials"), scores)
    (folder / "spk2gender").write_text("".join(f"s{spk} {gender}\n" for spk, gender in enumerate(genders)))
    (folder / "utt2gender").write_text("".join(f"{u} {genders[int(s[1:])]}\n" for u, s in speakers.items()))
    (folder / "utt2dur").write_text("".join(f"{utt} {2 + int(utt[-1])}\n" for utt in speakers))
    return Scored("a", "set/trials", folder / "trials", folder / "scores", table, llr, speakers)


def part(scored, keep):
    rows = np.flatnonzero(keep)
    trials = scored.table.trials
    ids = ([of[row] for row in rows] for of in (trials.enroll_ids, trials.test_ids))
    return ScoreTable(TrialList(*ids, trials.labels[rows]), scored.table.scores[rows])


def test_cells_are_the_pairs_of_values(tmp_path):
    scored = make(tmp_path, "ffmm")
    report = conditions.report(conditions.parse("utt2gender"), scored, SETTINGS)
    assert [cell.values for cell in report.cells] == [("f",), ("f", "m"), ("m",)]
    # 2 x 36 targets and 81 non-targets within a gender, 4 pairs of speakers across.
    assert [(c.num_targets, c.num_nontargets) for c in report.cells] == [(72, 81), (0, 324), (72, 81)]
    women, across, men = report.cells
    of_women = np.array([a[1] in "01" and b[1] in "01" for a, b in _pairs(scored)])
    assert women.metrics == detection(part(scored, of_women), SETTINGS.presets)
    assert women.intervals.eer.low <= women.metrics.eer <= women.intervals.eer.high
    assert women.intervals.num_speakers == 2
    assert women.metrics.eer < men.metrics.eer
    assert across.metrics is None
    assert across.intervals is None


def _pairs(scored):
    return zip(scored.table.trials.enroll_ids, scored.table.trials.test_ids, strict=True)


def test_speakers_have_values_too(tmp_path):
    scored = make(tmp_path, "ffmm")
    by_utterance, by_speaker = (
        conditions.report(conditions.parse(name), scored, SETTINGS).cells
        for name in ("utt2gender", "spk2gender")
    )
    assert by_speaker == by_utterance


def test_equalising_averages_the_rates_of_cells_that_have_one(tmp_path):
    """Six women and two men: pooled, the women decide; equalised, both count alike, whatever is across."""
    scored = make(tmp_path, "ffffffmm")
    report = conditions.report(conditions.parse("utt2gender"), scored, SETTINGS)
    women = np.array([int(a[1]) < 6 and int(b[1]) < 6 for a, b in _pairs(scored)])
    men = np.array([int(a[1]) >= 6 and int(b[1]) >= 6 for a, b in _pairs(scored)])
    is_target, scores = scored.table.trials.labels == 1, scored.table.scores

    def rates(threshold):
        miss = [(scores[of & is_target] < threshold).mean() for of in (women, men)]
        false_alarm = [(scores[of & ~is_target] >= threshold).mean() for of in (women, men)]
        return sum(miss) / 2, sum(false_alarm) / 2

    costs = [miss + 99 * false_alarm for miss, false_alarm in map(rates, [*scores, np.inf])]
    assert report.equalised.min_dcf["0.01"] == pytest.approx(min(costs))
    miss, false_alarm = min(map(rates, scores), key=lambda pair: abs(pair[0] - pair[1]))
    assert report.equalised.eer == pytest.approx((miss + false_alarm) / 2, abs=0.01)
    assert report.equalised.act_dcf == {}


def test_actual_costs_of_log_likelihood_ratios(tmp_path):
    report = conditions.report(conditions.parse("utt2gender"), make(tmp_path, "ffmm", llr=True), SETTINGS)
    assert set(report.equalised.act_dcf) == {"0.01", "0.05"}
    assert report.cells[0].metrics.cllr > 0


def test_durations_fall_into_bins_whose_edges_are_below(tmp_path):
    scored = make(tmp_path, "fmfm")
    report = conditions.report(conditions.parse("utt2dur:5,9"), scored, SETTINGS)
    found = {cell.values: cell.num_targets for cell in report.cells}
    # Utterances 0-2 last 2 to 4 s, 3-6 5 to 8 s, 7-8 9 and 10 s; targets are pairs of one of four speakers.
    pairs = {("<5",): 3, ("<5", "5-9"): 12, ("<5", ">=9"): 6, ("5-9",): 6, ("5-9", ">=9"): 8, (">=9",): 1}
    assert found == {values: 4 * num for values, num in pairs.items()}
    assert sum(cell.num_nontargets for cell in report.cells) == 6 * 81
    few = [cell for cell in report.cells if cell.metrics is None]
    assert {cell.values for cell in few} == {("<5",), ("<5", ">=9"), ("5-9",), (">=9",)} - {
        values for values, num in found.items() if num >= conditions.MIN_TRIALS
    }


def test_models_count_by_their_test_side(tmp_path):
    scored = make(tmp_path, "ffmm", by_model=True)
    report = conditions.report(conditions.parse("utt2gender"), scored, SETTINGS)
    assert report.sides == "test"
    assert [cell.values for cell in report.cells] == [("f",), ("m",)]


def test_the_table_shows_counts_marks_and_the_average(tmp_path):
    scored = make(tmp_path, "ffmm")
    report = conditions.report(conditions.parse("spk2gender"), scored, SETTINGS)
    (table,) = result_tables.by_condition([report], SETTINGS)
    assert table.title == "set/trials by spk2gender"
    assert table.header[:6] == ["system", "enrolment and test", "targets", "non-targets", "speakers", "EER %"]
    women, across, _, average = table.rows
    assert women[:5] == ["a", "f", "72", "81", "2"]
    assert women[5].startswith("* ")
    assert across == ["a", "f / m", "0", "324", "", "-", "-", "-"]
    assert average[:5] == ["a", "equalised over 2", "", "", ""]
    assert average[5] == f"{100 * report.equalised.eer:.2f}"
    assert [note[:2] for note in table.notes] == ["-:", "*:", "eq"]


def key_of(scored, folder):
    """A key that says of each trial the gender and how many segments were enrolled."""
    rows = zip(scored.table.trials, itertools.cycle("13"), strict=False)
    lines = [f"{t.enroll_id}\t{t.test_id}\t{'fm'[t.enroll_id >= 's2']}\t{num}\n" for t, num in rows]
    (folder / "key.tsv").write_text("modelid\tsegmentid\tgender\tnum_enroll_segs\n" + "".join(lines))


def test_columns_of_a_key_divide_the_trials(tmp_path):
    scored = make(tmp_path, "ffmm")
    key_of(scored, tmp_path)
    condition = conditions.parse("key.tsv:gender,num_enroll_segs")
    report = conditions.report(condition, scored, SETTINGS)
    assert report.sides == "gender / num_enroll_segs"
    assert [cell.values for cell in report.cells] == [("f", "1"), ("f", "3"), ("m", "1"), ("m", "3")]
    assert sum(cell.num_targets for cell in report.cells) == 4 * 36
    is_first = np.array([row % 2 == 0 and a < "s2" for row, (a, _) in enumerate(_pairs(scored))])
    assert report.cells[0].metrics == detection(part(scored, is_first), SETTINGS.presets)
    assert report.equalised is not None
    with pytest.raises(DataError, match="key.tsv:1: the header has no 'phone_num_match'"):
        conditions.report(conditions.parse("key.tsv:phone_num_match"), scored, SETTINGS)
    with pytest.raises(DataError, match="key.tsv: 35 different values of segmentid; name fewer"):
        conditions.report(conditions.parse("key.tsv:segmentid"), make(tmp_path, "ffmm"), SETTINGS)
    lines = (tmp_path / "key.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "key.tsv").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="key.tsv: no line for the trial 's3-7 s3-8' of trials; give its key"):
        conditions.report(condition, scored, SETTINGS)


@pytest.mark.parametrize(
    "text", ["key.tsv", "utt2dur:3,3", "utt2dur:5,2", "utt2dur:a", "utt2dur:", "utt2dur:nan,1"]
)
def test_edges_that_do_not_rise(text):
    with pytest.raises(ValueError, match="."):
        conditions.parse(text)


def test_a_path_is_taken_as_it_is(tmp_path):
    scored = make(tmp_path, "fm")
    assert conditions.parse("a/utt2dur:3,6") == conditions.Condition(Path("a/utt2dur"), (3.0, 6.0))
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "channel"
    other.write_text("".join(f"{utt} mic\n" for utt in scored.utt2spk))
    report = conditions.report(conditions.Condition(other), scored, SETTINGS)
    assert [cell.values for cell in report.cells] == [("mic",)]
    assert report.equalised is None


@pytest.mark.parametrize(
    ("condition", "edit", "message"),
    [
        (
            "utt2gender",
            lambda text: text.split("\n", 1)[1],
            r"utt2gender: no line for 's0-0' of trials \(1 such",
        ),
        ("spk2gender", lambda text: text.split("\n", 1)[1], r"spk2gender: no line for speaker 's0' \(1 such"),
        ("utt2dur:3", lambda text: text.replace(" 2\n", " long\n", 1), "'long' of 's0-0' is not a number"),
        ("utt2dur:3", lambda text: text.replace(" 2\n", " nan\n", 1), "'nan' of 's0-0' is not a number"),
        (
            "utt2dur",
            lambda text: "".join(f"{line}{n}\n" for n, line in enumerate(text.splitlines())),
            "18 differ",
        ),
        ("utt2none", None, "utt2none: cannot be read"),
    ],
)
def test_faults_of_a_condition(tmp_path, monkeypatch, condition, edit, message):
    scored = make(tmp_path, "fm")
    monkeypatch.setattr(conditions, "MAX_VALUES", 10)
    if edit:
        path = tmp_path / condition.split(":")[0]
        path.write_text(edit(path.read_text()))
    with pytest.raises(DataError, match=message):
        conditions.report(conditions.parse(condition), scored, SETTINGS)


def test_values_of_speakers_need_to_know_who_speaks(tmp_path):
    scored = make(tmp_path, "fm")
    unknown = Scored("a", "t", scored.trials, scored.scores, scored.table, scored.llr, {})
    with pytest.raises(DataError, match="spk2gender: whose speaker each id is is not known; give --utt2spk"):
        conditions.report(conditions.parse("spk2gender"), unknown, SETTINGS)
    cells = conditions.report(conditions.parse("utt2gender"), unknown, SETTINGS).cells
    assert [cell.intervals for cell in cells] == [None, None, None]
