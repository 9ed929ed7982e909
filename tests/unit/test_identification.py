"""Open-set identification against hand-worked galleries and counting at every threshold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speakerlab.bin import measure_identification
from speakerlab.errors import DataError
from speakerlab.metrics.identification import gallery, identification
from speakerlab.types import ScoreTable, TrialList

SCORES = np.array(
    [
        [0.9, 0.1, 0.2],  # mated, first
        [0.3, 0.8, 0.4],  # mated, first
        [0.7, 0.2, 0.5],  # mated with the third model, second
        [0.6, 0.6, 0.1],  # mated, tied for the top
        [0.5, 0.3, 0.2],  # not in the gallery
        [0.1, 0.85, 0.2],  # not in the gallery
    ]
)
MATES = np.array([0, 1, 2, 0, -1, -1])


def test_a_gallery_by_hand():
    metrics = identification(SCORES, MATES, fpirs=[0, 0.4, 0.5, 1])
    assert (metrics.gallery_size, metrics.num_mated, metrics.num_nonmated) == (3, 4, 2)
    assert metrics.rank_1 == 0.5
    # Non-mated tops are 0.5 and 0.85. No false positive: above 0.85, as only 0.9 is. Half: above 0.5.
    assert metrics.fnir_at_fpir == {"0": 0.75, "0.4": 0.75, "0.5": 0.5, "1": 0.5}


@pytest.mark.parametrize("decimals", [1, 8])
def test_counting_at_every_threshold(decimals):
    rng = np.random.default_rng(0)
    mates = rng.integers(-1, 5, size=200)
    scores = rng.normal(0, 1, (200, 5))
    scores[np.flatnonzero(mates >= 0), mates[mates >= 0]] += 1.5
    scores = scores.round(decimals)

    def rates(threshold):
        tops = scores.max(axis=1)
        found = [
            mate >= 0 and row[mate] == top and (row == top).sum() == 1 and top >= threshold
            for row, mate, top in zip(scores, mates, tops, strict=True)
        ]
        accepted = (tops >= threshold)[mates < 0].mean()
        return accepted, 1 - np.array(found)[mates >= 0].mean()

    ordered = np.unique(scores)
    every = [rates(t) for t in [*ordered, *(ordered[1:] + ordered[:-1]) / 2, np.inf]]
    for name, fnir in identification(
        scores, mates, fpirs=[0, 0.01, 0.07, 0.1, 0.29, 0.5, 1]
    ).fnir_at_fpir.items():
        assert fnir == pytest.approx(min(miss for accept, miss in every if accept <= float(name)), abs=1e-12)


def test_monotone_maps_and_the_order_of_probes_and_models_do_not_matter():
    rng = np.random.default_rng(1)
    scores, mates = rng.normal(size=(60, 4)).round(1), rng.integers(-1, 4, size=60)
    before = identification(scores, mates)
    assert identification(np.exp(scores), mates) == before
    probes, models = rng.permutation(60), rng.permutation(4)
    place = np.append(np.argsort(models), -1)  # -1 stays -1
    assert identification(scores[probes][:, models], place[mates[probes]]) == before


def test_a_closed_set_has_a_rank_but_no_false_positives():
    metrics = identification(SCORES[:4], MATES[:4])
    assert (metrics.rank_1, metrics.fnir_at_fpir, metrics.num_nonmated) == (0.5, {}, 0)


def test_a_gallery_of_one_model():
    metrics = identification(np.array([[1.0], [0.0]]), np.array([0, -1]), fpirs=[0])
    assert (metrics.rank_1, metrics.fnir_at_fpir) == (1.0, {"0": 0.0})


@pytest.mark.parametrize(
    ("scores", "mates", "match"),
    [
        (SCORES[0], MATES, r"scores of shape \(3,\)"),
        (SCORES, MATES[:5], r"mates of shape \(5,\)"),
        (np.empty((0, 3)), np.empty(0, dtype=int), r"scores of shape \(0, 3\)"),
        (SCORES, np.where(MATES == 2, 3, MATES), "a mate is not among the 3 models"),
        (SCORES, np.where(MATES == -1, -2, MATES), "a mate is not among the 3 models"),
        (np.where(SCORES == 0.9, np.nan, SCORES), MATES, r"NaN or Inf among the scores \(1 of 18\)"),
        (SCORES[4:], MATES[4:], "no probe has its speaker in the gallery"),
    ],
)
def test_bad_galleries_are_refused(scores, mates, match):
    with pytest.raises(DataError, match=match):
        identification(scores, mates)


def full_table(drop=()):
    rows = [(m, p) for p in range(6) for m in range(3) if (m, p) not in drop]
    rows = [rows[at] for at in np.random.default_rng(0).permutation(len(rows))]
    labels = np.array([MATES[p] == m for m, p in rows], dtype=np.int8)
    trials = TrialList([f"m{m}" for m, _ in rows], [f"p{p}" for _, p in rows], labels, "list")
    return ScoreTable(trials, np.array([SCORES[p, m] for m, p in rows]))


def test_a_table_becomes_a_gallery():
    assert identification(*gallery(full_table())) == identification(SCORES, MATES)


def test_an_incomplete_table_is_refused():
    with pytest.raises(DataError, match="list: 17 trials of 6 probes and 3 models; score every probe"):
        gallery(full_table(drop=[(1, 4)]))


def test_two_models_of_a_speaker_are_refused():
    table = full_table()
    table.trials.labels[[i == "p1" for i in table.trials.test_ids]] = 1
    with pytest.raises(DataError, match=r"list: probe p1 has two target models \(1 such probes\)"):
        gallery(table)


@pytest.mark.parametrize("rate", [-0.01, 1.01, np.nan])
def test_rates_outside_0_and_1_are_refused(rate):
    with pytest.raises(ValueError, match="is not a false-positive identification rate"):
        identification(SCORES, MATES, fpirs=[rate])


def lists(folder, scores=SCORES, mates=MATES):
    """The gallery above as a score file and a labelled list."""
    pairs = [(f"m{column}", f"p{row}", row, column) for row in range(len(scores)) for column in range(3)]
    (folder / "scores").write_text("".join(f"{m} {p} {scores[row, column]}\n" for m, p, row, column in pairs))
    words = ("nontarget", "target")
    lines = [f"{m} {p} {words[int(mates[row] == column)]}\n" for m, p, row, column in reversed(pairs)]
    (folder / "trials").write_text("".join(lines))
    return [str(folder / "scores"), "--trials", str(folder / "trials")]


def measured(capsys, *arguments):
    measure_identification.main(measure_identification.options().parse_args(arguments))
    return capsys.readouterr().out


def test_the_command_by_hand(tmp_path, capsys):
    arguments = lists(tmp_path)
    header, row = measured(capsys, *arguments, "--fpir", "0", "0.5").splitlines()
    assert header.split("  ")[-1].strip() == "FNIR % at FPIR 50 %"
    assert row.split() == [str(tmp_path / "scores"), "3", "4", "2", "50.00", "75.00", "50.00"]
    (found,) = json.loads(measured(capsys, *arguments, "--json")).values()
    assert (found["rank_1"], found["fnir_at_fpir"]) == (0.5, {"0.01": 0.75, "0.1": 0.75})


def test_without_strangers_there_is_no_fnir(tmp_path, capsys):
    row = measured(capsys, *lists(tmp_path, SCORES[:4], MATES[:4])).splitlines()[1]
    assert row.split()[1:] == ["3", "4", "0", "50.00", "-", "-"]


def test_a_list_that_is_no_gallery_is_refused(tmp_path):
    arguments = lists(tmp_path)
    text = (tmp_path / "trials").read_text()
    (tmp_path / "trials").write_text(text.partition("\n")[2])
    (tmp_path / "scores").write_text((tmp_path / "scores").read_text().rpartition("m2 p5")[0])
    with pytest.raises(DataError, match="score every probe against every model"):
        measure_identification.main(measure_identification.options().parse_args(arguments))
