"""FunASR's x-vector: names and shapes of the published file, the network against its description."""

import pytest
import torch
from torch.nn import functional

from speakerlab.nn.models.funasr_xvector import FunasrXvector, FunasrXvectorConfig

SMALL = FunasrXvectorConfig(embed_dim=5, num_blocks=(1, 2, 1, 1), channels=(4, 4, 5, 6), pooled_dim=6)
SMALL_SECOND = FunasrXvectorConfig(5, (1, 2, 1, 1), (4, 4, 5, 6), 6, "resnet2_dense")


def build(config: FunasrXvectorConfig) -> FunasrXvector:
    torch.manual_seed(0)
    model = FunasrXvector(config, feat_dim=12)  # 12, 6, 3, 2: even and odd
    for key, value in model.state_dict().items():
        if key.endswith("running_var") or ("bn" in key and key.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
    return model.eval()


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The file's entries up to the default embedding, written down from its description."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(prefix: str, channels: int) -> None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{prefix}.{name}"] = (channels,)
        shapes[f"{prefix}.num_batches_tracked"] = ()

    shapes["encoder.pre_conv.weight"] = (32, 1, 3, 3)
    norm("encoder.pre_conv_bn", 32)
    width = 32
    for block, (count, channels) in enumerate([(3, 32), (4, 64), (6, 128), (3, 256)]):
        for i in range(count):
            layer = f"encoder.block_{block}.layer_{i}"
            norm(f"{layer}.bn1", width)
            shapes[f"{layer}.conv1.weight"] = (channels, width, 3, 3)
            norm(f"{layer}.bn2", channels)
            shapes[f"{layer}.conv2.weight"] = (channels, channels, 3, 3)
            if block > 0 and i == 0:
                shapes[f"{layer}.conv_sc.weight"] = (channels, width, 1, 1)
                norm(f"{layer}.bn_sc", channels)
            width = channels
    shapes["encoder.resnet0_dense.weight"], shapes["encoder.resnet0_dense.bias"] = (256, 256, 1, 1), (256,)
    norm("encoder.resnet0_bn", 256)
    shapes["decoder.resnet1_dense.weight"], shapes["decoder.resnet1_dense.bias"] = (256, 512), (256,)
    return shapes


def test_names_and_shapes_are_the_published_ones():
    state = FunasrXvector(FunasrXvectorConfig(), feat_dim=80).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == published_shapes()


def test_the_second_node_adds_what_lies_between():
    first = FunasrXvector(FunasrXvectorConfig(), feat_dim=80)
    second = FunasrXvector(FunasrXvectorConfig(embedding_node="resnet2_dense"), feat_dim=80)
    added = {key.split(".")[1] for key in set(second.state_dict()) - set(first.state_dict())}
    assert added == {"resnet1_bn", "resnet2_dense"}
    # 5,587,360 without the classifier, less the 512 of resnet2_bn behind the embedding
    assert sum(p.numel() for p in second.parameters()) == 5_587_360 - 512


def same(size: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind for a kernel of 3, by TensorFlow's definition of "same"."""
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    return total // 2, total - total // 2


def reference(model: FunasrXvector, config: FunasrXvectorConfig, feats: torch.Tensor) -> torch.Tensor:
    """The network over one utterance [T, F], layer by layer from its description, in float64."""
    state = {key: value.double() for key, value in model.state_dict().items()}

    def norm(x, prefix):
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{prefix}.{n}"].view(1, -1, *[1] * (x.dim() - 2)) for n in names)
        return (x - mean) / torch.sqrt(var + 1e-3) * weight + bias

    def conv(x, name, stride=1):
        top, bottom = same(x.shape[2], stride)
        left, right = same(x.shape[3], stride)
        padded = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(padded, state[f"encoder.{name}.weight"], stride=stride)

    x = norm(conv(feats.double()[None, None], "pre_conv"), "encoder.pre_conv_bn").relu()
    for block, count in enumerate(config.num_blocks):
        for i in range(count):
            layer = f"block_{block}.layer_{i}"
            stride = 2 if block > 0 and i == 0 else 1
            y = conv(norm(x, f"encoder.{layer}.bn1").relu(), f"{layer}.conv1", stride)
            y = conv(norm(y, f"encoder.{layer}.bn2").relu(), f"{layer}.conv2")
            if f"encoder.{layer}.conv_sc.weight" in state:
                x = functional.conv2d(x, state[f"encoder.{layer}.conv_sc.weight"], stride=stride)
                x = norm(x, f"encoder.{layer}.bn_sc")
            x = x + y
    x = functional.conv2d(x, state["encoder.resnet0_dense.weight"], state["encoder.resnet0_dense.bias"])
    cells = norm(x.relu(), "encoder.resnet0_bn")[0].flatten(1)
    std = cells.var(dim=1, unbiased=False).clamp(min=1e-12).sqrt()
    x = torch.cat([cells.mean(dim=1), std])[None]
    x = functional.linear(x, state["decoder.resnet1_dense.weight"], state["decoder.resnet1_dense.bias"])
    if config.embedding_node == "resnet2_dense":
        x = norm(x.relu(), "decoder.resnet1_bn")
        x = functional.linear(x, state["decoder.resnet2_dense.weight"], state["decoder.resnet2_dense.bias"])
    return x[0]


@pytest.mark.parametrize("longest", [24, 25])
@pytest.mark.parametrize("config", [SMALL, SMALL_SECOND], ids=["resnet1_dense", "resnet2_dense"])
def test_embeddings_of_a_batch_equal_the_slow_reference(config, longest):
    """Every remainder of the three halvings, each utterance padded by its own length."""
    model = build(config)
    lengths = [*range(1, 18), longest]
    feats = torch.randn(len(lengths), longest, 12, generator=torch.Generator().manual_seed(1)) * 2
    embeddings = model(feats, torch.tensor(lengths)).detach()
    for row, length in enumerate(lengths):
        expected = reference(model, config, feats[row, :length])
        assert (embeddings[row] - expected).abs().max() < 1e-5 * expected.abs().max(), length
        alone = model(feats[row : row + 1, :length])[0].detach()
        assert (alone - expected).abs().max() < 1e-5 * expected.abs().max(), length


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_blocks": (3, 4, 6)}, "num_blocks: must be four positive"),
        ({"channels": (3, 4, 6, 0)}, "channels: must be four positive"),
        ({"pooled_dim": 0}, "pooled_dim: must be at least 1"),
        ({"embed_dim": 0}, "embed_dim: must be at least 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        FunasrXvectorConfig(**settings)
