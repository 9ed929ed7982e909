"""Every registered loss: shapes, gradcheck, finite at cosine +-1, margin 0 is scaled-cosine softmax."""

import pytest
import torch
from torch.nn import functional

from speakerlab import config, registry
from speakerlab.train.experiment import ExperimentConfig

NAMES = registry.names("loss")
WITH_MARGIN = [n for n in NAMES if hasattr(registry.get("loss", n).Config(), "margin")]
WITH_SMOOTHING = [n for n in NAMES if hasattr(registry.get("loss", n).Config(), "label_smoothing")]
# Parameters of the default configuration with 8 dimensions and 5 classes.
NUM_PARAMETERS = {
    "aam_prototypical": 41,
    "aam_softmax": 40,
    "am_softmax": 40,
    "arm_softmax": 40,
    "ge2e": 1,
    "partial_fc": 40,
    "prototypical": 1,
    "softmax": 45,
    "sphereface2": 41,
    "triplet_angular_margin": 40,
}
# Settings that leave nothing but the classification; a loss without an entry is nothing else by default.
CLASSIFICATION_ONLY = {"aam_prototypical": {"prototypical_weight": 0.0}}
# Losses with a margin that are no softmax without it: hinges, binary classifiers, triplets.
NO_SOFTMAX = {"arm_softmax", "sphereface2", "triplet_angular_margin"}
COMPARE_CROPS = {"aam_prototypical", "ge2e", "prototypical", "triplet_angular_margin"}
NO_LOGITS = {"partial_fc"}  # not every class has a score
EMBED_DIM, NUM_CLASSES = 8, 5


def build(name: str, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    cls = registry.get("loss", name)
    return cls(cls.Config(**settings), embed_dim=EMBED_DIM, num_classes=NUM_CLASSES)


def batch(half: int = 7, views: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks of the same classes in the same order: some losses need several crops of each speaker."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(half).repeat(views) % NUM_CLASSES
    return torch.randn(views * half, EMBED_DIM, generator=generator), labels


def class_weights(loss: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The matrix of class centres, or nothing."""
    return [p for p in loss.parameters() if p.shape == (NUM_CLASSES, EMBED_DIM)]


def decisions(name: str, loss: torch.nn.Module, embeddings: torch.Tensor, labels: torch.Tensor):
    """The class of each embedding."""
    logits = loss(embeddings, labels)[1]
    return (embeddings @ functional.normalize(loss.weight).T if name in NO_LOGITS else logits).argmax(1)


@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters_is_pinned(name):
    count = sum(p.numel() for p in build(name).parameters())
    assert name in NUM_PARAMETERS, f"add '{name}': {count:_} to NUM_PARAMETERS in {__file__}"
    assert count == NUM_PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_takes_it_by_its_name_alone(name):
    views = getattr(registry.get("loss", name), "MIN_VIEWS", 1)
    base = {
        "loss": {"name": "none of these", "easy_margin": True, "label_smoothing": 0.1},
        "sampling": {"views": views},
    }
    settings = config.merge(base, {"loss": {"name": name}})
    experiment = config.from_mapping(ExperimentConfig, settings, "test")
    assert isinstance(experiment.loss.build(embed_dim=8, num_classes=5), registry.get("loss", name))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_gradients(name):
    loss = build(name)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    value, logits = loss(embeddings, labels)
    value.backward()
    assert value.shape == ()
    assert logits is None if name in NO_LOGITS else logits.shape == (14, NUM_CLASSES)
    assert embeddings.grad.abs().max() > 0
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in loss.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name):
    loss = build(name).double()
    embeddings, labels = batch()
    keys = [key for key, _ in loss.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in loss.parameters()]

    def value(x, *parameters):
        return torch.func.functional_call(loss, dict(zip(keys, parameters, strict=True)), (x, labels))[0]

    assert torch.autograd.gradcheck(value, (embeddings.double().requires_grad_(), *values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", NAMES)
def test_finite_where_the_cosine_is_one(name, sign, dtype):
    """The classes are the embeddings themselves or their opposites, at several lengths; so are the views."""
    loss = build(name)
    embeddings, labels = batch(NUM_CLASSES)
    embeddings = embeddings[:NUM_CLASSES] * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e3])[:, None]
    embeddings[0] = torch.eye(EMBED_DIM)[0]  # a cosine of exactly 1
    embeddings = embeddings.to(dtype)
    for weight in class_weights(loss):
        weight.data.copy_(sign * embeddings)
    embeddings.requires_grad_()
    value, logits = loss(torch.cat([embeddings, sign * embeddings]), labels)
    value.backward()
    assert value.isfinite()
    assert name in NO_LOGITS or logits.isfinite().all()
    assert embeddings.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in loss.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_training_finds_the_classes(name):
    loss = build(name)
    embeddings, labels = batch(40)
    embeddings = embeddings + 4 * torch.eye(NUM_CLASSES, EMBED_DIM)[labels]
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss(embeddings, labels)[0].backward()
        optimizer.step()
    assert (decisions(name, loss, embeddings, labels) == labels).float().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_margin_zero_is_always_accepted(name):
    loss = build(name)
    loss.set_margin(0.0)
    assert loss(*batch())[0].isfinite()


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(WITH_MARGIN)))
def test_a_loss_without_a_margin_refuses_one(name):
    with pytest.raises(ValueError, match="has none; use aam_softmax"):
        build(name).set_margin(0.2)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_margins_out_of_range_are_refused(name):
    loss = build(name)
    for margin in (-0.1, 3.2, float("nan")):
        with pytest.raises(ValueError, match="margin: must be in"):
            loss.set_margin(margin)
        with pytest.raises(ValueError, match="margin: must be in"):
            loss.Config(margin=margin)
    assert loss.margin == loss.config.margin
    with pytest.raises(ValueError, match="scale: must be positive"):
        loss.Config(scale=0.0)


@pytest.mark.parametrize("name", sorted(set(WITH_MARGIN) - NO_SOFTMAX))
def test_margin_zero_is_softmax_over_scaled_cosines(name):
    loss = build(name, **CLASSIFICATION_ONLY.get(name, {}))
    loss.set_margin(0.0)
    embeddings, labels = batch()
    cosines = functional.cosine_similarity(embeddings[:, None], class_weights(loss)[0][None], dim=2)
    value, logits = loss(embeddings, labels)
    expected = functional.cross_entropy(loss.config.scale * cosines, labels)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    if name not in NO_LOGITS:
        torch.testing.assert_close(logits, loss.config.scale * cosines, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_the_margin_makes_the_task_harder_and_the_logits_carry_none(name):
    loss = build(name)
    values, logits = [], []
    for margin in (0.0, 0.1, 0.2, 0.4):
        loss.set_margin(margin)
        value, scores = loss(*batch())
        values.append(float(value.detach()))
        logits.append(scores)
    assert values == sorted(values)
    assert values[0] < values[1]
    assert name in NO_LOGITS or all(torch.equal(scores, logits[0]) for scores in logits)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_set_margin_is_the_same_as_building_with_it(name):
    loss, built = build(name), build(name, margin=0.35)
    assert not torch.equal(loss(*batch())[0], built(*batch())[0])
    loss.set_margin(0.35)
    assert torch.equal(loss(*batch())[0], built(*batch())[0])


@pytest.mark.parametrize("name", WITH_SMOOTHING)
def test_label_smoothing_is_that_of_cross_entropy(name):
    plain, smooth = build(name), build(name, label_smoothing=0.1)
    for loss in (plain, smooth):
        loss.set_margin(0.0)
    value, logits = plain(*batch())
    labels = batch()[1]
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    expected = expected - functional.cross_entropy(logits, labels)
    assert expected.abs() > 0.01
    torch.testing.assert_close(smooth(*batch())[0] - value, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="label_smoothing: must be in"):
        loss.Config(label_smoothing=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_batches_without_several_crops_of_each_speaker(name):
    """Refused in one line by the losses that compare crops, and by no other."""
    loss = build(name)
    embeddings, labels = batch(5, views=1)
    if name not in COMPARE_CROPS:
        assert loss(embeddings, labels)[0].isfinite()
        return
    for wrong in (labels, torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 1, 2])):
        with pytest.raises(
            ValueError, match=r"^the batch is not several crops .* sampling.views: 2 or more$"
        ):
            loss(embeddings[: len(wrong)], wrong)


@pytest.mark.parametrize("views", [2, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_views_is_taken(name, views):
    loss = build(name)
    embeddings, labels = batch(7, views)
    value, logits = loss(embeddings, labels)
    assert value.isfinite()
    assert name in NO_LOGITS or logits.shape == (7 * views, NUM_CLASSES)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_reach_the_loss(name):
    loss = build(name)
    embeddings, labels = batch()
    embeddings = embeddings.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = loss(embeddings, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(embeddings.float(), labels)[0], rtol=0, atol=0)


def test_softmax_is_a_linear_classifier():
    loss = build("softmax")
    embeddings, labels = batch()
    expected = functional.cross_entropy(embeddings @ loss.linear.weight.T + loss.linear.bias, labels)
    torch.testing.assert_close(loss(embeddings, labels)[0], expected)
