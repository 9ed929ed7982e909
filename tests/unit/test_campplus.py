"""CAM++: names and shapes of the published checkpoints, a slow reference of the network, export."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from speakerlab.nn import layers
from speakerlab.nn.models import campplus
from speakerlab.nn.models.campplus import CAMPPlus, CAMPPlusConfig

SMALL = CAMPPlusConfig(
    embed_dim=16, growth_rate=8, bn_size=2, init_channels=16, num_layers=(2, 3, 2), head_channels=4
)


def build(config: CAMPPlusConfig = SMALL, feat_dim: int = 40) -> CAMPPlus:
    """A network with normalisations far from the identity."""
    torch.manual_seed(0)
    model = CAMPPlus(config, feat_dim=feat_dim)
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
    return model.eval()


def published_shapes(embed_dim: int) -> dict[str, tuple[int, ...]]:
    """The strict-load table of the official class at 80 features, written down from its description."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(prefix: str, channels: int, *, affine: bool = True) -> None:
        for name in ("weight", "bias") if affine else ():
            shapes[f"{prefix}.{name}"] = (channels,)
        shapes[f"{prefix}.running_mean"] = shapes[f"{prefix}.running_var"] = (channels,)
        shapes[f"{prefix}.num_batches_tracked"] = ()

    shapes["head.conv1.weight"] = (32, 1, 3, 3)
    norm("head.bn1", 32)
    for block in ("layer1.0", "layer1.1", "layer2.0", "layer2.1"):
        for i in (1, 2):
            shapes[f"head.{block}.conv{i}.weight"] = (32, 32, 3, 3)
            norm(f"head.{block}.bn{i}", 32)
        if block.endswith("0"):
            shapes[f"head.{block}.shortcut.0.weight"] = (32, 32, 1, 1)
            norm(f"head.{block}.shortcut.1", 32)
    shapes["head.conv2.weight"] = (32, 32, 3, 3)
    norm("head.bn2", 32)
    shapes["xvector.tdnn.linear.weight"] = (128, 320, 5)
    norm("xvector.tdnn.nonlinear.batchnorm", 128)
    for block, (num_layers, first) in enumerate([(12, 128), (24, 256), (16, 512)], 1):
        for i in range(1, num_layers + 1):
            layer = f"xvector.block{block}.tdnnd{i}"
            channels = first + 32 * (i - 1)
            norm(f"{layer}.nonlinear1.batchnorm", channels)
            shapes[f"{layer}.linear1.weight"] = (128, channels, 1)
            norm(f"{layer}.nonlinear2.batchnorm", 128)
            shapes[f"{layer}.cam_layer.linear_local.weight"] = (32, 128, 3)
            shapes[f"{layer}.cam_layer.linear1.weight"] = (64, 128, 1)
            shapes[f"{layer}.cam_layer.linear1.bias"] = (64,)
            shapes[f"{layer}.cam_layer.linear2.weight"] = (32, 64, 1)
            shapes[f"{layer}.cam_layer.linear2.bias"] = (32,)
    for i, (channels, out_channels) in enumerate([(512, 256), (1024, 512), (1024, 512)], 1):
        norm(f"xvector.transit{i}.nonlinear.batchnorm", channels)
        shapes[f"xvector.transit{i}.linear.weight"] = (out_channels, channels, 1)
    norm("xvector.out_nonlinear.batchnorm", 512)
    shapes["xvector.dense.linear.weight"] = (embed_dim, 1024, 1)
    norm("xvector.dense.nonlinear.batchnorm", embed_dim, affine=False)
    return shapes


@pytest.mark.parametrize(("embed_dim", "num_parameters"), [(512, 7_176_224), (192, 6_848_544)])
def test_names_and_shapes_are_the_published_ones(embed_dim, num_parameters):
    model = CAMPPlus(CAMPPlusConfig(embed_dim=embed_dim), feat_dim=80)
    state = model.state_dict()
    assert len(state) == 937
    assert {key: tuple(value.shape) for key, value in state.items()} == published_shapes(embed_dim)
    assert sum(p.numel() for p in model.parameters()) == num_parameters


def context_by_hand(x: np.ndarray) -> np.ndarray:
    """[C, T]: mean of the utterance plus mean of the frame's own window of 100, one frame at a time."""
    context = np.zeros_like(x)
    for t in range(x.shape[1]):
        start = t // 100 * 100
        window = x[:, start : start + 100]
        context[:, t] = x.sum(axis=1) / x.shape[1] + window.sum(axis=1) / window.shape[1]
    return context


def reference(
    state: dict[str, torch.Tensor], feats: torch.Tensor, num_layers: tuple[int, ...]
) -> torch.Tensor:
    """The network over one utterance [T, F], layer by layer from its description, in float64."""
    state = {key: value.double() for key, value in state.items()}

    def norm(x, prefix):
        mean, var = state[f"{prefix}.running_mean"], state[f"{prefix}.running_var"]
        weight = state.get(f"{prefix}.weight", torch.ones_like(mean))
        bias = state.get(f"{prefix}.bias", torch.zeros_like(mean))
        shape = (1, -1) + (1,) * (x.dim() - 2)
        normal = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        return normal * weight.view(shape) + bias.view(shape)

    def block(x, prefix, stride):
        y = functional.conv2d(x, state[f"{prefix}.conv1.weight"], stride=(stride, 1), padding=1)
        y = functional.conv2d(norm(y, f"{prefix}.bn1").relu(), state[f"{prefix}.conv2.weight"], padding=1)
        if stride == 2:
            x = functional.conv2d(x, state[f"{prefix}.shortcut.0.weight"], stride=(2, 1))
            x = norm(x, f"{prefix}.shortcut.1")
        return (norm(y, f"{prefix}.bn2") + x).relu()

    x = feats.double().T[None, None]
    x = norm(functional.conv2d(x, state["head.conv1.weight"], padding=1), "head.bn1").relu()
    for name, stride in (("layer1.0", 2), ("layer1.1", 1), ("layer2.0", 2), ("layer2.1", 1)):
        x = block(x, f"head.{name}", stride)
    x = norm(functional.conv2d(x, state["head.conv2.weight"], stride=(2, 1), padding=1), "head.bn2").relu()
    x = x.reshape(1, -1, x.shape[-1])
    x = functional.conv1d(x, state["xvector.tdnn.linear.weight"], stride=2, padding=2)
    x = norm(x, "xvector.tdnn.nonlinear.batchnorm").relu()
    for i, (count, dilation) in enumerate(zip(num_layers, (1, 2, 2), strict=True), 1):
        for j in range(1, count + 1):
            layer = f"xvector.block{i}.tdnnd{j}"
            cam = f"{layer}.cam_layer"
            y = norm(x, f"{layer}.nonlinear1.batchnorm").relu()
            y = functional.conv1d(y, state[f"{layer}.linear1.weight"])
            y = norm(y, f"{layer}.nonlinear2.batchnorm").relu()
            context = torch.from_numpy(context_by_hand(y[0].numpy()))[None]
            mask = functional.conv1d(
                context, state[f"{cam}.linear1.weight"], state[f"{cam}.linear1.bias"]
            ).relu()
            mask = functional.conv1d(
                mask, state[f"{cam}.linear2.weight"], state[f"{cam}.linear2.bias"]
            ).sigmoid()
            local = state[f"{cam}.linear_local.weight"]
            y = functional.conv1d(y, local, padding=dilation, dilation=dilation) * mask
            x = torch.cat([x, y], dim=1)
        x = norm(x, f"xvector.transit{i}.nonlinear.batchnorm").relu()
        x = functional.conv1d(x, state[f"xvector.transit{i}.linear.weight"])
    x = norm(x, "xvector.out_nonlinear.batchnorm").relu()[0].numpy()
    pooled = torch.from_numpy(np.concatenate([x.mean(axis=1), x.std(axis=1, ddof=1)]))
    embedding = state["xvector.dense.linear.weight"][..., 0] @ pooled
    return norm(embedding[None], "xvector.dense.nonlinear.batchnorm")[0]


@pytest.mark.parametrize("num_frames", [3, 98, 199, 200, 201, 298, 345, 500])
def test_embedding_equals_the_slow_reference(num_frames):
    model = build()
    feats = torch.randn(num_frames, 40, generator=torch.Generator().manual_seed(num_frames)) * 2
    expected = reference(model.state_dict(), feats, SMALL.num_layers)
    embedding = model(feats[None])[0].detach().double()
    assert (embedding - expected).abs().max() / expected.abs().max() < 1e-5


def test_full_size_network_equals_the_slow_reference():
    config = CAMPPlusConfig()
    model = build(config, feat_dim=80)
    feats = torch.randn(30, 80) * 2
    expected = reference(model.state_dict(), feats, config.num_layers)
    embedding = model(feats[None])[0].detach().double()
    assert (embedding - expected).abs().max() / expected.abs().max() < 1e-4


@pytest.mark.parametrize(
    "lengths", [(1, 40, 99), (100, 100, 100), (101, 100, 3), (199, 200, 201), (350, 1, 120)]
)
def test_context_of_each_utterance_in_a_batch(lengths):
    """The mask alone, made visible: identity-like weights leave sigmoid(context) of one channel."""
    longest = max(lengths)
    x = torch.rand(3, 4, longest, generator=torch.Generator().manual_seed(0))
    padding = None if min(lengths) == longest else layers.frames_beyond(torch.tensor(lengths), longest)
    x = layers.zero(x, padding)
    mask = campplus._ContextMask(4, 2, dilation=1)
    with torch.no_grad():
        mask.linear_local.weight.copy_(torch.ones(2, 4, 1) * torch.tensor([0.0, 1.0, 0.0]))
        mask.linear1.weight.copy_(torch.eye(4)[:2, :, None])
        mask.linear2.weight.copy_(torch.eye(2)[:, :, None])
        mask.linear1.bias.zero_()
        mask.linear2.bias.zero_()
        y = mask(x, campplus._count_windows(x, padding)).numpy()
    for row, length in enumerate(lengths):
        frames = x[row, :, :length].numpy().astype(np.float64)
        gate = 1 / (1 + np.exp(-context_by_hand(frames)[:2]))
        np.testing.assert_allclose(y[row, :, :length], frames.sum(axis=0) * gate, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_graph_recorded_at_one_length_is_right_at_others():
    """Frame counts must stay in the graph, and no average pooling, which runtimes differ in."""
    model = build()
    traced = torch.jit.trace(model, (torch.randn(1, 345, 40),), check_trace=False)
    for batch, num_frames in [(1, 3), (1, 99), (2, 199), (3, 200), (1, 201), (1, 298), (2, 500), (1, 1001)]:
        feats = torch.randn(batch, num_frames, 40)
        torch.testing.assert_close(traced(feats), model(feats), atol=1e-5, rtol=1e-5)
    assert "avg_pool" not in str(traced.inlined_graph)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": (4, 8)}, "num_layers: must be three"),
        ({"num_layers": (4, 0, 8)}, "num_layers: must be three positive"),
        ({"growth_rate": 0}, "growth_rate: must be at least 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        CAMPPlusConfig(**settings)
