"""Every registered model: shapes, gradients, masking, determinism. A new file is tested by existing."""

import io

import pytest
import torch

from speakerlab import registry

FEAT_DIM = 24
# Parameters of the default configuration on 80 features.
NUM_PARAMETERS = {"campplus": 6_848_544, "resnet": 6_306_592, "tdnn": 3_394_644}
# Smaller settings, to be quick; a model without an entry is tested with its defaults.
SMALL = {
    "campplus": {
        "embed_dim": 16,
        "growth_rate": 8,
        "bn_size": 2,
        "init_channels": 16,
        "num_layers": (2, 2, 2),
        "head_channels": 4,
    },
    "resnet": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 4},
    "tdnn": {"embed_dim": 16, "channels": (24, 24, 24, 24, 40)},
}
# Around the edges of CAM++ windows (100 frames after a stride of 2) and of strides.
LENGTHS = (99, 100, 101, 199, 200, 201, 345, 399, 400, 401)

pytestmark = pytest.mark.parametrize("name", registry.names("model"))


def build(name: str, seed: int = 0) -> torch.nn.Module:
    """A small model whose normalisations are far from the identity, so that a leak of padding shows."""
    cls = registry.get("model", name)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = cls(cls.Config(**SMALL.get(name, {})), feat_dim=FEAT_DIM)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.normal_(0, 0.5, generator=generator)
    return model.eval()


def features(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the largest component."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())


def test_number_of_parameters_is_pinned(name):
    cls = registry.get("model", name)
    count = sum(p.numel() for p in cls(cls.Config(), feat_dim=80).parameters())
    assert name in NUM_PARAMETERS, f"add '{name}': {count:_} to NUM_PARAMETERS in {__file__}"
    assert count == NUM_PARAMETERS[name]


def test_shape_and_finite(name):
    model = build(name)
    for num_frames in (model.min_frames, 57):
        embeddings = model(features(3, num_frames, FEAT_DIM))
        assert embeddings.shape == (3, model.embed_dim)
        assert embeddings.isfinite().all()


def test_embed_dim_is_the_configured_one(name):
    cls = registry.get("model", name)
    config = cls.Config(**{**SMALL.get(name, {}), "embed_dim": 11})
    assert cls(config, feat_dim=FEAT_DIM).embed_dim == config.embed_dim == 11


@pytest.mark.parametrize("feat_dim", [13, 40])
def test_any_feature_dimension(name, feat_dim):
    cls = registry.get("model", name)
    model = cls(cls.Config(**SMALL.get(name, {})), feat_dim=feat_dim).eval()
    assert model(features(2, 30, feat_dim)).shape == (2, model.embed_dim)


def test_all_parameters_get_gradients(name):
    model = build(name).train()
    embeddings = model(features(6, 70, FEAT_DIM))
    (embeddings * features(*embeddings.shape, seed=2)).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


def test_gradients_are_finite_in_a_padded_batch_and_for_constant_input(name):
    model = build(name).train()
    feats = torch.cat([torch.zeros(2, 230, FEAT_DIM), features(2, 230, FEAT_DIM)])
    model(feats, torch.tensor([230, model.min_frames, 230, 23])).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("garbage", [1e20, float("nan"), float("-inf")])
def test_a_batched_embedding_equals_the_single_one(name, garbage):
    model = build(name)
    lengths = (model.min_frames, model.min_frames + 1, *LENGTHS)
    batch = torch.full((len(lengths), max(lengths), FEAT_DIM), garbage)
    singles = []
    for row, length in enumerate(lengths):
        feats = features(length, FEAT_DIM, seed=row)
        batch[row, :length] = feats
        singles.append(model(feats[None])[0])
    embeddings = model(batch, torch.tensor(lengths))
    for length, embedding, single in zip(lengths, embeddings, singles, strict=True):
        assert distance(embedding, single) < 1e-5, length


def test_utterances_of_a_batch_do_not_mix(name):
    model = build(name)
    feats = features(4, 60, FEAT_DIM)
    alone = torch.cat([model(feats[i : i + 1]) for i in range(4)])
    assert distance(model(feats), alone) < 1e-5


def test_full_lengths_give_the_same_bits_as_none(name):
    model = build(name)
    feats = features(3, 80, FEAT_DIM)
    assert torch.equal(model(feats), model(feats, torch.full((3,), 80)))


def test_input_is_not_changed(name):
    model = build(name)
    feats = features(2, 40, FEAT_DIM)
    before = feats.clone()
    model(feats, torch.tensor([40, 31]))
    assert torch.equal(feats, before)


def test_deterministic(name):
    model, again = build(name), build(name)
    feats = features(2, 64, FEAT_DIM)
    assert torch.equal(model(feats), model(feats))
    assert torch.equal(model(feats), again(feats))
    assert not torch.equal(model(feats), build(name, seed=5)(feats))


def test_state_dict_restores_the_model(name):
    model, other = build(name), build(name, seed=7)
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True), strict=True)
    feats = features(2, 64, FEAT_DIM)
    assert torch.equal(other(feats), model(feats))


def test_too_short_or_too_long_is_refused(name):
    model = build(name)
    short = model.min_frames - 1
    with pytest.raises(ValueError, match=rf"{short} frames.*at least {model.min_frames}"):
        model(features(2, short, FEAT_DIM))
    with pytest.raises(ValueError, match=rf"{short} frames.*at least {model.min_frames}"):
        model(features(2, 50, FEAT_DIM), torch.tensor([50, short]))
    with pytest.raises(ValueError, match=r"51.*50 frames"):
        model(features(2, 50, FEAT_DIM), torch.tensor([51, 50]))
