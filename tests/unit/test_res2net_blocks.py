"""The Res2Net family: blocks by hand, published names and shapes, a slow reference, odd lengths."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from speakerlab.nn import layers
from speakerlab.nn.models.eres2net import ERes2Net, ERes2NetConfig
from speakerlab.nn.models.eres2netv2 import ERes2NetV2, ERes2NetV2Config
from speakerlab.nn.models.res2net import Res2Net, Res2NetConfig
from speakerlab.nn.res2net_blocks import AttentionalFusion, Res2NetBlock, Res2NetSizes, clipped_relu

SMALL = {"embed_dim": 8, "num_blocks": (1, 2, 1, 2), "m_channels": 8}
NETWORKS = {
    "res2net": (Res2Net, Res2NetConfig(**SMALL, scale=3)),
    "eres2net": (ERes2Net, ERes2NetConfig(**SMALL, scale=3, expansion=4, two_emb_layer=True)),
    "eres2netv2": (ERes2NetV2, ERes2NetV2Config(**SMALL)),
}


def build(name: str, feat_dim: int = 20) -> nn.Module:
    """A network with normalisations far from the identity, which drive some values above the clip."""
    cls, config = NETWORKS[name]
    torch.manual_seed(0)
    model = cls(config, feat_dim=feat_dim)
    for key, value in model.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.05, 1.5)
        elif key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
    return model.eval()


# By hand.


def test_relu_is_clipped_at_20():
    assert clipped_relu(torch.tensor([-3.0, 0.0, 0.5, 20.0, 20.5])).tolist() == [0, 0, 0.5, 20, 20]


def test_fusion_weighs_the_first_input_by_one_plus_tanh():
    fusion = AttentionalFusion(1).eval()
    first, _, _, last, _ = fusion.local_att
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
        first.bias.fill_(0.5)
        last.weight.fill_(0.5)
        last.bias.fill_(-0.6)
        fused = fusion(torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 0.25))
    hidden = 1.0 * 1 + 2.0 * 0.25 + 0.5
    weight = 1 + math.tanh(0.5 * hidden / (1 + math.exp(-hidden)) - 0.6)
    assert fused.item() == pytest.approx(weight * 1 + (2 - weight) * 0.25, rel=1e-4)


def test_fusion_without_a_preference_is_the_sum():
    fusion = AttentionalFusion(8).eval()
    nn.init.zeros_(fusion.local_att[3].weight)
    nn.init.zeros_(fusion.local_att[3].bias)
    x, y = torch.randn(2, 2, 8, 3, 5).unbind()
    torch.testing.assert_close(fusion(x, y), x + y)


def transparent_block(num_convs: int, *, fuse: bool) -> Res2NetBlock:
    """Three parts of one channel; the 3x3 convolutions only scale their part by 1, 2 and 0.5."""
    sizes = Res2NetSizes(m_channels=3, base_width=22, scale=3, expansion=1)
    block = Res2NetBlock(3, 3, 1, sizes, num_convs=num_convs, fuse=fuse).eval()
    for conv in (block.conv1, block.conv3):
        conv.weight.data = torch.eye(3)[:, :, None, None]
    for conv, gain in zip(block.convs, (1.0, 2.0, 0.5), strict=False):
        conv.weight.data = gain * functional.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1))
    for fusion in block.fuse_models:
        fusion.local_att[4].bias.data.fill_(50)  # the whole weight, 2, on the result before
    return block


@pytest.mark.parametrize(
    ("num_convs", "fuse", "parts"),
    [
        (3, False, (1, 2 * (1 + 2), 0.5 * (6 + 7))),  # every part convolved, with the result before
        (2, False, (1, 2 * (1 + 2), 7)),  # Res2Net: the last part passes
        (3, True, (1, 2 * (2 * 1), 0.5 * (2 * 4))),  # attention that ignores the part itself
    ],
)
def test_parts_of_a_split_are_chained(num_convs, fuse, parts):
    block = transparent_block(num_convs, fuse=fuse)
    inputs = (1.0, 2.0, 7.0)
    x = torch.tensor(inputs).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    y, padding = block(x, None)
    expected = torch.tensor([part + value for part, value in zip(parts, inputs, strict=True)])
    assert padding is None
    torch.testing.assert_close(y, expected.view(1, 3, 1, 1).expand_as(y), rtol=1e-4, atol=1e-4)


def test_inside_and_result_of_a_block_are_clipped():
    block = transparent_block(2, fuse=False)
    y, _ = block(torch.tensor([-1.0, 30.0, 9.0]).view(1, 3, 1, 1), None)
    # Split into 0, 20, 9; chained to 0, 20, 9; with the input added -1, 50, 18.
    torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 20.0, 18.0]), rtol=1e-4, atol=1e-4)


# Names and shapes: config, published class, keys and parameters at 80 features.

PUBLISHED = [
    (ERes2Net, ERes2NetConfig(), 587, 6_610_688),
    (ERes2Net, ERes2NetConfig(embed_dim=512), 587, 9_887_808),
    (ERes2Net, ERes2Net.VARIANTS["large"], 587, 22_462_784),
    (ERes2Net, ERes2NetConfig(embed_dim=512, m_channels=64), 587, 29_016_704),
    (ERes2Net, ERes2Net.VARIANTS["huge"], 809, 55_165_024),
    (ERes2NetV2, ERes2NetV2.VARIANTS["w26s2ep2"], 557, 17_859_632),
    (ERes2NetV2, ERes2NetV2.VARIANTS["w24s4ep4"], 1001, 53_513_632),
    (Res2Net, Res2NetConfig(), 320, 4_033_600),
]


class PublishedShapes(dict[str, tuple[int, ...]]):
    """The strict-load table at 80 features, written down from the description of the checkpoints."""

    def __init__(self, cls: type, config: Res2NetSizes) -> None:
        m, expansion = config.m_channels, config.expansion
        self.conv("conv1", m, 1, 3, 3)
        self.norm("bn1", m)
        channels = m
        for stage, num_blocks in enumerate(config.num_blocks, 1):
            planes = m * 2 ** (stage - 1)
            width = int(planes * (config.base_width / 64))
            num_convs = config.scale - 1 if cls is Res2Net else config.scale
            num_fusions = num_convs - 1 if cls is not Res2Net and stage > 2 else 0
            for i in range(num_blocks):
                self.block(f"layer{stage}.{i}", channels, width * config.scale, planes * expansion)
                self.parts(f"layer{stage}.{i}", width, num_convs, num_fusions)
                channels = planes * expansion
        if cls is ERes2Net:
            for i, name in enumerate(("fuse_mode12", "fuse_mode123", "fuse_mode1234"), 1):
                self.conv(f"layer{i}_downsample", m * expansion * 2**i, m * expansion * 2**i // 2, 3, 3)
                self.fusion(name, m * expansion * 2**i)
        if cls is ERes2NetV2:
            self.conv("layer3_ds", 8 * m * expansion, 4 * m * expansion, 3, 3)
            self.fusion("fuse34", 8 * m * expansion)
        self["seg_1.weight"] = (config.embed_dim, 2 * 8 * m * expansion * 10)
        self["seg_1.bias"] = (config.embed_dim,)

    def norm(self, prefix: str, channels: int) -> None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            self[f"{prefix}.{name}"] = (channels,)
        self[f"{prefix}.num_batches_tracked"] = ()

    def conv(self, prefix: str, *shape: int) -> None:
        self[f"{prefix}.weight"] = shape

    def fusion(self, prefix: str, channels: int) -> None:
        for i, (out, into) in ((0, (channels // 4, 2 * channels)), (3, (channels, channels // 4))):
            self.conv(f"{prefix}.local_att.{i}", out, into, 1, 1)
            self[f"{prefix}.local_att.{i}.bias"] = (out,)
            self.norm(f"{prefix}.local_att.{i + 1}", out)

    def block(self, prefix: str, channels: int, inside: int, out: int) -> None:
        self.conv(f"{prefix}.conv1", inside, channels, 1, 1)
        self.norm(f"{prefix}.bn1", inside)
        self.conv(f"{prefix}.conv3", out, inside, 1, 1)
        self.norm(f"{prefix}.bn3", out)
        if prefix.endswith(".0"):  # the first block of every stage
            self.conv(f"{prefix}.shortcut.0", out, channels, 1, 1)
            self.norm(f"{prefix}.shortcut.1", out)

    def parts(self, prefix: str, width: int, num_convs: int, num_fusions: int) -> None:
        for k in range(num_convs):
            self.conv(f"{prefix}.convs.{k}", width, width, 3, 3)
            self.norm(f"{prefix}.bns.{k}", width)
        for k in range(num_fusions):
            self.fusion(f"{prefix}.fuse_models.{k}", width)


@pytest.mark.parametrize(("cls", "config", "num_keys", "num_parameters"), PUBLISHED)
def test_names_and_shapes_are_the_published_ones(cls, config, num_keys, num_parameters):
    with torch.device("meta"):
        model = cls(config, feat_dim=80)
    state = model.state_dict()
    assert len(state) == num_keys
    assert {key: tuple(value.shape) for key, value in state.items()} == PublishedShapes(cls, config)
    assert sum(p.numel() for p in model.parameters()) == num_parameters


# The whole networks.


class Reference:
    """The networks over one utterance [T, F], operation by operation from their description, in float64."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = {key: value.double() for key, value in state.items()}

    def conv(self, x, prefix, stride=1):
        weight, bias = self.state[f"{prefix}.weight"], self.state.get(f"{prefix}.bias")
        return functional.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, x, prefix):
        mean, var = self.state[f"{prefix}.running_mean"], self.state[f"{prefix}.running_var"]
        weight, bias = self.state.get(f"{prefix}.weight", 1.0), self.state.get(f"{prefix}.bias", 0.0)
        scale = weight / torch.sqrt(var + 1e-5)
        return ((x.movedim(1, -1) - mean) * scale + bias).movedim(-1, 1)

    def fuse(self, x, y, prefix):
        a = self.norm(self.conv(torch.cat([x, y], 1), f"{prefix}.local_att.0"), f"{prefix}.local_att.1")
        a = self.norm(self.conv(a * a.sigmoid(), f"{prefix}.local_att.3"), f"{prefix}.local_att.4")
        return x * (1 + a.tanh()) + y * (1 - a.tanh())

    def block(self, x, prefix, stride):
        y = self.norm(self.conv(x, f"{prefix}.conv1", stride), f"{prefix}.bn1").clamp(0, 20)
        width = self.state[f"{prefix}.convs.0.weight"].shape[0]
        done = []
        for k, part in enumerate(y.split(width, 1)):
            if f"{prefix}.convs.{k}.weight" not in self.state:
                done.append(part)
                continue
            if k > 0 and f"{prefix}.fuse_models.0.local_att.0.weight" in self.state:
                part = self.fuse(done[-1], part, f"{prefix}.fuse_models.{k - 1}")  # noqa: PLW2901
            elif k > 0:
                part = done[-1] + part  # noqa: PLW2901
            part = self.norm(self.conv(part, f"{prefix}.convs.{k}"), f"{prefix}.bns.{k}")  # noqa: PLW2901
            done.append(part.clamp(0, 20))
        y = self.norm(self.conv(torch.cat(done, 1), f"{prefix}.conv3"), f"{prefix}.bn3")
        if f"{prefix}.shortcut.0.weight" in self.state:
            x = self.norm(self.conv(x, f"{prefix}.shortcut.0", stride), f"{prefix}.shortcut.1")
        return (y + x).clamp(0, 20)

    def __call__(self, feats, num_blocks):
        x = self.norm(self.conv(feats.double().T[None, None], "conv1"), "bn1").relu()
        maps = []
        for stage in range(1, 5):
            for i in range(num_blocks[stage - 1]):
                x = self.block(x, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
            maps.append(x)
        if "fuse34.local_att.0.weight" in self.state:
            x = self.fuse(x, self.conv(maps[2], "layer3_ds", 2), "fuse34")
        if "layer1_downsample.weight" in self.state:
            x = self.fuse(maps[1], self.conv(maps[0], "layer1_downsample", 2), "fuse_mode12")
            x = self.fuse(maps[2], self.conv(x, "layer2_downsample", 2), "fuse_mode123")
            x = self.fuse(maps[3], self.conv(x, "layer3_downsample", 2), "fuse_mode1234")
        x = x.reshape(-1, x.shape[-1])
        pooled = torch.cat([x.mean(1), (x.var(1, unbiased=True) + 1e-8).sqrt()])
        embedding = self.state["seg_1.weight"] @ pooled + self.state["seg_1.bias"]
        if "seg_2.weight" in self.state:
            embedding = self.norm(embedding.relu()[None], "seg_bn_1")[0]
            embedding = self.state["seg_2.weight"] @ embedding + self.state["seg_2.bias"]
        return embedding


@pytest.mark.parametrize("name", NETWORKS)
def test_embedding_equals_the_slow_reference(name):
    model = build(name)
    reference = Reference(model.state_dict())
    for num_frames in (9, 16, 30, 101):
        feats = torch.randn(num_frames, 20, generator=torch.Generator().manual_seed(num_frames)) * 2
        expected = reference(feats, SMALL["num_blocks"])
        embedding = model(feats[None])[0].detach().double()
        assert (embedding - expected).abs().max() / expected.abs().max() < 1e-5, num_frames


@pytest.mark.parametrize("name", NETWORKS)
def test_every_length_modulo_8_is_masked_alike(name):
    model = build(name)
    lengths = range(9, 26)
    feats = torch.randn(len(lengths), 27, 20) * 2
    for row, length in enumerate(lengths):
        feats[row, length:] = math.nan
    together = model(feats, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = model(feats[row, None, :length])[0]
        assert (together[row] - alone).abs().max() / alone.abs().max() < 1e-5, length


def test_a_fused_lower_map_has_the_valid_frames_of_the_upper_one():
    model = build("eres2net")
    lengths = torch.arange(9, 26)
    padding = layers.frames_beyond(lengths, 25)
    x, frames = torch.zeros(17, 32, 4, 25), lengths
    for stage, downsample in (
        (model.layer2, model.layer1_downsample),
        (model.layer3, model.layer2_downsample),
    ):
        alone = [downsample(row[None, ..., :length]).shape[-1] for row, length in zip(x, frames, strict=True)]
        below = downsample(x)
        x, padding = stage(x, padding)
        assert x.shape == below.shape
        frames = (~padding).sum((1, 2))
        assert frames.tolist() == alone
    assert frames.tolist() == [math.ceil(length / 4) for length in lengths.tolist()]


@pytest.mark.parametrize("name", NETWORKS)
def test_other_pooling_and_a_feature_dimension_that_strides_round_up(name):
    cls, config = NETWORKS[name]
    model = cls(type(config)(**SMALL, pooling="tap"), feat_dim=13)
    assert model.seg_1.in_features == 8 * 8 * 2 * 2  # 13 rows become 7, 4, 2
    assert model(torch.randn(2, 12, 13)).shape == (2, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_blocks": (3, 4, 6)}, "num_blocks: must be four"),
        ({"num_blocks": (3, 4, 0, 3)}, "num_blocks: must be four positive"),
        ({"expansion": 0}, "expansion: must be at least 1"),
        ({"scale": 1}, "scale: must be at least 2"),
        ({"m_channels": 2, "base_width": 31}, "base_width: must be at least 64 / m_channels"),
    ],
)
@pytest.mark.parametrize("config", [Res2NetConfig, ERes2NetConfig, ERes2NetV2Config])
def test_settings_are_checked(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)
