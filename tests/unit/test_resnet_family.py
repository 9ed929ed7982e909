"""Bottleneck ResNets, SimAM-ResNet and ResNetSE: published sizes and names, blocks by hand, masks."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from speakerlab.nn import layers, resnet_blocks
from speakerlab.nn.models import resnet, resnet_se, simam_resnet
from speakerlab.nn.models.resnet import ResNet, ResNetConfig
from speakerlab.nn.models.resnet_se import ResNetSE, ResNetSEConfig
from speakerlab.nn.models.simam_resnet import SimAMResNet, SimAMResNetConfig

SMALL = [
    (ResNet, ResNetConfig(8, (1, 2, 1, 1), "bottleneck", m_channels=4)),
    (SimAMResNet, SimAMResNetConfig(8, (1, 2, 1, 1), m_channels=4, bottleneck=4)),
    (ResNetSE, ResNetSEConfig(8, (1, 2, 1, 1), m_channels=4)),
]


def shapes(cls, config):
    with torch.device("meta"):
        return {k: tuple(v.shape) for k, v in cls(config, feat_dim=80).state_dict().items()}


def unsettle(module):
    """Normalisations far from the identity."""
    for inner in module.modules():
        if isinstance(inner, torch.nn.modules.batchnorm._BatchNorm):
            inner.running_mean.normal_(0, 0.5)
            inner.running_var.uniform_(0.5, 1.5)
            inner.weight.data.uniform_(0.5, 1.5)
            inner.bias.data.normal_(0, 0.5)
    return module.eval()


@pytest.mark.parametrize(
    ("cls", "config", "millions"),
    [
        (ResNet, replace(ResNet.VARIANTS["resnet34"], embed_dim=256), 6.63),
        (ResNet, ResNet.VARIANTS["resnet221"], 23.79),
        (ResNet, ResNet.VARIANTS["resnet293"], 28.63),  # 28.626; the published table cuts it to 28.62
        (SimAMResNet, SimAMResNet.VARIANTS["simam34"], 25.21),
        (SimAMResNet, SimAMResNet.VARIANTS["simam100"], 50.23),
        (ResNetSE, ResNetSEConfig(pooling="asp"), 9.123896),
        (ResNetSE, ResNetSEConfig(pooling="sap"), 6.819640),
        (ResNetSE, ResNetSEConfig(pooling="tsp"), 6.496952),
        (ResNetSE, ResNetSEConfig(pooling="tap"), 5.503672),
    ],
)
def test_sizes_are_the_published_ones(cls, config, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in cls(config, feat_dim=80).parameters())
    digits = len(str(millions).split(".")[1])
    assert round(count / 1e6, digits) == millions


def test_depth_in_the_name_counts_the_layers():
    """ResNet-N: N weighted layers, the stem and the linear layer included, shortcuts not."""
    for name, config in ResNet.VARIANTS.items():
        per_block = 3 if config.block == "bottleneck" else 2
        depth = per_block * sum(config.num_blocks) + 2
        assert name == f"resnet{depth}"


def test_names_and_shapes_of_resnet50():
    state = shapes(ResNet, ResNet.VARIANTS["resnet50"])
    block = {
        "conv1.weight": (64, 128, 1, 1), "conv2.weight": (64, 64, 3, 3), "conv3.weight": (256, 64, 1, 1),
        "shortcut.0.weight": (256, 128, 1, 1), "bn2.weight": (64,), "bn3.running_var": (256,),
        "shortcut.1.bias": (256,),
    }  # fmt: skip
    for key, shape in block.items():
        assert state[f"layer2.0.{key}"] == shape
    assert state["layer1.0.shortcut.0.weight"] == (128, 32, 1, 1)  # wider, not shorter
    assert not any(key.startswith("layer2.1.shortcut") for key in state)
    assert state["layer4.2.conv3.weight"] == (1024, 256, 1, 1)
    assert state["seg_1.weight"] == (256, 2 * 1024 * 10)
    assert len(state) == 6 + 16 * 18 + 4 * 6 + 2


def test_names_and_shapes_of_simam_resnet34():
    state = shapes(SimAMResNet, SimAMResNetConfig())
    expected = {
        "front.conv1.weight": (64, 1, 3, 3), "front.bn1.weight": (64,),
        "front.layer1.2.conv2.weight": (64, 64, 3, 3), "front.layer4.0.conv1.weight": (512, 256, 3, 3),
        "front.layer4.0.downsample.0.weight": (512, 256, 1, 1), "front.layer4.0.downsample.1.weight": (512,),
        "pooling.attention.0.weight": (128, 5120, 1), "pooling.attention.2.running_mean": (128,),
        "pooling.attention.3.weight": (5120, 128, 1), "pooling.attention.3.bias": (5120,),
        "bottleneck.weight": (256, 10240), "bottleneck.bias": (256,),
    }  # fmt: skip
    assert {key: state.get(key) for key in expected} == expected
    assert len(state) == 6 + 16 * 12 + 3 * 6 + 9 + 2
    assert "front.layer1.0.downsample.0.weight" not in state


def test_names_and_shapes_of_resnet_se():
    state = shapes(ResNetSE, ResNetSEConfig(pooling="tap"))
    expected = {
        "layer1.0.conv1.weight": (32, 32, 1, 1), "layer1.0.conv3.weight": (64, 32, 1, 1),
        "layer1.0.downsample.0.weight": (64, 32, 1, 1), "layer3.5.se.fc.0.weight": (32, 256),
        "layer3.5.se.fc.0.bias": (32,), "layer3.5.se.fc.2.weight": (256, 32), "bn2.weight": (5120,),
        "linear.weight": (192, 5120), "bn3.running_mean": (192,),
    }  # fmt: skip
    assert {key: state.get(key) for key in expected} == expected
    assert len(state) == 6 + 16 * 22 + 4 * 6 + 5 + 2 + 5


def normalise(x, norm):
    return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def test_bottleneck_is_the_textbook_one():
    torch.manual_seed(0)
    block = unsettle(resnet._Bottleneck(6, 8, (2, 2)))
    x = torch.randn(2, 6, 7, 9)
    y = torch.relu(normalise(functional.conv2d(x, block.conv1.weight), block.bn1))
    y = torch.relu(normalise(functional.conv2d(y, block.conv2.weight, stride=2, padding=1), block.bn2))
    y = normalise(functional.conv2d(y, block.conv3.weight), block.bn3)
    shortcut = normalise(functional.conv2d(x, block.shortcut[0].weight, stride=2), block.shortcut[1])
    torch.testing.assert_close(block(x, None)[0], torch.relu(y + shortcut))


def test_simam_by_hand():
    """Values 0 and 2: mean 1, variance 2, so 1 / e* = 1 / (4 * 2.0001) + 1/2 for both."""
    x = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    weight = 1 / (1 + math.exp(-(1 / (4 * 2.0001) + 0.5)))
    torch.testing.assert_close(simam_resnet._attend(x, None).flatten(), torch.tensor([0.0, 2 * weight]))
    padded = torch.cat([x, torch.full((1, 1, 1, 2), torch.nan)], dim=-1)
    padding = torch.tensor([[[False, False, True, True]]])
    torch.testing.assert_close(
        simam_resnet._attend(padded, padding)[..., :2].flatten(), torch.tensor([0.0, 2 * weight])
    )
    single = torch.full((1, 3, 1, 1), 5.0)  # one value has no variance
    torch.testing.assert_close(simam_resnet._attend(single, None), single / (1 + math.exp(-0.5)))


def test_excitation_by_hand():
    """Means 1, ..., 8 through hidden = 2 * mean of channel 0 and outputs hidden - 1 give sigmoid(1)."""
    excitation = resnet_se._Excitation(8)
    weights = {"0.weight": torch.zeros(1, 8), "0.bias": torch.zeros(1)}
    weights |= {"2.weight": torch.ones(8, 1), "2.bias": -torch.ones(8)}
    weights["0.weight"][0, 0] = 2
    excitation.fc.load_state_dict(weights)
    x = torch.arange(1.0, 9).view(1, 8, 1, 1) + torch.tensor([[-3.0, 3.0, 99.0], [-1.0, 1.0, torch.nan]])
    factor = excitation(x, torch.tensor([[[False, False, True]]]))
    assert factor.shape == (1, 8, 1, 1)
    torch.testing.assert_close(factor, torch.full_like(factor, 1 / (1 + math.exp(-1))))


def test_attention_of_simam_pools_the_mean_and_deviation_under_its_weights():
    pooling = simam_resnet._Pooling(2, 3).eval()
    for parameter in pooling.attention[3].parameters():
        parameter.data.zero_()  # equal weights
    x = torch.tensor([[[1.0, 3.0, 50.0], [4.0, 4.0, torch.nan]]])
    pooled = pooling(x, torch.tensor([[[False, False, True]]]))
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 4.0, 1.0, 1e-5**0.5]]))


def test_the_mean_over_rows_and_frames_counts_valid_values():
    x = torch.tensor([[[[1.0, 3.0, 9.0], [5.0, 7.0, 9.0]]]]).repeat(2, 1, 1, 1)
    mean, count = layers.spatial_mean(x, torch.tensor([[[False, False, True]], [[False, False, False]]]))
    assert mean.flatten().tolist() == [4.0, pytest.approx(34 / 6)]
    assert count.flatten().tolist() == [4, 6]


@pytest.mark.parametrize(("cls", "config"), SMALL, ids=lambda value: getattr(value, "__name__", ""))
def test_every_residue_of_the_strides_is_masked(cls, config):
    torch.manual_seed(0)
    model = unsettle(cls(config, feat_dim=17))
    lengths = range(33, 41)
    batch = torch.full((8, 43, 17), torch.nan)
    singles = []
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.randn(length, 17)
        singles.append(model(batch[row : row + 1, :length])[0])
    together = model(batch, torch.tensor(lengths))
    torch.testing.assert_close(together, torch.stack(singles), rtol=1e-5, atol=1e-5)


def test_stages_end_with_the_rows_that_rounding_up_leaves():
    stages = resnet_blocks.ResidualStages(layers.ResidualBlock2d, 4, 1, (1, 1, 1, 1))
    for feat_dim in (8, 13, 17, 80):
        x, _ = stages.encode(torch.randn(2, 20, feat_dim), None)
        assert x.shape == (2, stages.top_dim(feat_dim), 3)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ResNetConfig, {"block": "wide"}, "block: must be basic or bottleneck"),
        (SimAMResNetConfig, {"num_blocks": (1, 1)}, "num_blocks: must be four"),
        (SimAMResNetConfig, {"bottleneck": 0}, "bottleneck: must be at least 1"),
        (ResNetSEConfig, {"m_channels": 3}, "m_channels: must be at least 4"),
        (ResNetSEConfig, {"embed_dim": 0}, "embed_dim: must be at least 1"),
    ],
)
def test_settings_are_checked(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)
