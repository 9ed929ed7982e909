"""x-vector: names and shapes of the published checkpoints, the network against sums frame by frame."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from speakerlab.nn.models.xvector import Xvector, XvectorConfig

SMALL = XvectorConfig(embed_dim=4, hidden_dim=6, stats_dim=7)
TAPS = ((-2, -1, 0, 1, 2), (-2, 0, 2), (-3, 0, 3), (0,), (0,))  # Snyder et al., table 1


def build(config: XvectorConfig = SMALL) -> Xvector:
    torch.manual_seed(0)
    model = Xvector(config, feat_dim=3)
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return model.eval()


def test_names_and_shapes_are_the_published_ones():
    expected = {"seg_1.weight": (512, 3000), "seg_1.bias": (512,)}
    for i, shape in enumerate([(512, 80, 5), (512, 512, 3), (512, 512, 3), (512, 512, 1), (1500, 512, 1)], 1):
        expected[f"frame_{i}.conv_1d.weight"] = shape
        for name in ("conv_1d.bias", "bn.running_mean", "bn.running_var"):
            expected[f"frame_{i}.{name}"] = shape[:1]
        expected[f"frame_{i}.bn.num_batches_tracked"] = ()
    model = Xvector(XvectorConfig(), feat_dim=80)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected


def test_a_second_linear_layer_has_the_names_of_wespeaker():
    more = build(replace(SMALL, two_emb_layer=True)).state_dict().keys() - build().state_dict().keys()
    statistics = {f"seg_bn_1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert more == {"seg_2.weight", "seg_2.bias"} | statistics


def reference(model: Xvector, feats: np.ndarray) -> np.ndarray:
    """Every output frame from the input frames the paper lists, as long as all of them exist."""
    state = {key: value.double().numpy() for key, value in model.state_dict().items()}
    frames = dict(enumerate(feats))
    for i, taps in enumerate(TAPS, 1):
        weight, bias = state[f"frame_{i}.conv_1d.weight"], state[f"frame_{i}.conv_1d.bias"]
        mean, var = state[f"frame_{i}.bn.running_mean"], state[f"frame_{i}.bn.running_var"]
        outputs = {}
        for t in frames:
            if all(t + tap in frames for tap in taps):
                row = bias + sum(weight[:, :, k] @ frames[t + tap] for k, tap in enumerate(taps))
                outputs[t] = (np.maximum(row, 0) - mean) / np.sqrt(var + 1e-5)
        frames = outputs
    x = np.stack(list(frames.values()))
    assert len(x) == len(feats) - 14
    pooled = np.concatenate([x.mean(axis=0), np.sqrt(x.var(axis=0, ddof=1) + 1e-8)])
    first = state["seg_1.weight"] @ pooled + state["seg_1.bias"]
    if "seg_2.weight" not in state:
        return first
    mean, var = state["seg_bn_1.running_mean"], state["seg_bn_1.running_var"]
    return state["seg_2.weight"] @ ((np.maximum(first, 0) - mean) / np.sqrt(var + 1e-5)) + state["seg_2.bias"]


@pytest.mark.parametrize("two_emb_layer", [False, True])
def test_embeddings_of_a_batch_equal_the_slow_reference(two_emb_layer):
    model = build(replace(SMALL, two_emb_layer=two_emb_layer))
    lengths = [16, 29, 17, 30]
    feats = torch.randn(4, 30, 3, generator=torch.Generator().manual_seed(1)) * 2
    embeddings = model(feats, torch.tensor(lengths)).detach()
    for row, length in enumerate(lengths):
        expected = reference(model, feats[row, :length].double().numpy())
        np.testing.assert_allclose(embeddings[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["embed_dim", "hidden_dim", "stats_dim"])
def test_settings_are_checked(name):
    with pytest.raises(ValueError, match=f"{name}: must be at least 1"):
        XvectorConfig(**{name: 0})
