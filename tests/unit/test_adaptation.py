"""Adaptation of PLDA against Kaldi's steps one by one, the defining equations, and its effect on scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from speakerlab.backend import adaptation
from speakerlab.backend.plda import from_covariances
from speakerlab.errors import DataError

DIM = 4


@pytest.fixture
def model():
    """A model, its covariances, and embeddings of a domain that varies more."""
    rng = np.random.default_rng(0)
    within, between = np.cov(rng.normal(size=(DIM, 12))), np.cov(rng.normal(size=(DIM, 12)))
    plda = from_covariances(rng.normal(size=DIM), within, between, "two-covariance", "kaldi")
    return plda, within, between, 1 + rng.normal(size=(50, DIM)) @ rng.normal(size=(DIM, DIM))


def kaldi_update(plda, matrix, scales):
    """PldaUnsupervisedAdaptor::UpdatePlda of ivector/plda.cc, statement by statement."""
    mean_diff_scale, within_scale, between_scale = scales
    mean = matrix.mean(axis=0)
    variance = matrix.T @ matrix / len(matrix) - np.outer(mean, mean)
    mean_diff = mean - plda.mean
    variance += mean_diff_scale * np.outer(mean_diff, mean_diff)
    transform_mod = plda.transform.copy()
    for i in range(DIM):
        transform_mod[i] *= 1.0 / np.sqrt(1.0 + plda.psi[i])
    s, p = np.linalg.eigh(transform_mod @ variance @ transform_mod.T)
    w, b = np.diag(1.0 / (1.0 + plda.psi)), np.diag(plda.psi / (1.0 + plda.psi))
    w_proj2, b_proj2 = p.T @ w @ p, p.T @ b @ p
    for i in range(DIM):
        if s[i] > 1.0:
            w_proj2[i, i] += (s[i] - 1.0) * within_scale
            b_proj2[i, i] += (s[i] - 1.0) * between_scale
    inverse = np.linalg.inv(p.T @ transform_mod)
    w_mod, b_mod = inverse @ w_proj2 @ inverse.T, inverse @ b_proj2 @ inverse.T
    c_inv = np.linalg.inv(np.linalg.cholesky(w_mod))
    psi_new, q = np.linalg.eigh(c_inv @ b_mod @ c_inv.T)
    order = np.argsort(-psi_new)
    return mean, q.T[order] @ c_inv, psi_new[order]


@pytest.mark.parametrize("scales", [(1.0, 0.3, 0.7), (0.0, 0.75, 0.25)])
def test_kaldi_adaptation_is_kaldis(model, scales):
    plda, *_, matrix = model
    adapted = adaptation.kaldi_unsupervised(plda, matrix, scales[1], scales[2], scales[0])
    mean, transform, psi = kaldi_update(plda, matrix, scales)
    np.testing.assert_allclose(adapted.mean, mean, atol=1e-12)
    np.testing.assert_allclose(adapted.psi, psi, atol=1e-9)
    signs = np.sign((adapted.transform * transform).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(adapted.transform, signs * transform, atol=1e-9)


def test_kaldis_defaults_are_the_default(model):
    plda, *_, matrix = model
    *_, psi = kaldi_update(plda, matrix, (1.0, 0.3, 0.7))
    np.testing.assert_allclose(adaptation.kaldi_unsupervised(plda, matrix).psi, psi, atol=1e-9)


def test_a_domain_that_varies_less_changes_nothing_but_the_mean(model):
    plda, within, between, _ = model
    total = np.linalg.cholesky(0.5 * (within + between))
    matrix = np.vstack([total.T, -total.T]) * np.sqrt(DIM) + plda.mean  # covariance: half that of the model
    for adapt in (adaptation.kaldi_unsupervised, adaptation.coral_plus):
        adapted = adapt(plda, matrix)
        np.testing.assert_allclose(adapted.within, within, atol=1e-9)
        np.testing.assert_allclose(adapted.between, between, atol=1e-9)


def root(matrix, power):
    return linalg.fractional_matrix_power(matrix, power)


def recoloured(model):
    _, within, between, matrix = model
    colour = root(np.cov(matrix.T, bias=True), 0.5) @ root(within + between, -0.5)
    return colour @ within @ colour.T, colour @ between @ colour.T


def test_coral_gives_the_total_covariance_of_the_domain(model):
    plda, *_, matrix = model
    adapted = adaptation.coral(plda, matrix)
    new_within, new_between = recoloured(model)
    np.testing.assert_allclose(adapted.within, new_within, atol=1e-9)
    np.testing.assert_allclose(adapted.between, new_between, atol=1e-9)
    np.testing.assert_allclose(adapted.within + adapted.between, np.cov(matrix.T, bias=True), atol=1e-9)
    np.testing.assert_allclose(adapted.mean, matrix.mean(axis=0), atol=1e-12)


def coral_plus_by_the_paper(old, new, scale):
    """Lee et al. 2019, Algorithm 1: Q and Lambda of the old, P and E of the new seen from there."""
    variances, q = np.linalg.eigh(old)
    whiten = q @ np.diag(variances**-0.5)
    e, p = np.linalg.eigh(whiten.T @ new @ whiten)
    b = whiten @ p
    back = np.linalg.inv(b)
    return old + scale * back.T @ np.diag(np.maximum(0, e - 1)) @ back


def test_coral_plus_is_the_algorithm_of_the_paper(model):
    plda, within, between, matrix = model
    new_within, new_between = recoloured(model)
    adapted = adaptation.coral_plus(plda, matrix, 0.3, 0.6)
    np.testing.assert_allclose(adapted.within, coral_plus_by_the_paper(within, new_within, 0.3), atol=1e-7)
    np.testing.assert_allclose(adapted.between, coral_plus_by_the_paper(between, new_between, 0.6), atol=1e-7)


def test_no_covariance_shrinks_under_coral_plus(model):
    plda, within, between, matrix = model
    adapted = adaptation.coral_plus(plda, matrix)
    assert np.linalg.eigvalsh(adapted.within - within).min() > -1e-8
    assert np.linalg.eigvalsh(adapted.between - between).min() > -1e-8


def test_coral_plus_of_a_speaker_subspace(model):
    """A singular between-speaker covariance grows into the new directions, and stays finite."""
    plda, within, _, matrix = model
    direction = np.array([[1.0], [2.0], [0.0], [-1.0]])
    low = from_covariances(plda.mean, within, direction @ direction.T, "simplified")
    adapted = adaptation.coral_plus(low, matrix)
    assert np.isfinite(adapted.transform).all()
    assert np.linalg.eigvalsh(adapted.between - low.between).min() > -1e-6


def test_interpolation_is_linear_in_the_covariances(model):
    plda, within, between, _ = model
    rng = np.random.default_rng(3)
    new_within, new_between = np.cov(rng.normal(size=(DIM, 12))), np.cov(rng.normal(size=(DIM, 12)))
    in_domain = from_covariances(np.ones(DIM), new_within, new_between, "two-covariance")
    adapted = adaptation.interpolate(plda, in_domain, 0.25)
    np.testing.assert_allclose(adapted.within, 0.75 * within + 0.25 * new_within, atol=1e-10)
    np.testing.assert_allclose(adapted.between, 0.75 * between + 0.25 * new_between, atol=1e-10)
    assert adapted.mean.tolist() == [1.0] * DIM
    assert adapted.describe() == (
        "PLDA (two-covariance, interpolated by 0.25, Kaldi's length normalisation inside)"
    )


ADAPTATIONS = [adaptation.kaldi_unsupervised, adaptation.coral, adaptation.coral_plus]


@pytest.mark.parametrize("adapt", ADAPTATIONS)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m[:, :3], r"an array \(50, 3\), not two rows or more of size 4"),
        (lambda m: m[:1], r"an array \(1, 4\)"),
        (lambda m: np.where(m == m[0, 0], np.inf, m), "have NaN or Inf"),
    ],
)
def test_unfit_embeddings_are_refused(model, adapt, edit, message):
    with pytest.raises(DataError, match=f"^adaptation embeddings: .*{message}"):
        adapt(model[0], edit(model[3]))


@pytest.mark.parametrize("adapt", ADAPTATIONS)
def test_order_of_the_embeddings_does_not_matter(model, adapt):
    plda, *_, matrix = model
    first, again = adapt(plda, matrix), adapt(plda, matrix[::-1])
    np.testing.assert_allclose(again.within, first.within, atol=1e-10)
    np.testing.assert_allclose(again.between, first.between, atol=1e-10)


@pytest.mark.parametrize("adapt", ADAPTATIONS[1:])
def test_too_few_embeddings_for_correlation_alignment(model, adapt):
    with pytest.raises(DataError, match="vary in 2 of 4 dimensions only; give more of them"):
        adapt(model[0], model[3][:3])


def test_senseless_settings_are_refused(model):
    plda, *_, matrix = model
    with pytest.raises(DataError, match="not all 0 or more"):
        adaptation.kaldi_unsupervised(plda, matrix, -0.1)
    with pytest.raises(DataError, match="the weight of the in-domain model is 1.5"):
        adaptation.interpolate(plda, plda, 1.5)
    smaller = from_covariances(np.zeros(2), np.eye(2), np.eye(2), "two-covariance")
    with pytest.raises(DataError, match="is of size 4, the in-domain one of size 2"):
        adaptation.interpolate(plda, smaller, 0.5)
