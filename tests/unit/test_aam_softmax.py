"""AAM-softmax against its definition by angles, near cosine +-1, beyond pi - m, with sub-centres."""

import math

import pytest
import torch
from torch.nn import functional

from speakerlab.nn.losses.aam_softmax import AamSoftmax, AamSoftmaxConfig


def build(num_classes: int = 4, embed_dim: int = 6, **settings: object) -> AamSoftmax:
    torch.manual_seed(0)
    return AamSoftmax(AamSoftmaxConfig(**settings), embed_dim=embed_dim, num_classes=num_classes)


def target_logit(angles: torch.Tensor, margin: float, **settings: object) -> torch.Tensor:
    """The target's logit / s for embeddings at ``angles`` to their class, read off a two-class loss.

    The other class is at 90 degrees to the plane, so its logit is 0 and the loss is softplus(-s f).
    """
    loss = build(2, 3, margin=margin, scale=1.0, **settings).to(angles.dtype)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    embeddings = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=1)
    labels = torch.zeros(1, dtype=torch.int64)
    values = torch.stack([loss(row[None], labels)[0] for row in embeddings])
    return -torch.log(torch.expm1(values)).detach()


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_the_target_is_cos_of_angle_plus_margin(margin):
    angles = torch.linspace(0, math.pi - margin - 1e-6, 60, dtype=torch.float64)
    expected = torch.cos(angles + margin)
    torch.testing.assert_close(target_logit(angles, margin), expected, atol=1e-7, rtol=0)


def test_float32_agrees_with_the_angle_to_rounding():
    angles = torch.linspace(0.02, 2.9, 60)
    expected = torch.cos(angles.double() + 0.2).float()
    torch.testing.assert_close(target_logit(angles, 0.2), expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.5, 1.0, math.pi / 2])
def test_monotone_and_continuous_up_to_180_degrees(margin):
    angles = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    steps = target_logit(angles, margin).diff()
    assert (steps < 0).all()
    assert steps.abs().max() < 2 * math.pi / 399
    edge = torch.tensor([math.pi - margin - 1e-9, math.pi - margin + 1e-9], dtype=torch.float64)
    torch.testing.assert_close(target_logit(edge, margin), torch.full((2,), -1.0).double())
    last = target_logit(torch.tensor([math.pi], dtype=torch.float64), margin)
    assert last.item() == pytest.approx(-1 - (1 - math.cos(margin)), abs=1e-9)


def test_easy_margin_leaves_angles_beyond_90_degrees_alone():
    angles = torch.tensor([0.3, 1.5, 1.6, 3.0], dtype=torch.float64)
    expected = torch.cos(angles + torch.tensor([0.3, 0.3, 0.0, 0.0]))
    torch.testing.assert_close(target_logit(angles, 0.3, easy_margin=True), expected, atol=1e-7, rtol=0)


def test_whole_loss_against_arc_cosines():
    loss = build(5, 8, margin=0.3, scale=20.0, label_smoothing=0.1).double()
    embeddings, labels = torch.randn(9, 8).double() * 4, torch.arange(9) % 5
    cosines = functional.cosine_similarity(embeddings[:, None], loss.weight[None], dim=2)
    angles = torch.acos(cosines) + 0.3 * functional.one_hot(labels, 5)
    assert angles.max() < math.pi
    expected = functional.cross_entropy(20 * torch.cos(angles), labels, label_smoothing=0.1)
    value, logits = loss(embeddings, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(logits, 20 * cosines)


@pytest.mark.parametrize("offset", [0.0, 1e-7, 1e-5, 1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_float32_gradient_near_the_class_is_bounded(sign, offset):
    """The exact gradient of the target cosine has length sin(theta + m) / |x|; s = 32 scales it."""
    loss = build(1000, 32, margin=0.5)
    with torch.no_grad():
        direction = functional.normalize(torch.randn(32), dim=0)
        loss.weight[0] = sign * direction
    embedding = (direction + offset * functional.normalize(torch.randn(32), dim=0))[None].requires_grad_()
    value, _ = loss(embedding, torch.tensor([0]))
    value.backward()
    assert value.isfinite()
    assert embedding.grad.norm() < 2 * 32
    assert loss.weight.grad.isfinite().all()


@pytest.mark.parametrize("angle", [0.05, 0.3, 1.0, 2.0, 3.0])
def test_float32_gradient_agrees_with_float64(angle):
    gradients = []
    for dtype in (torch.float32, torch.float64):
        loss = build(3, 6, margin=0.2, scale=1.0).to(dtype)
        with torch.no_grad():
            loss.weight[0] = torch.eye(6, dtype=dtype)[0]
        embedding = torch.zeros(1, 6, dtype=dtype)
        embedding[0, 0], embedding[0, 1] = math.cos(angle), math.sin(angle)
        embedding.requires_grad_()
        loss(embedding, torch.tensor([0]))[0].backward()
        gradients.append(embedding.grad.double())
    assert (gradients[0] - gradients[1]).norm() / gradients[1].norm() < 1e-3


def test_a_cosine_that_rounds_above_one_is_one():
    loss = build(64, 192, margin=0.2)
    embeddings = loss.weight.detach().clone().requires_grad_()
    value, logits = loss(embeddings, torch.arange(64))
    value.backward()
    assert logits.max() <= 32
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()


def test_the_nearest_sub_center_counts():
    loss = build(3, 6, sub_centers=2)
    assert loss.weight.shape == (6, 6)
    embeddings, labels = torch.randn(8, 6), torch.arange(8) % 3
    cosines = functional.cosine_similarity(embeddings[:, None], loss.weight[None], dim=2)
    nearest = torch.stack([torch.maximum(cosines[:, 2 * n], cosines[:, 2 * n + 1]) for n in range(3)], dim=1)
    value, logits = loss(embeddings, labels)
    torch.testing.assert_close(logits, 32 * nearest, atol=1e-5, rtol=1e-5)
    angles = torch.acos(nearest) + 0.2 * functional.one_hot(labels, 3)
    torch.testing.assert_close(
        value, functional.cross_entropy(32 * torch.cos(angles), labels), atol=1e-5, rtol=1e-5
    )


def test_the_other_sub_center_gets_no_gradient():
    loss = build(2, 3, sub_centers=2, scale=1.0)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]]))
    loss(torch.tensor([[0.9, 0.2, 0.3]]), torch.tensor([0]))[0].backward()
    assert [bool(row.any()) for row in loss.weight.grad] == [True, False, True, False]


def test_autocast_does_not_reach_the_loss():
    loss = build(50, 64)
    embeddings, labels = torch.randn(8, 64).bfloat16(), torch.arange(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, logits = loss(embeddings, labels)
    assert value.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(value, loss(embeddings.float(), labels)[0], rtol=0, atol=0)


def test_margins_out_of_range_are_refused():
    loss = build()
    for margin in (-0.1, 1.6, math.nan):
        with pytest.raises(ValueError, match="margin: must be in"):
            loss.set_margin(margin)
    assert loss.margin == 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 2.0}, "margin: must be in"),
        ({"scale": 0.0}, "scale: must be positive"),
        ({"sub_centers": 0}, "sub_centers: must be at least 1"),
        ({"label_smoothing": 1.0}, "label_smoothing: must be in"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        AamSoftmaxConfig(**settings)
