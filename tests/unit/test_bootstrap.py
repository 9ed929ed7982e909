"""Speaker bootstrap against a slow reference that repeats trials one by one."""

from __future__ import annotations

import numpy as np
import pytest

from speakerlab.errors import DataError
from speakerlab.metrics import resampling
from speakerlab.metrics.bootstrap import speaker_bootstrap
from speakerlab.metrics.detection import detection
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
    """Metrics of each draw that has both kinds of trials."""
    trials = scored.trials
    speakers = sorted({utt2spk[i] for i in [*trials.enroll_ids, *trials.test_ids]})
    draws = np.random.default_rng(seed).multinomial(
        len(speakers), [1 / len(speakers)] * len(speakers), size=num_draws
    )
    metrics = []
    for counts in draws:
        sample = repeated(scored, utt2spk, dict(zip(speakers, counts, strict=True)))
        if set(sample.trials.labels) == {0, 1}:
            metrics.append(detection(sample))
    return metrics


@pytest.mark.parametrize(("num_speakers", "num_trials"), [(12, 300), (3, 60)])
@pytest.mark.parametrize("block", [1, 1000, 2**20])
def test_equals_repeating_the_trials(monkeypatch, num_speakers, num_trials, block):
    monkeypatch.setattr(resampling, "BLOCK_VALUES", block)
    scored, utt2spk = corpus(num_speakers, num_trials)
    expected = reference(scored, utt2spk, seed=7, num_draws=60)
    found = speaker_bootstrap(scored, utt2spk, np.random.default_rng(7), num_draws=60)
    eers = [metrics.eer for metrics in expected]
    assert (found.eer.low, found.eer.high) == pytest.approx(np.percentile(eers, [2.5, 97.5]), abs=1e-12)
    for name in found.min_dcf:
        costs = [metrics.min_dcf[name] for metrics in expected]
        interval = found.min_dcf[name]
        assert (interval.low, interval.high) == pytest.approx(np.percentile(costs, [2.5, 97.5]), abs=1e-12)
    assert (found.num_speakers, found.num_draws) == (num_speakers, len(expected))
    assert found.num_skipped == 60 - len(expected)


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
