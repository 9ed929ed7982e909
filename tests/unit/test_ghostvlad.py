"""GhostVLAD: the pooling and the network against their descriptions, the names of Keras' weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from speakerlab.hub.ghostvlad_h5 import keras_key, torch_layout
from speakerlab.nn.models.ghostvlad import GhostVLAD, GhostVLADConfig
from speakerlab.nn.pooling.ghostvlad import GhostVLADPooling, GhostVLADPoolingConfig

SMALL = GhostVLADConfig(
    embed_dim=6, inner_channels=(3, 4, 4, 5), out_channels=(4, 5, 6, 7), num_clusters=3, num_ghosts=2
)
# Number, blocks, width of the 3x3 convolutions, width of the output.
STAGES = ((2, "ab", 48, 96), (3, "abc", 96, 128), (4, "abc", 128, 256), (5, "abc", 256, 512))


def vlad(x: np.ndarray, scores: np.ndarray, centers: np.ndarray, num_clusters: int) -> np.ndarray:
    """Frames x [C, T], scores [K + G, T]: one frame and one cluster at a time."""
    sums = np.zeros((num_clusters, len(x)))
    for t in range(x.shape[1]):
        shares = np.exp(scores[:, t]) / np.exp(scores[:, t]).sum()
        for k in range(num_clusters):
            sums[k] += shares[k] * (x[:, t] - centers[k])
    return np.concatenate([row / np.sqrt(max((row**2).sum(), 1e-12)) for row in sums])


@pytest.mark.parametrize("num_ghosts", [0, 1, 3])
def test_pooling_equals_the_sum_frame_by_frame(num_ghosts):
    torch.manual_seed(0)
    pooling = GhostVLADPooling(GhostVLADPoolingConfig(2, num_ghosts), in_dim=5)
    x = torch.randn(2, 5, 9)
    weight, bias = (p.detach().double().numpy() for p in pooling.assignment.parameters())
    pooled = pooling(x, torch.tensor([9, 4])).detach()
    assert pooled.shape == (2, pooling.out_dim) == (2, 10)
    for row, length in enumerate([9, 4]):
        frames = x[row, :, :length].double().numpy()
        scores = weight[..., 0] @ frames + bias[:, None]
        expected = vlad(frames, scores, pooling.centers.detach().double().numpy(), 2)
        np.testing.assert_allclose(pooled[row], expected, rtol=1e-5, atol=1e-6)


def test_a_frame_on_its_centre_is_no_division_by_zero():
    pooling = GhostVLADPooling(GhostVLADPoolingConfig(1, 0), in_dim=3)
    x = pooling.centers.detach().T[None].clone().requires_grad_()  # [1, 3, 1]
    pooled = pooling(x)
    pooled.sum().backward()
    assert (pooled == 0).all()
    assert x.grad.isfinite().all()


def keras_shapes() -> dict[tuple[str, str], tuple[int, ...]]:
    """Layer and weight of the public file with the shape it has there, for 257 bins, 8 + 2 clusters."""
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}

    def conv(layer: str, *shape: int) -> None:
        shapes[layer, "kernel"] = shape
        for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"{layer}/bn", weight] = shape[-1:]

    conv("conv1_1/3x3_s1", 7, 7, 1, 64)
    width = 64
    for stage, blocks, inner, outer in STAGES:
        for block in blocks:
            conv(f"conv{stage}_{block}_1x1_reduce", 1, 1, width, inner)
            conv(f"conv{stage}_{block}_3x3", 3, 3, inner, inner)
            conv(f"conv{stage}_{block}_1x1_increase", 1, 1, inner, outer)
            if block == "a":
                conv(f"conv{stage}_a_1x1_proj", 1, 1, width, outer)
            width = outer
    for layer, channels in (("x_fc", 512), ("gvlad_center_assignment", 10)):
        shapes[layer, "kernel"], shapes[layer, "bias"] = (7, 1, 512, channels), (channels,)
    shapes["gvlad_pool", "centers"] = (10, 512)
    shapes["fc6", "kernel"], shapes["fc6", "bias"] = (4096, 512), (512,)
    return shapes


def test_weights_of_keras_and_ours_are_one_to_one():
    theirs = keras_shapes()
    assert len(theirs) == 197
    translated = {
        keras_key(layer, weight): torch_layout(weight, np.zeros(shape, np.float32)).shape
        for (layer, weight), shape in theirs.items()
    }
    state = GhostVLAD(GhostVLADConfig(), feat_dim=257).state_dict()
    ours = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert len(translated) == 197
    assert translated == ours
    assert sum(int(np.prod(shape)) for shape in theirs.values()) == 7_678_410


def test_arrays_keep_their_meaning():
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert torch_layout("kernel", kernel)[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    assert torch_layout("kernel", kernel[0, 0])[4, 3] == kernel[0, 0, 3, 4]
    assert torch_layout("centers", kernel[0, 0])[3, 4] == kernel[0, 0, 3, 4]


def test_a_layer_of_another_network_keeps_its_name():
    assert keras_key("prediction", "kernel") == "prediction.weight"
    assert keras_key("conv6_a_3x3", "kernel") == "conv6_a_3x3.weight"


def build(config: GhostVLADConfig, feat_dim: int) -> GhostVLAD:
    torch.manual_seed(0)
    model = GhostVLAD(config, feat_dim)
    for key, value in model.state_dict().items():
        if key.endswith("running_var") or ("bn" in key and key.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
    return model.eval()


def reference(model: GhostVLAD, feats: torch.Tensor) -> torch.Tensor:
    """The network over one utterance [T, F] by its layer table, in float64."""
    state = {key: value.double() for key, value in model.state_dict().items()}

    def conv(x, name, norm, *, stride=1):
        weight = state[f"{name}.weight"]
        y = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{norm}.{n}"].view(1, -1, 1, 1) for n in names)
        return (y - mean) / torch.sqrt(var + 1e-3) * weight + bias

    x = functional.max_pool2d(conv(feats.double().T[None, None], "conv1", "bn1").relu(), 2)
    for name in ("2_a", "2_b", "3_a", "3_b", "3_c", "4_a", "4_b", "4_c", "5_a", "5_b", "5_c"):
        block = f"blocks.conv{name}"
        stride = 2 if name in {"3_a", "4_a", "5_a"} else 1
        y = conv(x, f"{block}.reduce", f"{block}.reduce_bn", stride=stride).relu()
        y = conv(y, f"{block}.conv", f"{block}.conv_bn").relu()
        y = conv(y, f"{block}.increase", f"{block}.increase_bn")
        if name.endswith("a"):
            x = conv(x, f"{block}.proj", f"{block}.proj_bn", stride=stride)
        x = (x + y).relu()
    x = functional.max_pool2d(x, (min(3, x.shape[2]), 1), stride=(2, 1))
    frames = functional.conv2d(x, state["x_fc.weight"], state["x_fc.bias"]).relu()[0, :, 0]
    scores = functional.conv2d(x, state["assignment.weight"], state["assignment.bias"])[0, :, 0]
    pooled = vlad(frames.numpy(), scores.numpy(), state["centers"].numpy(), model.num_clusters)
    y = (state["fc6.weight"] @ torch.from_numpy(pooled) + state["fc6.bias"]).relu()
    return y / y.square().sum().clamp(min=1e-12).sqrt()


@pytest.mark.parametrize("feat_dim", [2, 24, 80])
def test_embeddings_of_a_batch_equal_the_slow_reference(feat_dim):
    """Every remainder of the four halvings, the first of which rounds down and the others up."""
    model = build(SMALL, feat_dim)
    lengths = [*range(2, 36), 48]
    feats = torch.randn(len(lengths), 48, feat_dim, generator=torch.Generator().manual_seed(1)) * 2
    embeddings = model(feats, torch.tensor(lengths)).detach()
    for row, length in enumerate(lengths):
        expected = reference(model, feats[row, :length])
        assert (embeddings[row] - expected).abs().max() < 1e-5, length


def test_full_size_network_equals_the_slow_reference():
    model = build(GhostVLADConfig(), feat_dim=257)
    assert model.x_fc.weight.shape == (512, 512, 7, 1)
    feats = torch.randn(50, 257, generator=torch.Generator().manual_seed(2))
    embedding = model(feats[None])[0].detach()
    assert (embedding - reference(model, feats)).abs().max() < 1e-5
    assert (embedding >= 0).all()


def test_too_few_features_are_refused():
    with pytest.raises(ValueError, match="feat_dim: must be at least 2, not 1"):
        GhostVLAD(SMALL, feat_dim=1)


@pytest.mark.parametrize("name", ["num_clusters", "num_ghosts"])
@pytest.mark.parametrize("config", [GhostVLADConfig, GhostVLADPoolingConfig])
def test_settings_are_checked(config, name):
    with pytest.raises(ValueError, match=f"{name}: must"):
        config(**{name: -1})
    with pytest.raises(ValueError, match="out_channels: must be four positive"):
        GhostVLADConfig(out_channels=(8, 8, 8))
