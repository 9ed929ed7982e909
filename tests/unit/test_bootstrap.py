"""Speaker bootstrap against a slow reference that repeats trials one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.metrics import resampling
from speakerlab.metrics.bootstrap import det_band, paired_bootstrap, speaker_bootstrap
from speakerlab.metrics.detection import FPRS, Figures, detection, figures
from speakerlab.metrics.error_curve import error_curve
from speakerlab.metrics.operating_points import PRESETS
from speakerlab.metrics.resampling import Resampler
from speakerlab.types import ScoreTable, TrialList


def corpus(num_speakers, num_trials, *, seed=0):
    """Trials between utterances of a few speakers, eight each; rounded scores, so that there are ties."""
    rng = np.random.default_rng(seed)
    utt2spk = {f"s{spk}-{utt}": f"s{spk}" for spk in range(num_speakers) for utt in range(8)}
    pairs = [(a, b) for a in utt2spk for b in utt2spk]
    same = np.array([utt2spk[a] == utt2spk[b] for a, b in pairs])
    weights = np.where(same, 0.4 / same.sum(), 0.6 / (~same).sum())  # enough targets
    rows = rng.choice(len(pairs), num_trials, replace=False, p=weights)
    enroll_ids, test_ids = zip(*(pairs[row] for row in rows), strict=True)
    labels = same[rows].astype(np.int8)
    scores = (rng.standard_normal(num_trials) + 1.5 * labels).round(1)
    return ScoreTable(TrialList(enroll_ids, test_ids, labels, "list"), scores), utt2spk


def repeated(scored, utt2spk, times):
    """The list with a trial within speaker a repeated m_a times and one between a and b m_a * m_b times."""
    rows = []
    for row, trial in enumerate(scored.trials):
        a, b = utt2spk[trial.enroll_id], utt2spk[trial.test_id]
        rows += [row] * (times[a] if a == b else times[a] * times[b])
    ids = [str(row) for row in range(len(rows))]
    return ScoreTable(TrialList(ids, ids, scored.trials.labels[rows]), scored.scores[rows])


def reference(scored, utt2spk, seed, num_draws):
    """Each draw that has both kinds of trials, as a list of repeated trials."""
    trials = scored.trials
    speakers = sorted({utt2spk[i] for i in [*trials.enroll_ids, *trials.test_ids]})
    draws = np.random.default_rng(seed).multinomial(
        len(speakers), [1 / len(speakers)] * len(speakers), size=num_draws
    )
    samples = (repeated(scored, utt2spk, dict(zip(speakers, counts, strict=True))) for counts in draws)
    return [sample for sample in samples if set(sample.trials.labels) == {0, 1}]


def leaves(found):
    """What a set of figures holds, by metric and key."""
    for field in dataclasses.fields(Figures):
        value = getattr(found, field.name)
        if isinstance(value, dict):
            yield from ((f"{field.name} {key}", one) for key, one in value.items())
        elif value is not None:
            yield field.name, value


@pytest.mark.parametrize(("num_speakers", "num_trials"), [(12, 300), (3, 60)])
@pytest.mark.parametrize("block", [1, 1000, 2**20])
def test_intervals_of_every_metric_equal_repeating_the_trials(monkeypatch, num_speakers, num_trials, block):
    monkeypatch.setattr(resampling, "BLOCK_VALUES", block)
    scored, utt2spk = corpus(num_speakers, num_trials)
    samples = reference(scored, utt2spk, seed=7, num_draws=60)
    expected = [dict(leaves(detection(sample, PRESETS, llr=True))) for sample in samples]
    found = speaker_bootstrap(scored, utt2spk, np.random.default_rng(7), PRESETS, llr=True, num_draws=60)
    assert len(dict(leaves(found))) == len(expected[0]) > 20
    for name, interval in leaves(found):
        bounds = np.percentile([metrics[name] for metrics in expected], [2.5, 97.5])
        assert (interval.low, interval.high) == pytest.approx(bounds, abs=1e-12), name
    assert (found.num_speakers, found.num_draws) == (num_speakers, len(expected))
    assert found.num_skipped == 60 - len(expected)


def test_a_draw_of_every_speaker_once_has_the_metrics_of_the_list():
    scored, utt2spk = corpus(12, 300)
    resampler = Resampler.of(scored, utt2spk, PRESETS)
    (batch,) = resampler.batches(np.ones((1, 12), dtype=np.int64))
    found = leaves(figures(batch.curve, batch.decided, PRESETS, FPRS))
    expected = dict(leaves(detection(scored, PRESETS, llr=True)))
    assert {name: float(value[0]) for name, value in found} == pytest.approx(expected, abs=1e-12)


def test_without_ratios_there_are_no_intervals_of_actual_costs():
    scored, utt2spk = corpus(8, 200)
    found = speaker_bootstrap(scored, utt2spk, np.random.default_rng(0), num_draws=20)
    assert (found.cllr, found.act_dcf, found.act_c_primary) == (None, {}, {})


def test_draws_without_both_kinds_are_counted():
    scored, utt2spk = corpus(3, 60)
    found = speaker_bootstrap(scored, utt2spk, np.random.default_rng(0), num_draws=900)
    assert found.num_draws + found.num_skipped == 900
    assert 60 < found.num_skipped < 140  # all three the same speaker: 1 draw of 9


def test_order_of_trials_does_not_matter():
    scored, utt2spk = corpus(8, 200)
    order = np.random.default_rng(1).permutation(200)
    trials = scored.trials
    columns = ([ids[row] for row in order] for ids in (trials.enroll_ids, trials.test_ids))
    shuffled = ScoreTable(TrialList(*columns, trials.labels[order]), scored.scores[order])
    draws = [speaker_bootstrap(t, utt2spk, np.random.default_rng(0)) for t in (scored, shuffled)]
    assert draws[0] == draws[1]


def test_speakers_count_not_trials():
    """A hundred copies of every trial, each of other utterances, make no interval narrower."""
    scored, utt2spk = corpus(8, 100)
    trials = scored.trials
    copies = [
        [f"{copy}-{i}" for copy in range(100) for i in ids] for ids in (trials.enroll_ids, trials.test_ids)
    ]
    many = ScoreTable(TrialList(*copies, np.tile(trials.labels, 100)), np.tile(scored.scores, 100))
    utt2spk |= {f"{copy}-{i}": spk_id for copy in range(100) for i, spk_id in utt2spk.items()}
    draws = [speaker_bootstrap(t, utt2spk, np.random.default_rng(0), num_draws=50) for t in (scored, many)]
    assert draws[0] == draws[1]


def test_unknown_speaker_is_named():
    scored, utt2spk = corpus(4, 50)
    del utt2spk["s1-0"], utt2spk["s2-1"]
    with pytest.raises(DataError, match=r"list: s1-0 has no speaker in utt2spk \(2 such ids\)"):
        speaker_bootstrap(scored, utt2spk, np.random.default_rng(0))


@pytest.mark.parametrize(("label", "word"), [(0, "nontarget"), (1, "target")])
def test_label_that_contradicts_the_speakers_is_named(label, word):
    scored, utt2spk = corpus(4, 50)
    row = int(np.flatnonzero(scored.trials.labels != label)[0])
    scored.trials.labels[row] = label
    pair = f"{scored.trials.enroll_ids[row]} {scored.trials.test_ids[row]}"
    with pytest.raises(DataError, match=rf"trial '{pair}' is labelled {word} but .*\(1 such trials\)"):
        speaker_bootstrap(scored, utt2spk, np.random.default_rng(0))


def test_no_usable_draw_is_an_error():
    trials = TrialList(["a", "a"], ["a", "b"], np.array([1, 0], dtype=np.int8), "list")
    scored = ScoreTable(trials, np.array([1.0, 0.0]))
    seed = next(s for s in range(99) if 2 in np.random.default_rng(s).multinomial(2, [0.5, 0.5], size=1))
    with pytest.raises(DataError, match="list: none of 1 draws of 2 speakers has both kinds"):
        speaker_bootstrap(scored, {"a": "A", "b": "B"}, np.random.default_rng(seed), num_draws=1)


def worse(scored, *, noise, seed=3):
    """The same trials scored by a noisier system."""
    rng = np.random.default_rng(seed)
    return ScoreTable(
        scored.trials, (scored.scores + noise * rng.standard_normal(len(scored.scores))).round(1)
    )


def test_differences_equal_repeating_the_trials_of_both_systems():
    table_a, utt2spk = corpus(10, 300)
    table_b = worse(table_a, noise=0.7)
    pairs = zip(
        *(reference(table, utt2spk, seed=5, num_draws=50) for table in (table_a, table_b)), strict=True
    )
    expected = [[dict(leaves(detection(one, llr=True))) for one in pair] for pair in pairs]
    found = paired_bootstrap(table_a, table_b, utt2spk, np.random.default_rng(5), llr=True, num_draws=50)
    for name, difference in leaves(found):
        each = np.array([a[name] - b[name] for a, b in expected])
        bounds = np.percentile(each, [2.5, 97.5])
        assert (difference.low, difference.high) == pytest.approx(bounds, abs=1e-12), name
        rarer = min((each <= 0).sum(), (each >= 0).sum())
        assert difference.p_value == pytest.approx(min(1, 2 * (rarer + 1) / (len(expected) + 1))), name
    assert (found.num_speakers, found.num_draws, found.num_skipped) == (10, len(expected), 50 - len(expected))


def test_a_system_does_not_differ_from_itself():
    scored, utt2spk = corpus(8, 200)
    found = paired_bootstrap(scored, scored, utt2spk, np.random.default_rng(0), num_draws=40)
    assert {(one.low, one.high, one.p_value) for _, one in leaves(found)} == {(0.0, 0.0, 1.0)}


def test_a_much_worse_system_differs_and_a_swap_changes_the_sign():
    table_a, utt2spk = corpus(20, 1500)
    table_b = worse(table_a, noise=4)
    forth = paired_bootstrap(table_a, table_b, utt2spk, np.random.default_rng(0), num_draws=400)
    back = paired_bootstrap(table_b, table_a, utt2spk, np.random.default_rng(0), num_draws=400)
    assert forth.eer.high < 0
    assert forth.eer.p_value == pytest.approx(2 / 401)
    assert (back.eer.low, back.eer.high) == pytest.approx((-forth.eer.high, -forth.eer.low), abs=1e-12)
    assert back.eer.p_value == forth.eer.p_value


def test_p_values_are_as_often_small_as_they_say():
    """Two systems as lucky with speakers: p is below 0.1 for a list in ten, below 0.5 for one in two."""
    p_values = []
    for seed in range(50):
        scored, utt2spk = corpus(20, 1000, seed=seed)
        trials, rng = scored.trials, np.random.default_rng(seed)
        enroll, test = (
            np.array([int(utt2spk[i][1:]) for i in ids]) for ids in (trials.enroll_ids, trials.test_ids)
        )
        systems = []
        for _ in range(2):
            ease, pull = 2 + 0.8 * rng.standard_normal(20), 0.5 * rng.standard_normal(20)
            means = np.where(trials.labels == 1, ease[enroll], pull[enroll] + pull[test])
            systems.append(ScoreTable(trials, means + 0.5 * rng.standard_normal(1000)))
        found = paired_bootstrap(*systems, utt2spk, np.random.default_rng(0), num_draws=99)
        p_values.append(found.eer.p_value)
    assert 1 <= (np.array(p_values) < 0.1).sum() <= 12
    assert 15 <= (np.array(p_values) < 0.5).sum() <= 35


@pytest.mark.parametrize("change", ["enroll_ids", "test_ids", "labels"])
def test_other_trials_cannot_be_paired(change):
    scored, utt2spk = corpus(8, 200)
    column = getattr(scored.trials, change)
    trials = dataclasses.replace(scored.trials, name="other", **{change: column[::-1]})
    with pytest.raises(DataError, match="other: not the trials of list; score both systems on one list"):
        paired_bootstrap(scored, ScoreTable(trials, scored.scores), utt2spk, np.random.default_rng(0))


def test_equal_trials_in_another_list_can_be_paired():
    scored, utt2spk = corpus(8, 200)
    copy = dataclasses.replace(scored.trials, enroll_ids=list(scored.trials.enroll_ids))
    table = ScoreTable(copy, scored.scores)
    assert paired_bootstrap(scored, table, utt2spk, np.random.default_rng(0), num_draws=9).eer.p_value == 1


def test_det_band_equals_repeating_the_trials():
    scored, utt2spk = corpus(12, 300)
    p_fa = np.array([0.001, 0.01, 0.05, 0.2, 0.5, 0.99])
    rates = []
    for sample in reference(scored, utt2spk, seed=2, num_draws=60):
        curve = error_curve(sample)
        rates.append(np.interp(p_fa, curve.p_fa[::-1], curve.p_miss[::-1]))
    band = det_band(scored, utt2spk, np.random.default_rng(2), p_fa, num_draws=60)
    low, high = np.percentile(rates, [2.5, 97.5], axis=0)
    assert band.low == pytest.approx(low, abs=1e-12)
    assert band.high == pytest.approx(high, abs=1e-12)
    assert np.array_equal(band.p_fa, p_fa)


def test_no_usable_draw_is_an_error_of_the_band_and_of_pairs_too():
    trials = TrialList(["a", "a"], ["a", "b"], np.array([1, 0], dtype=np.int8), "list")
    scored, speakers = ScoreTable(trials, np.array([1.0, 0.0])), {"a": "A", "b": "B"}
    seed = next(s for s in range(99) if 2 in np.random.default_rng(s).multinomial(2, [0.5, 0.5], size=1))
    for measure in (
        lambda rng: det_band(scored, speakers, rng, np.array([0.1]), num_draws=1),
        lambda rng: paired_bootstrap(scored, scored, speakers, rng, num_draws=1),
    ):
        with pytest.raises(DataError, match="list: none of 1 draws of 2 speakers has both kinds"):
            measure(np.random.default_rng(seed))
