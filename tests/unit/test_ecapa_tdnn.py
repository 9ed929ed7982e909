"""ECAPA-TDNN: published names and shapes, the network against numpy, mirrored ends, log-instance norm."""

import numpy as np
import pytest
import torch

from speakerlab.nn.models import ecapa_tdnn
from speakerlab.nn.models.ecapa_tdnn import EcapaTdnn, EcapaTdnnConfig

SMALL = {"embed_dim": 4, "channels": (6, 6, 6, 8), "kernel_sizes": (5, 3, 3, 3), "dilations": (1, 2, 3, 1)}
SMALL |= {"res2net_scale": 3, "se_channels": 2}


def build(**settings) -> EcapaTdnn:
    torch.manual_seed(0)
    model = EcapaTdnn(EcapaTdnnConfig(**{**SMALL, **settings}), feat_dim=5).eval()
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return model


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The strict-load table of the models with 1024 channels, 80 features and 192 dimensions."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(prefix: str, channels: int) -> None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{prefix}.norm.{name}"] = (channels,)
        shapes[f"{prefix}.norm.num_batches_tracked"] = ()

    def conv(prefix: str, *shape: int) -> None:
        shapes[f"{prefix}.conv.weight"], shapes[f"{prefix}.conv.bias"] = shape, shape[:1]

    def tdnn(prefix: str, *shape: int) -> None:
        conv(f"{prefix}.conv", *shape)
        norm(f"{prefix}.norm", shape[0])

    tdnn("blocks.0", 1024, 80, 5)
    for i in (1, 2, 3):
        tdnn(f"blocks.{i}.tdnn1", 1024, 1024, 1)
        for j in range(7):
            tdnn(f"blocks.{i}.res2net_block.blocks.{j}", 128, 128, 3)
        tdnn(f"blocks.{i}.tdnn2", 1024, 1024, 1)
        conv(f"blocks.{i}.se_block.conv1", 128, 1024, 1)
        conv(f"blocks.{i}.se_block.conv2", 1024, 128, 1)
    tdnn("mfa", 3072, 3072, 1)
    tdnn("asp.tdnn", 128, 9216, 1)
    conv("asp.conv", 3072, 128, 1)
    norm("asp_bn", 6144)
    conv("fc", 192, 6144, 1)
    return shapes


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        state = EcapaTdnn(EcapaTdnnConfig(), feat_dim=80).state_dict()
    assert len(state) == 231
    assert {key: tuple(value.shape) for key, value in state.items()} == published_shapes()


def test_the_front_end_of_the_ssl_models_has_no_parameters():
    with torch.device("meta"):
        ssl = EcapaTdnn(EcapaTdnn.VARIANTS["ssl"], feat_dim=80).state_dict()
    assert set(ssl) == set(published_shapes())
    assert ssl["fc.conv.weight"].shape == (512, 6144, 1)


def test_another_pooling_stands_under_the_same_names():
    state = build(pooling="tap").state_dict()
    assert not any(key.startswith("asp.") for key in state)
    assert state["asp_bn.norm.weight"].shape == (8,)
    assert state["fc.conv.weight"].shape == (4, 8, 1)


def slow_embedding(model: EcapaTdnn, feats: np.ndarray) -> np.ndarray:
    """The network of ``SMALL`` with temporal average pooling for features [T, F], in float64."""
    state = {key: value.double().numpy() for key, value in model.state_dict().items()}

    def conv(prefix, x, dilation=1):
        weight = state[f"{prefix}.weight"]  # [C', C, K]
        reach = dilation * (weight.shape[2] // 2)
        x = np.pad(x, ((reach, reach), (0, 0)), mode="reflect")
        taps = [
            x[k * dilation : len(x) - 2 * reach + k * dilation] @ weight[:, :, k].T
            for k in range(weight.shape[2])
        ]
        return sum(taps) + state[f"{prefix}.bias"]

    def norm(prefix, x):
        x = (x - state[f"{prefix}.running_mean"]) / np.sqrt(state[f"{prefix}.running_var"] + 1e-5)
        return x * state[f"{prefix}.weight"] + state[f"{prefix}.bias"]

    def tdnn(prefix, x, dilation=1):
        return norm(f"{prefix}.norm.norm", np.maximum(conv(f"{prefix}.conv.conv", x, dilation), 0))

    x = tdnn("blocks.0", feats)
    outputs = []
    for block, dilation in (("blocks.1", 2), ("blocks.2", 3)):
        y = tdnn(f"{block}.tdnn1", x)
        groups = [y[:, :2], tdnn(f"{block}.res2net_block.blocks.0", y[:, 2:4], dilation)]
        groups.append(tdnn(f"{block}.res2net_block.blocks.1", y[:, 4:] + groups[1], dilation))
        y = tdnn(f"{block}.tdnn2", np.concatenate(groups, axis=1))
        squeezed = np.maximum(conv(f"{block}.se_block.conv1.conv", y.mean(axis=0, keepdims=True)), 0)
        x = x + y / (1 + np.exp(-conv(f"{block}.se_block.conv2.conv", squeezed)))
        outputs.append(x)
    x = tdnn("mfa", np.concatenate(outputs, axis=1))
    pooled = norm("asp_bn.norm", x.mean(axis=0, keepdims=True))
    return conv("fc.conv", pooled)[0]


@pytest.mark.parametrize("num_frames", [4, 5, 23])
def test_embedding_equals_the_slow_reference_also_in_a_padded_batch(num_frames):
    model = build(pooling="tap")
    feats = torch.randn(2, 30, 5)
    expected = slow_embedding(model, feats[1, :num_frames].double().numpy())
    feats[1, num_frames:] = torch.nan
    embeddings = model(feats, torch.tensor([30, num_frames]))
    np.testing.assert_allclose(embeddings[1].detach(), expected, rtol=1e-4, atol=1e-5)


def test_each_utterance_is_mirrored_at_its_own_ends():
    x = torch.tensor([[[0.0, 1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, 7.0, torch.nan, torch.nan]]])
    padding = torch.tensor([5, 3])[:, None, None] <= torch.arange(5)
    mirrored = ecapa_tdnn._mirror(x, 2, padding)
    assert mirrored[0, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 3, 2]
    assert mirrored[1, 0, :7].tolist() == [7, 6, 5, 6, 7, 6, 5]
    assert mirrored.isfinite().all()
    assert torch.equal(ecapa_tdnn._mirror(x[:1], 2, None), mirrored[:1])


def test_min_frames_is_one_more_than_the_longest_reach():
    assert EcapaTdnn(EcapaTdnn.VARIANTS["c512"], feat_dim=8).min_frames == 5
    model = build()
    assert model.min_frames == 4
    assert model(torch.randn(2, 4, 5)).isfinite().all()
    with pytest.raises(ValueError, match="3 frames; the network needs at least 4"):
        model(torch.randn(2, 3, 5))


def test_logarithm_and_normalisation_of_each_band_over_time():
    plain, ssl = build(), build(log_instance_norm=True)
    powers = torch.rand(2, 30, 5) ** 4
    powers[:, 7] = 0
    powers[1, :, 3] = 0.5  # a constant band has no variance
    for row, length in enumerate((30, 21)):
        log = np.log(powers[row, :length].double().numpy() + 1e-6)
        normal = (log - log.mean(axis=0)) / np.sqrt(log.var(axis=0) + 1e-5)
        expected = plain(torch.from_numpy(normal).float()[None])
        powers[row, length:] = torch.nan
        embedding = ssl(powers, torch.tensor([30, 21]))[row : row + 1]
        torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (6, 6, 8)}, "channels: must be as many"),
        ({"channels": (6, 8), "kernel_sizes": (3, 1), "dilations": (1, 1)}, "channels: .*at least three"),
        ({"channels": (6, 6, 9, 8)}, "channels: all but the last must be equal"),
        ({"channels": (6, 6, 6, 0)}, "channels: must be at least 1"),
        ({"kernel_sizes": (5, 2, 3, 3)}, "kernel_sizes: must be odd"),
        ({"dilations": (1, 0, 1, 1)}, "dilations: must be at least 1"),
        ({"res2net_scale": 1}, "res2net_scale: must be at least 2"),
        ({"res2net_scale": 4}, "res2net_scale: .*divide the channels"),
        ({"embed_dim": 0}, "embed_dim: must be at least 1"),
        ({"se_channels": 0}, "se_channels: must be at least 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        EcapaTdnnConfig(**{**SMALL, **settings})
