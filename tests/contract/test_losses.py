"""Every registered loss: shapes, gradcheck, finite at cosine +-1, margin 0 is scaled-cosine softmax."""

import pytest
import torch
from torch.nn import functional

from speakerlab import registry

NAMES = registry.names("loss")
WITH_MARGIN = [n for n in NAMES if hasattr(registry.get("loss", n).Config(), "margin")]
WITH_SMOOTHING = [n for n in NAMES if hasattr(registry.get("loss", n).Config(), "label_smoothing")]
# Parameters of the default configuration with 8 dimensions and 5 classes.
NUM_PARAMETERS = {"aam_prototypical": 41, "aam_softmax": 40, "softmax": 45}
# Settings that leave nothing but the classification; a loss without an entry is nothing else by default.
CLASSIFICATION_ONLY = {"aam_prototypical": {"prototypical_weight": 0.0}}
EMBED_DIM, NUM_CLASSES = 8, 5


def build(name: str, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    cls = registry.get("loss", name)
    return cls(cls.Config(**settings), embed_dim=EMBED_DIM, num_classes=NUM_CLASSES)


def batch(half: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Two halves of the same classes in the same order: some losses need two crops of each speaker."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2 * half, EMBED_DIM, generator=generator), torch.arange(half).repeat(2) % NUM_CLASSES


def class_weight(loss: torch.nn.Module) -> torch.nn.Parameter:
    return next(p for p in loss.parameters() if p.shape == (NUM_CLASSES, EMBED_DIM))


@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters_is_pinned(name):
    count = sum(p.numel() for p in build(name).parameters())
    assert name in NUM_PARAMETERS, f"add '{name}': {count:_} to NUM_PARAMETERS in {__file__}"
    assert count == NUM_PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_gradients(name):
    loss = build(name)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    value, logits = loss(embeddings, labels)
    value.backward()
    assert value.shape == ()
    assert logits.shape == (14, NUM_CLASSES)
    assert embeddings.grad.abs().max() > 0
    assert class_weight(loss).grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name):
    loss = build(name).double()
    embeddings, labels = batch()
    embeddings = embeddings.double().requires_grad_()
    weight = class_weight(loss)

    def value(x, w):
        return torch.func.functional_call(loss, {key_of(loss, weight): w}, (x, labels))[0]

    assert torch.autograd.gradcheck(value, (embeddings, weight.detach().clone().requires_grad_()))


def key_of(loss: torch.nn.Module, parameter: torch.nn.Parameter) -> str:
    return next(key for key, value in loss.named_parameters() if value is parameter)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", NAMES)
def test_finite_where_the_cosine_is_one(name, sign, dtype):
    """The classes are the embeddings themselves or their opposites, at several lengths."""
    loss = build(name)
    embeddings, labels = batch(NUM_CLASSES)
    embeddings = embeddings[:NUM_CLASSES] * torch.tensor([1e-3, 0.1, 1.0, 10.0, 1e3])[:, None]
    embeddings[0] = torch.eye(EMBED_DIM)[0]  # a cosine of exactly 1
    embeddings = embeddings.to(dtype)
    with torch.no_grad():
        class_weight(loss).copy_(sign * embeddings)
    embeddings.requires_grad_()
    value, logits = loss(embeddings.repeat(2, 1), labels)
    value.backward()
    assert value.isfinite()
    assert logits.isfinite().all()
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
    assert (loss(embeddings, labels)[1].argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_margin_zero_is_always_accepted(name):
    loss = build(name)
    loss.set_margin(0.0)
    assert loss(*batch())[0].isfinite()


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_margin_zero_is_softmax_over_scaled_cosines(name):
    loss = build(name, **CLASSIFICATION_ONLY.get(name, {}))
    loss.set_margin(0.0)
    embeddings, labels = batch()
    cosines = functional.cosine_similarity(embeddings[:, None], class_weight(loss)[None], dim=2)
    value, logits = loss(embeddings, labels)
    expected = functional.cross_entropy(loss.config.scale * cosines, labels)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
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
    assert all(torch.equal(scores, logits[0]) for scores in logits)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_set_margin_is_the_same_as_building_with_it(name):
    loss, built = build(name), build(name, margin=0.35)
    assert not torch.equal(loss(*batch())[0], built(*batch())[0])
    loss.set_margin(0.35)
    assert torch.equal(loss(*batch())[0], built(*batch())[0])


@pytest.mark.parametrize("name", WITH_SMOOTHING)
def test_label_smoothing_is_that_of_cross_entropy(name):
    loss = build(name, label_smoothing=0.1, **CLASSIFICATION_ONLY.get(name, {}))
    loss.set_margin(0.0)
    value, logits = loss(*batch())
    expected = functional.cross_entropy(logits, batch()[1], label_smoothing=0.1)
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)


def test_softmax_is_a_linear_classifier():
    loss = build("softmax")
    embeddings, labels = batch()
    expected = functional.cross_entropy(embeddings @ loss.linear.weight.T + loss.linear.bias, labels)
    torch.testing.assert_close(loss(embeddings, labels)[0], expected)
    with pytest.raises(ValueError, match="has none"):
        loss.set_margin(0.2)
