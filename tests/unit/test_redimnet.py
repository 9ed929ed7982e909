"""ReDimNet and ReDimNet2: reshaping, fusion, norms, strides, and the layout of the published checkpoints."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from speakerlab.nn import redimnet_blocks as blocks
from speakerlab.nn.models.redimnet import ReDimNet, ReDimNetConfig
from speakerlab.nn.models.redimnet2 import MapNorm, ReDimNet2, ReDimNet2Config

# The front end in the published ReDimNet files: pre-emphasis, window and mel filters, not part of the model.
FRONT_END_TENSORS, FRONT_END_VALUES = 3, 2 + 400 + 257 * 72


def published(cls, variant: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return cls(cls.VARIANTS[variant], feat_dim=72).state_dict()


def test_a_map_has_the_channels_of_the_first_row_first():
    image = torch.tensor([[[[1.0], [2.0], [3.0]], [[10.0], [20.0], [30.0]]]])  # 2 channels, 3 rows, 1 frame
    sequence = blocks.to_map(image)
    assert sequence.flatten().tolist() == [1, 10, 2, 20, 3, 30]
    assert torch.equal(blocks.to_image(sequence, rows=3), image)


def test_fusion_is_a_softmax_over_the_maps_for_each_channel():
    fusion = blocks.Fusion(2, dim=2)
    fusion.w.data[0, :, :, 0] = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    first, second = torch.full((1, 2, 5), 4.0), torch.full((1, 2, 5), 8.0)
    assert torch.allclose(fusion([first, second])[0, :, 0], torch.tensor([6.0, 5.0]))


def test_fusion_of_one_map_has_its_place_in_the_file_but_no_parameter():
    fusion = blocks.Fusion(1, dim=6)
    x = torch.randn(2, 6, 3)
    assert fusion([x]) is x
    assert list(fusion.parameters()) == []
    assert fusion.state_dict()["w"].shape == (1, 1, 6, 1)


def test_a_map_is_normalised_as_by_group_norm_for_each_utterance_alone():
    torch.manual_seed(0)
    ours, peer = MapNorm(channels=3, rows=4), nn.GroupNorm(3, 12)
    peer.weight.data.uniform_(0.5, 1.5)
    peer.bias.data.normal_()
    ours.load_state_dict(peer.state_dict())
    x = torch.randn(2, 12, 9) * 3 + 1
    padding = torch.arange(9) >= torch.tensor([9, 5])[:, None, None]
    expected = peer(x[1:, :, :5])
    assert torch.allclose(ours(x, padding)[1:, :, :5], expected, atol=1e-5)
    assert torch.allclose(ours(x[1:, :, :5], None), expected, atol=1e-5)


def test_a_stage_repeats_the_frames_of_a_stride_over_time():
    conv = nn.Conv2d(1, 2, (2, 2), (2, 2), bias=False)
    nn.init.constant_(conv.weight, 0.25)
    stage = blocks.Stage(2, blocks.Fusion(1, 1), conv, [blocks.Flatten()])
    x = torch.tensor([[[1.0, 3.0, 10.0, 30.0], [5.0, 7.0, 50.0, 70.0]]])  # 2 rows of 1 channel, 4 frames
    assert torch.allclose(stage([x], None), torch.tensor([4.0, 4.0, 40.0, 40.0]).expand(1, 2, 4))


def test_the_width_of_a_time_context_is_rounded_down_to_whole_heads():
    assert blocks.TimeContext(600, 30).exp_dim_conv.in_channels == 20
    assert blocks.TimeContext(800, 30).exp_dim_conv.in_channels == 24
    assert blocks.TimeContext(40, 30).exp_dim_conv.in_channels == blocks.NUM_HEADS


def test_redimnet2_leaves_out_frames_beyond_a_multiple_of_its_strides():
    config = ReDimNet2Config(8, 4, (1, 2), (2, 2), (1, 1), (2, 1), (8, 8), head_channels=0)
    model = ReDimNet2(config, feat_dim=8).eval()
    feats = torch.randn(2, 43, 8)
    assert torch.equal(model(feats), model(feats[:, :40]))
    alone = model(feats[1:, :24])
    assert torch.allclose(model(feats, torch.tensor([43, 27]))[1:], alone, atol=1e-6)


def test_redimnet2_pools_an_image_channels_first_and_a_sequence_as_it_is():
    config = ReDimNet2Config(8, 2, (1, 2), (1, 2), (1, 1), (1, 1), (2, 2), head_channels=0)
    image = ReDimNet2(config, feat_dim=4).eval().backbone
    sequence = ReDimNet2(replace(config, image_head=False), feat_dim=4).eval().backbone
    sequence.load_state_dict(image.state_dict())
    x = torch.randn(1, 1, 4, 6)
    expected = sequence(x, None).reshape(1, 2, 4, 6).transpose(1, 2)  # 2 rows of 4 channels each
    assert torch.equal(image(x, None), expected.reshape(1, 8, 6))


def test_redimnet2_has_one_head_of_each_dimension():
    config = ReDimNet2Config(8, 2, (1, 2), (1, 2), (1, 1), (1, 1), (2, 2), head_channels=3)
    for image_head, shape, out_dim in ((True, (3, 4, 1, 1), 6), (False, (3, 8, 1), 3)):
        backbone = ReDimNet2(replace(config, image_head=image_head), feat_dim=4).eval().backbone
        assert backbone.head.weight.shape == shape
        assert backbone(torch.randn(2, 1, 4, 6), None).shape == (2, out_dim, 6)


@pytest.mark.parametrize(
    ("variant", "num_tensors", "num_values"), [("b2", 556, 5_100_983), ("b5", 1052, 7_709_351)]
)
def test_redimnet_has_the_tensors_of_the_published_file(variant, num_tensors, num_values):
    state = published(ReDimNet, variant)
    assert len(state) + FRONT_END_TENSORS == num_tensors
    assert sum(v.numel() for v in state.values()) + FRONT_END_VALUES == num_values


def test_redimnet2_has_names_and_shapes_of_the_published_file():
    shapes = {key: tuple(value.shape) for key, value in published(ReDimNet2, "b6_norm").items()}
    assert shapes["backbone.stage0.0.w"] == (1, 1, 4608, 1)
    assert shapes["backbone.stage0.8.tcm.4.attention.q_proj.weight"] == (72, 72)
    assert shapes["backbone.stage0.3.conv_block.bn1.running_var"] == (192,)
    assert shapes["backbone.stage0.10.weight"] == shapes["backbone.stem_gnorm.weight"] == (4608,)
    assert shapes["backbone.fin_wght1d.w"] == (1, 7, 4608, 1)
    assert shapes["pool.linear1.weight"] == (128, 6048, 1)
    assert shapes["linear.weight"] == (192, 4032)


@pytest.mark.parametrize(
    ("cls", "variant", "millions"),
    [
        (ReDimNet, "b1", 2.2),
        (ReDimNet, "b4", 6.3),
        (ReDimNet, "b6", 15.0),
        (ReDimNet2, "b0", 1.1),
        (ReDimNet2, "b1", 2.1),
        (ReDimNet2, "b2", 3.6),
        (ReDimNet2, "b3", 4.1),
        (ReDimNet2, "b4", 6.6),
        (ReDimNet2, "b5", 8.9),
        (ReDimNet2, "b6", 12.3),
    ],
)
def test_sizes_are_near_those_of_the_papers(cls, variant, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in cls(cls.VARIANTS[variant], feat_dim=72).parameters())
    assert count == pytest.approx(millions * 1e6, rel=0.04)


@pytest.mark.parametrize(
    ("cls", "variant", "stride"), [(ReDimNet, "b0", 4), (ReDimNet, "b1", 24), (ReDimNet2, "b0", 8)]
)
def test_rows_that_the_strides_do_not_divide_are_refused(cls, variant, stride):
    with pytest.raises(ValueError, match=f"feat_dim: must be a multiple of {stride}, not 82"):
        cls(cls.VARIANTS[variant], feat_dim=82)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ReDimNetConfig, {"strides": (1, 2)}, "strides: must have as many"),
        (ReDimNetConfig, {"num_blocks": ()}, "num_blocks: must have"),
        (ReDimNetConfig, {"expansions": (1, 1, 0, 1, 1)}, "expansions: must be positive"),
        (ReDimNetConfig, {"reductions": (1, 1, -1, 1, 1)}, "reductions: must be positive"),
        (ReDimNetConfig, {"block": "bottleneck"}, "block: must be"),
        (ReDimNetConfig, {"group_width": 0}, "group_width: must be at least 1"),
        (ReDimNet2Config, {"time_strides": (1, 1, 0, 1, 1, 1)}, "time_strides: must be positive"),
        (ReDimNet2Config, {"reductions": (1, 1, 0, 1, 1, 1)}, "reductions: must be positive"),
        (ReDimNet2Config, {"head_channels": -1}, "head_channels: must be 0 or more"),
    ],
)
def test_impossible_settings_are_refused(config, settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)
