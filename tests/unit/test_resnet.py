"""ResNet34: names and shapes of the published checkpoints, and thinner relatives."""

import pytest
import torch

from speakerlab.nn.layers import Shortcut2d
from speakerlab.nn.models.resnet import ResNet, ResNetConfig


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The strict-load table of ResNet34 with 32 channels, 80 features, 192 dimensions, two linear layers."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(prefix: str, channels: int, *, affine: bool = True) -> None:
        for name in ("weight", "bias") if affine else ():
            shapes[f"{prefix}.{name}"] = (channels,)
        shapes[f"{prefix}.running_mean"] = shapes[f"{prefix}.running_var"] = (channels,)
        shapes[f"{prefix}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (32, 1, 3, 3)
    norm("bn1", 32)
    channels = 32
    for stage, (num_blocks, width) in enumerate([(3, 32), (4, 64), (6, 128), (3, 256)], 1):
        for i in range(num_blocks):
            block = f"layer{stage}.{i}"
            shapes[f"{block}.conv1.weight"] = (width, channels, 3, 3)
            shapes[f"{block}.conv2.weight"] = (width, width, 3, 3)
            norm(f"{block}.bn1", width)
            norm(f"{block}.bn2", width)
            if stage > 1 and i == 0:
                shapes[f"{block}.shortcut.0.weight"] = (width, channels, 1, 1)
                norm(f"{block}.shortcut.1", width)
            channels = width
    shapes["seg_1.weight"], shapes["seg_1.bias"] = (192, 5120), (192,)
    norm("seg_bn_1", 192, affine=False)
    shapes["seg_2.weight"], shapes["seg_2.bias"] = (192, 192), (192,)
    return shapes


def test_names_and_shapes_are_the_published_ones():
    model = ResNet(ResNetConfig(two_emb_layer=True), feat_dim=80)
    state = model.state_dict()
    assert len(state) == 223
    assert {key: tuple(value.shape) for key, value in state.items()} == published_shapes()
    assert sum(p.numel() for p in model.parameters()) == 6_343_648


def test_second_linear_layer_follows_relu_and_normalisation():
    torch.manual_seed(0)
    config = ResNetConfig(embed_dim=8, num_blocks=(1, 1, 1, 1), m_channels=4, two_emb_layer=True)
    model = ResNet(config, feat_dim=16).eval()
    model.seg_bn_1.running_mean.normal_()
    model.seg_bn_1.running_var.uniform_(0.5, 2)
    feats = torch.randn(3, 40, 16)
    two = model(feats)
    model.two_emb_layer = False
    hidden = model(feats).clamp(min=0) - model.seg_bn_1.running_mean
    hidden = hidden / torch.sqrt(model.seg_bn_1.running_var + 1e-5)
    torch.testing.assert_close(two, hidden @ model.seg_2.weight.T + model.seg_2.bias)


@pytest.mark.parametrize("pooling", ["tap", "asp"])
def test_other_poolings(pooling):
    config = ResNetConfig(embed_dim=8, num_blocks=(2, 2, 2, 2), m_channels=4, pooling=pooling)
    assert ResNet(config, feat_dim=20)(torch.randn(2, 30, 20)).shape == (2, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_blocks": (2, 2, 2)}, "num_blocks: must be four"),
        ({"m_channels": 0}, "m_channels: must be at least 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        ResNetConfig(**settings)


def test_a_strided_stem_sees_every_second_frame_and_is_masked_alike():
    torch.manual_seed(0)
    config = ResNetConfig(embed_dim=8, num_blocks=(1, 1, 1, 1), m_channels=4, stem_time_stride=2)
    model = ResNet(config, feat_dim=16).eval()
    assert model.min_frames == 17
    feats = torch.randn(3, 60, 16)
    lengths = torch.tensor([60, 17, 44])
    together = model(feats, lengths)
    for row, length in enumerate(lengths):
        alone = model(feats[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="needs at least 17"):
        model(feats[:, :16])


def test_a_shortcut_in_training_keeps_the_layout_of_its_gradient():
    torch.manual_seed(0)
    shortcut = Shortcut2d(4, 8, (2, 3))
    x = torch.randn(2, 4, 6, 10).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []
    inner = x * 1  # a leaf's gradient is laid out as the leaf
    inner.register_hook(seen.append)
    y = shortcut(inner)
    convolution, norm = shortcut
    weight = convolution.weight.detach()[:, :, 0, 0]
    products = torch.einsum("oc,bcft->boft", weight, x.detach()[:, :, ::2, ::3])
    mean, variance = products.mean((0, 2, 3)), products.var((0, 2, 3), correction=0)
    expected = (products - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + norm.eps)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    y.square().sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[0][:, :, 1::2].abs().max() == 0
    shortcut.eval()
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    torch.testing.assert_close(shortcut(x), y, atol=1e-5, rtol=1e-5)
