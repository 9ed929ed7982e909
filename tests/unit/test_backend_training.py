"""Whole back-ends: what they are made of, that they help, that order has no say, and their adaptation."""

from __future__ import annotations

import numpy as np
import pytest

from speakerlab.backend.chain import Backend
from speakerlab.backend.training import METHODS, Adaptation, Recipe, adapt, train
from speakerlab.errors import DataError, SpeakerLabError
from speakerlab.types import EmbeddingTable

DIM = 12


def draw(seed, num_speakers, num_utts, shift=0.0, stretch=1.0):
    """Speakers differ in all directions alike, sessions mostly in the first three and by ``stretch``."""
    rng = np.random.default_rng(seed)
    spread = np.array([3.0] * 3 + [stretch] + [0.5] * (DIM - 4))
    centres = np.repeat(rng.normal(size=(num_speakers, DIM)), num_utts, axis=0)
    matrix = 5 + shift + centres + spread * rng.normal(size=centres.shape)
    ids = tuple(f"s{seed}-{row // num_utts:03d}-{row % num_utts}" for row in range(len(matrix)))
    table = EmbeddingTable(ids, matrix.astype(np.float32), "embeddings.scp")
    return table, {utt_id: utt_id.rsplit("-", 1)[0] for utt_id in ids}


@pytest.fixture(scope="module")
def training():
    return draw(0, 200, 6)


def eer(backend, table, utt2spk):
    """Error rate where misses and false alarms meet, over all pairs."""
    rows = backend.transform(table).matrix
    scorer = backend.scorer
    scores = scorer.enroll_factors(rows, np.ones(len(rows))) @ scorer.test_factors(rows).T
    speakers = np.array([utt2spk[utt_id] for utt_id in table.ids])
    same = speakers[:, None] == speakers
    upper = np.triu(np.ones_like(same), 1)
    targets, others = np.sort(scores[same & upper]), np.sort(scores[~same & upper])
    misses = np.arange(len(targets)) / len(targets)
    alarms = 1 - np.searchsorted(others, targets) / len(others)
    return float(np.min(np.maximum(misses, alarms)))


RECIPES = {
    "mean subtracted, length normalised, cosine": Recipe(),
    "mean subtracted, whitened (PCA), length normalised, cosine": Recipe(whiten="pca"),
    "mean subtracted, whitened (ZCA), WCCN, length normalised, cosine": Recipe(whiten="zca", wccn=True),
    "mean subtracted, LDA to 9, WCCN, length normalised, cosine": Recipe(lda_dim=9, wccn=True),
    "mean subtracted, length normalised, PLDA (two-covariance)": Recipe(scorer="plda"),
    "mean subtracted, LDA to 9, length normalised, PLDA (two-covariance)": Recipe(lda_dim=9, scorer="plda"),
    "mean subtracted, length normalised, PLDA (simplified, speaker subspace of 8)": Recipe(
        scorer="plda", plda_rank=8
    ),
    "mean subtracted, length normalised, PLDA (Kaldi, Kaldi's length normalisation inside)": Recipe(
        scorer="kaldi-plda"
    ),
}


@pytest.mark.parametrize("said", RECIPES)
def test_every_recipe_says_what_it_does_and_survives_its_file(training, tmp_path, said):
    table, utt2spk = training
    backend = train(table, utt2spk, RECIPES[said])
    assert backend.describe() == said
    backend.save(tmp_path / "backend.json")
    again = Backend.load(tmp_path / "backend.json")
    assert again.describe() == said
    assert again.transform(table).matrix.tolist() == backend.transform(table).matrix.tolist()
    rows, counts = backend.transform(table).matrix[:5], [1, 2, 3, 4, 5]
    first = backend.scorer.enroll_factors(rows, counts) @ backend.scorer.test_factors(rows).T
    second = again.scorer.enroll_factors(rows, counts) @ again.scorer.test_factors(rows).T
    assert second.tolist() == first.tolist()


@pytest.mark.parametrize("said", RECIPES)
def test_order_of_the_embeddings_does_not_matter(training, tmp_path, said):
    table, utt2spk = training
    order = np.random.default_rng(1).permutation(len(table.ids))
    shuffled = EmbeddingTable(tuple(table.ids[row] for row in order), table.matrix[order], "embeddings.scp")
    train(table, utt2spk, RECIPES[said]).save(tmp_path / "first.json")
    train(shuffled, utt2spk, RECIPES[said]).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "first.json").read_bytes()


def test_knowing_the_sessions_helps(training):
    """Sessions that vary much in three directions: cosine suffers, LDA with WCCN and PLDA know."""
    test = draw(1, 40, 5)
    errors = {said: eer(train(*training, recipe), *test) for said, recipe in RECIPES.items()}
    cosine = errors.pop("mean subtracted, length normalised, cosine")
    for said, error in errors.items():
        if "PLDA" in said or "WCCN" in said:
            assert error < 0.7 * cosine, (said, error, cosine)


def test_source_is_said(training):
    table, utt2spk = training
    assert train(table, None, Recipe()).source == "1,200 embeddings of size 12"
    assert train(table, utt2spk, Recipe(wccn=True)).source == "1,200 embeddings of size 12 of 200 speakers"


@pytest.mark.parametrize("recipe", [Recipe(lda_dim=3), Recipe(wccn=True), Recipe(scorer="plda")])
def test_what_needs_speakers_says_so(training, recipe):
    table, utt2spk = training
    with pytest.raises(SpeakerLabError, match="need speakers; give --utt2spk"):
        train(table, None, recipe)
    some = {utt_id: speaker for utt_id, speaker in utt2spk.items() if speaker != "s0-007"}
    with pytest.raises(DataError, match=r"embeddings.scp: s0-007-0 has no speaker in utt2spk \(6 such"):
        train(table, some, recipe)


def test_contradictory_recipes_are_refused():
    with pytest.raises(SpeakerLabError, match="a speaker subspace is of scorer plda, not of cosine"):
        Recipe(plda_rank=3)
    with pytest.raises(SpeakerLabError, match="no back-end of whitening 'lda' and scorer 'cosine'"):
        Recipe(whiten="lda")
    with pytest.raises(SpeakerLabError, match="no adaptation 'map'; valid: mean, kaldi, coral"):
        Adaptation("map")


@pytest.mark.parametrize("method", METHODS)
def test_adaptation_helps_in_a_domain_that_moved(training, method):
    """The mean has moved and sessions vary in one more direction."""
    backend = train(*training, Recipe(scorer="plda"))
    test = draw(3, 40, 5, shift=2.0, stretch=4.0)
    domain, utt2spk = draw(2, 60, 6, shift=2.0, stretch=4.0)
    adapted = adapt(backend, domain, Adaptation(method), utt2spk)
    assert eer(adapted, *test) < eer(backend, *test)
    np.testing.assert_allclose(adapted.transforms[0].mean, domain.matrix.mean(axis=0), atol=1e-5)
    assert adapted.source.endswith(f"; adapted ({method}) to 360 embeddings of size 12")


def test_scales_reach_the_method(training):
    backend = train(*training, Recipe(scorer="plda"))
    domain, _ = draw(2, 60, 6, stretch=4.0)
    for method in ("kaldi", "coral+"):
        nothing = adapt(backend, domain, Adaptation(method, 0.0, 0.0), None).scorer
        np.testing.assert_allclose(nothing.within, backend.scorer.within, atol=1e-9)
        more = adapt(backend, domain, Adaptation(method, 1.0, 0.0), None).scorer
        assert np.trace(more.within) > np.trace(nothing.within) + 0.1
        np.testing.assert_allclose(more.between, nothing.between, atol=1e-9)


def test_adaptation_does_not_depend_on_order(training, tmp_path):
    backend = train(*training, Recipe(scorer="plda"))
    domain, utt2spk = draw(2, 60, 6, shift=2.0)
    turned = EmbeddingTable(domain.ids[::-1], domain.matrix[::-1], domain.name)
    for method in METHODS:
        adapt(backend, domain, Adaptation(method), utt2spk).save(tmp_path / "first.json")
        adapt(backend, turned, Adaptation(method), utt2spk).save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "first.json").read_bytes()


def test_what_cannot_be_adapted_says_so(training):
    table, utt2spk = training
    cosine = train(table, None, Recipe())
    assert adapt(cosine, draw(2, 5, 5)[0], Adaptation("mean"), None).describe() == cosine.describe()
    with pytest.raises(DataError, match="scores with cosine, and coral adapts PLDA; adapt the mean alone"):
        adapt(cosine, table, Adaptation("coral"), None)
    with pytest.raises(DataError, match="subtracts no mean"):
        adapt(Backend.default(), table, Adaptation("mean"), None)
    plda = train(table, utt2spk, Recipe(scorer="plda"))
    with pytest.raises(SpeakerLabError, match="give --utt2spk"):
        adapt(plda, table, Adaptation("interpolation"), None)
    smaller = EmbeddingTable(table.ids, table.matrix[:, :5], "other.scp")
    with pytest.raises(DataError, match="5-d embeddings"):
        adapt(plda, smaller, Adaptation("kaldi"), None)
