"""AM, AAM with inter-top-k, ARM, SphereFace2 and softmax against their definitions, written out by angles."""

import math

import pytest
import torch
from torch.nn import functional

from speakerlab import registry
from speakerlab.nn.losses.cosine_classifier import widen_angle
from speakerlab.train.experiment import OptimizerConfig
from speakerlab.train.loop import make_optimizer


def build(name, num_classes=6, embed_dim=8, **settings):
    torch.manual_seed(0)
    cls = registry.get("loss", name)
    return cls(cls.Config(**settings), embed_dim=embed_dim, num_classes=num_classes).double()


def batch(num_classes=6, embed_dim=8, size=9):
    generator = torch.Generator().manual_seed(1)
    embeddings = 3 * torch.randn(size, embed_dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.arange(size) % num_classes


def angles_of(loss, embeddings):
    return torch.acos(functional.cosine_similarity(embeddings[:, None], loss.weight[None], dim=2)).detach()


def at_angles(loss, angles, label=0):
    """Value and gradient of the centres for one embedding at ``angles`` [N] to the centres."""
    with torch.no_grad():  # the embedding is the first axis, every centre has an axis of its own
        loss.weight.zero_()
        for row, angle in enumerate(angles):
            loss.weight[row, 0], loss.weight[row, row + 1] = math.cos(angle), math.sin(angle)
    embedding = torch.eye(loss.weight.shape[1], dtype=torch.float64)[:1].requires_grad_()
    value, _ = loss(embedding, torch.tensor([label]))
    value.backward()
    return value.item(), loss.weight.grad


def test_am_softmax_takes_the_margin_from_the_target():
    loss = build("am_softmax", margin=0.3, scale=20.0)
    embeddings, labels = batch()
    cosines = angles_of(loss, embeddings).cos()
    expected = functional.cross_entropy(20 * (cosines - 0.3 * functional.one_hot(labels, 6)), labels)
    torch.testing.assert_close(loss(embeddings, labels)[0], expected)


def test_arm_softmax_is_its_equation():
    loss = build("arm_softmax", margin=0.3, scale=20.0)
    embeddings, labels = batch()
    cosines = angles_of(loss, embeddings).cos()
    values = []
    for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
        others = [c for j, c in enumerate(row) if j != label]
        values.append(math.log(1 + sum(math.exp(20 * max(0.0, c - row[label] + 0.3)) for c in others)))
    assert loss(embeddings, labels)[0].item() == pytest.approx(sum(values) / len(values), rel=1e-12)


@pytest.mark.parametrize("target", [0.3, 2.0])
def test_arm_softmax_leaves_classes_beyond_the_margin_alone(target):
    """Also where the target's cosine is negative: the variant in circulation pushes them above it there."""
    near = target + 0.1  # inside the margin of 0.3
    far = [math.acos(math.cos(target) - 0.31), 2.9, 3.1]
    value, grad = at_angles(build("arm_softmax", 5, margin=0.3, scale=10.0), [target, near, *far])
    hinge = 10 * (math.cos(near) - math.cos(target) + 0.3)
    assert value == pytest.approx(math.log(4 + math.exp(hinge)), rel=1e-12)
    assert [bool(row.any()) for row in grad] == [True, True, False, False, False]
    if target > math.pi / 2:
        return
    easier, _ = at_angles(build("arm_softmax", 5, margin=0.3, scale=10.0), [target, near, 3.0, 3.0, 3.0])
    assert easier == value


def test_arm_softmax_of_a_perfect_classifier_is_the_logarithm_of_the_classes():
    value, grad = at_angles(build("arm_softmax", 5), [0.1, 1.5, 1.6, 2.0, 3.0])
    assert value == pytest.approx(math.log(5), rel=1e-12)
    assert not grad.any()


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_inter_top_k_narrows_the_angles_of_the_nearest_wrong_classes(sub_centers):
    settings = {"margin": 0.3, "scale": 20.0, "sub_centers": sub_centers}
    loss = build("aam_softmax", hard_classes=2, **settings)
    embeddings, labels = batch()
    angles = angles_of(loss, embeddings).view(9, 6, sub_centers).amin(2)
    penalty = 0.06 * 0.3 / 0.2
    for row, label in zip(angles, labels, strict=True):
        nearest = sorted((angle, j) for j, angle in enumerate(row.tolist()) if j != label)[:2]
        for _, j in nearest:
            row[j] -= penalty
        row[label] += 0.3
    expected = functional.cross_entropy(20 * angles.cos(), labels)
    torch.testing.assert_close(loss(embeddings, labels)[0], expected)
    assert expected > build("aam_softmax", **settings)(embeddings, labels)[0]


def test_inter_top_k_ramps_with_the_margin():
    plain, hard = build("aam_softmax"), build("aam_softmax", hard_classes=2)
    for loss in (plain, hard):
        loss.set_margin(0.0)
    assert torch.equal(plain(*batch())[0], hard(*batch())[0])
    with pytest.raises(ValueError, match="hard_classes: must be below the 6 classes"):
        build("aam_softmax", hard_classes=6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hard_classes": -1}, "hard_classes: must not be"),
        ({"hard_penalty": 0.3}, "hard_penalty: must be in"),
    ],
)
def test_inter_top_k_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        build("aam_softmax", **settings)


def test_a_narrowed_angle_is_increasing_up_to_cosine_one():
    cosine = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    narrowed = -widen_angle(-cosine, 0.3)
    inside = torch.acos(cosine) >= 0.3
    torch.testing.assert_close(narrowed[inside], torch.cos(torch.acos(cosine[inside]) - 0.3))
    assert (narrowed.diff() > 0).all()
    assert narrowed.diff().max() < 0.05


def test_sub_centers_need_one_setting_and_the_logits_are_those_of_classes():
    loss = build("aam_softmax", sub_centers=3)
    assert loss.weight.shape == (18, 8)
    logits = loss(loss.weight.detach()[1::3], torch.arange(6))[1]
    assert torch.equal(logits.argmax(1), torch.arange(6))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@pytest.mark.parametrize("margin_type", ["A", "C"])
def test_sphereface2_is_its_equation(margin_type):
    loss = build("sphereface2", margin=0.25, scale=20.0, margin_type=margin_type)
    loss.bias.data.fill_(3.0)
    embeddings, labels = batch()

    def score(angle, sign):
        if margin_type == "A":
            angle = min(max(angle - sign * 0.25, 0.0), math.pi)
        sharpened = 2 * ((math.cos(angle) + 1) / 2) ** 3 - 1
        return 20 * (sharpened + sign * 0.25 * (margin_type == "C")) + 3.0

    total = 0.0
    for row, label in zip(angles_of(loss, embeddings).tolist(), labels.tolist(), strict=True):
        total += 0.7 * softplus(-score(row[label], -1))
        total += 0.3 * sum(softplus(score(angle, 1)) for j, angle in enumerate(row) if j != label)
    assert loss(embeddings, labels)[0].item() == pytest.approx(total / 9, rel=1e-7)


@pytest.mark.parametrize("margin_type", ["A", "C"])
@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_sphereface2_is_stable_for_any_score(margin_type, cosine):
    """log(1 + exp(x)) written so overflows at x = 89 in float32."""
    loss = build("sphereface2", 4, margin_type=margin_type, scale=1e4, exponent=2.5).float()
    with torch.no_grad():
        loss.weight.copy_(cosine * torch.eye(4, 8))
    embeddings = torch.eye(4, 8).requires_grad_()
    value, _ = loss(embeddings, torch.arange(4))
    value.backward()
    assert embeddings.grad.isfinite().all()
    exact, _ = loss.double()(embeddings.detach().double(), torch.arange(4))
    assert exact > 1e3
    torch.testing.assert_close(value, exact.float(), rtol=1e-5, atol=0)


def test_the_bias_of_sphereface2_starts_balanced_and_is_trained():
    loss = build("sphereface2", 4)
    loss.set_margin(0.0)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(4, 8))
    embeddings, labels = torch.eye(8).double()[4:], torch.arange(4)  # at 90 degrees to every centre
    loss(embeddings, labels)[0].backward()
    assert loss.bias.grad.abs() < 1e-6  # 0.39 on either side
    optimizer = make_optimizer(OptimizerConfig(lr=0.1), loss.parameters())
    before = loss.bias.item()
    loss.set_margin(0.2)
    loss(*batch(4))[0].backward()
    optimizer.step()
    assert loss.bias.item() != before


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"positive_weight": 1.0}, "positive_weight: must be"), ({"exponent": 0.5}, "exponent: must be")],
)
def test_sphereface2_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        build("sphereface2", **settings)


@pytest.mark.parametrize("name", ["softmax", "am_softmax", "aam_softmax", "aam_prototypical", "partial_fc"])
def test_a_perfect_classifier_of_2796_speakers_has_no_loss(name):
    """Cross-entropy of bare cosines, all within [-1, 1], could not fall below 6.9."""
    cls = registry.get("loss", name)
    torch.manual_seed(0)
    loss = cls(cls.Config(), embed_dim=512, num_classes=2796)
    centers = functional.normalize(torch.randn(2796, 512))
    matrix = next(p for p in loss.parameters() if p.shape == (2796, 512))
    matrix.data.copy_(centers)
    labels = torch.arange(50).repeat(2)
    assert loss(100 * centers[labels], labels)[0] < 0.01
