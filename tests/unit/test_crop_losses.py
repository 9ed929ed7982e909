"""GE2E, prototypical and triplet losses against their equations, written out crop by crop."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from speakerlab import registry
from speakerlab.nn.losses.views import split_views
from speakerlab.train import schedule
from speakerlab.train.dataset import CropSampler
from speakerlab.train.experiment import SamplingConfig

SPEAKERS = [3, 0, 3, 5]  # one was drawn twice


def build(name, **settings):
    cls = registry.get("loss", name)
    torch.manual_seed(0)
    return cls(cls.Config(**settings), embed_dim=6, num_classes=7).double()


def batch(views):
    generator = torch.Generator().manual_seed(views)
    embeddings = torch.randn(views * len(SPEAKERS), 6, generator=generator, dtype=torch.float64)
    return embeddings * torch.arange(1, len(embeddings) + 1)[:, None], torch.tensor(SPEAKERS * views)


def cos(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def rivals_of(i):
    """Columns the crop of column ``i`` may be confused with, itself first."""
    return [i, *(k for k in range(4) if SPEAKERS[k] != SPEAKERS[i])]


def blocks(embeddings, views):
    return embeddings.view(views, len(SPEAKERS), -1)


@pytest.mark.parametrize("views", [2, 3, 4])
def test_prototypical_is_its_equation_for_every_view_as_query(views):
    embeddings, labels = batch(views)
    crops = blocks(embeddings, views)
    values = []
    for v in range(views):
        prototypes = torch.stack([crops[u] for u in range(views) if u != v]).mean(0)
        for i in range(4):
            scores = [10 * cos(crops[v, i], prototypes[k]) for k in rivals_of(i)]
            values.append(math.log(sum(map(math.exp, scores))) - scores[0])
    loss = build("prototypical")
    assert loss(embeddings, labels)[0].item() == pytest.approx(np.mean(values), rel=1e-12)
    both = build("aam_prototypical", prototypical_weight=0.5)
    alone = build("aam_softmax")(embeddings, labels)[0].item()
    assert both(embeddings, labels)[0].item() == pytest.approx(alone + 0.5 * np.mean(values), rel=1e-12)


@pytest.mark.parametrize("variant", ["softmax", "contrast"])
@pytest.mark.parametrize("views", [2, 3, 4])
def test_ge2e_is_its_equations(views, variant):
    embeddings, labels = batch(views)
    unit = blocks(functional.normalize(embeddings), views)
    bias = -5.0 if variant == "contrast" else 0.0
    values = []
    for v in range(views):
        for i in range(4):
            others = torch.stack([unit[u, i] for u in range(views) if u != v]).mean(0)
            centroids = [others if k == i else unit[:, k].mean(0) for k in rivals_of(i)]
            scores = [10 * cos(unit[v, i], centroid) + bias for centroid in centroids]
            if variant == "softmax":
                values.append(math.log(sum(map(math.exp, scores))) - scores[0])
            else:
                sigmoid = [1 / (1 + math.exp(-score)) for score in scores]
                values.append(1 - sigmoid[0] + max(sigmoid[1:]))
    loss = build("ge2e", variant=variant)
    assert loss(embeddings, labels)[0].item() == pytest.approx(np.mean(values), rel=1e-12)


def test_ge2e_of_perfect_crops_by_hand():
    embeddings, labels = torch.eye(2, 6).double().repeat(2, 1), torch.tensor([1, 4, 1, 4])
    softmax = build("ge2e")(embeddings, labels)[0].item()
    assert softmax == pytest.approx(math.log(1 + math.exp(-10)), rel=1e-9)
    contrast = build("ge2e", variant="contrast")(embeddings, labels)[0].item()
    assert contrast == pytest.approx(2 / (1 + math.exp(5)), rel=1e-9)


def test_the_contrast_trains_a_bias_that_the_softmax_has_not():
    loss = build("ge2e", variant="contrast")
    loss(*batch(3))[0].backward()
    assert {key: bool(p.grad != 0) for key, p in loss.named_parameters()} == {"scale": True, "bias": True}
    assert [key for key, _ in build("ge2e").named_parameters()] == ["scale"]


@pytest.mark.parametrize("name", ["ge2e", "prototypical"])
def test_a_scale_below_zero_does_not_turn_the_loss_round(name):
    loss = build(name)
    loss.scale.data.fill_(-3.0)
    value, logits = loss(*batch(2))
    assert value.isfinite()
    assert logits.max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("variant", ["softmax", "contrast"])
def test_opposite_crops_have_no_centroid_and_a_finite_gradient(variant, dtype):
    embeddings = torch.cat([torch.eye(3, 6), -torch.eye(3, 6)]).to(dtype).requires_grad_()
    value, _ = build("ge2e", variant=variant).float()(embeddings, torch.arange(3).repeat(2))
    value.backward()
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()


def triplet(**settings):
    return build("triplet_angular_margin", **{"classification_weight": 0.0, **settings})


@pytest.mark.parametrize("views", [2, 3, 4])
def test_triplets_are_mined_batch_hard(views):
    """With a speaker drawn twice, whose crops are more than those of the others."""
    embeddings, labels = batch(views)
    values = []
    for i, own in enumerate(labels):
        cosines = [
            (cos(embeddings[i], embeddings[j]), bool(own == labels[j]), i == j) for j in range(len(labels))
        ]
        positive = min(c for c, same, itself in cosines if same and not itself)
        negative = max(c for c, same, _ in cosines if not same)
        bounds = max(0.0, 0.8 - positive) + max(0.0, negative - 0.4)
        values.append(max(0.0, 0.5 - positive + negative) + 2 * bounds)
    value = triplet(absolute_weight=2.0)(embeddings, labels)[0].item()
    assert value == pytest.approx(np.mean(values), rel=1e-12)


def test_satisfied_triplets_cost_nothing():
    """A satisfied bound of the negatives once counted as a constant 1."""
    embeddings, labels = torch.eye(3, 6).double().repeat(2, 1).requires_grad_(), torch.arange(3).repeat(2)
    value, _ = triplet()(embeddings, labels)
    value.backward()
    assert value.item() == 0
    assert not embeddings.grad.any()


def test_one_speaker_alone_has_no_negatives():
    embeddings = batch(1)[0].requires_grad_()
    value, _ = triplet(margin=0.0)(embeddings, torch.zeros(4, dtype=torch.int64))
    value.backward()
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()


def test_the_classifier_beside_the_triplets_is_scaled_and_optional():
    """Bare cosines as logits would leave its loss at 1.2 for seven classes at best."""
    loss = build("triplet_angular_margin", scale=30.0)
    embeddings, labels = torch.eye(6).double().repeat(2, 1), torch.arange(6).repeat(2)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.eye(7, 6))
    value, logits = loss(embeddings, labels)
    assert value.item() == pytest.approx(math.log(1 + 6 * math.exp(-30)), rel=1e-3)
    assert logits.max().item() == 30
    assert not list(triplet().parameters())


def test_the_schedule_ends_at_the_margin_of_the_triplets():
    loss = triplet()
    embeddings, labels = batch(2)
    configured = loss(embeddings, labels)[0].item()
    loss.set_margin(schedule.margin(loss.config.margin, epoch=0, ramp_epochs=(1, 3)))
    assert loss(embeddings, labels)[0].item() < configured
    loss.set_margin(schedule.margin(loss.config.margin, epoch=5, ramp_epochs=(1, 3)))
    assert loss(embeddings, labels)[0].item() == configured


@pytest.mark.parametrize(
    "settings", [{"absolute_weight": -1.0}, {"positive_floor": 0.2}, {"negative_ceiling": -2.0}]
)
def test_settings_of_the_triplets_are_checked(settings):
    with pytest.raises(ValueError, match=r"must (not be negative|hold)"):
        triplet(**settings)


@pytest.mark.parametrize("name", ["ge2e", "prototypical", "triplet_angular_margin"])
def test_logits_without_a_classifier_are_of_the_speakers_of_the_batch(name):
    settings = {"classification_weight": 0.0} if name.startswith("triplet") else {}
    embeddings, labels = batch(3)
    embeddings = embeddings / 4 + 40 * torch.eye(6).double()[labels]
    _, logits = build(name, **settings)(embeddings, labels)
    assert logits.shape == (12, 7)
    assert [c for c in range(7) if logits[:, c].isfinite().all()] == [0, 3, 5]
    assert (logits[:, [1, 2, 4, 6]] == -math.inf).all()
    assert torch.equal(logits.argmax(1), labels)
    assert not logits.requires_grad


def test_a_crop_is_never_its_own_evidence():
    """Crops that look like another speaker's are counted as errors by the logits."""
    embeddings = torch.eye(6).double()[[0, 1, 1, 0]]  # the second crops are swapped
    labels = torch.tensor([2, 4, 2, 4])
    for loss in (build("ge2e"), build("prototypical"), triplet()):
        _, logits = loss(embeddings, labels)
        assert not (logits.argmax(1) == labels).any(), loss


def test_batches_of_the_sampler_are_split_into_their_views():
    sampler = CropSampler(np.full(5, 3.0), SamplingConfig(crop_s=1.0, views=3), 12, seed=0)
    for keys in sampler:
        labels = torch.tensor([key.utt for key in keys])
        views, speakers = split_views(torch.arange(12.0)[:, None], labels)
        assert len(views) % 3 == 0
        for block in views:
            assert torch.equal(labels[block[:, 0].long()], speakers)


def test_speakers_that_repeat_within_a_block_are_more_views():
    views, speakers = split_views(torch.zeros(8, 2), torch.tensor([1, 0, 1, 0, 1, 0, 1, 0]))
    assert views.shape == (4, 2, 2)
    assert speakers.tolist() == [1, 0]
