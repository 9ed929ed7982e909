"""TDNN: the network against matrix products frame by frame, its settings."""

import numpy as np
import pytest
import torch

from speakerlab.errors import SpeakerLabError
from speakerlab.nn.models.tdnn import Tdnn, TdnnConfig

CONFIG = TdnnConfig(embed_dim=4, channels=(6, 5), kernel_sizes=(5, 3), dilations=(1, 3))


def build(config: TdnnConfig = CONFIG) -> Tdnn:
    torch.manual_seed(0)
    model = Tdnn(config, feat_dim=3)
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.5)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return model.eval()


def test_embedding_equals_the_slow_reference():
    model = build()
    state = {key: value.double().numpy() for key, value in model.state_dict().items()}
    feats = torch.randn(1, 11, 3)
    x = feats[0].double().numpy()
    for i, (size, dilation) in enumerate([(5, 1), (3, 3)]):
        weight, bias = state[f"frame.{i}.0.weight"], state[f"frame.{i}.0.bias"]
        rows = []
        for t in range(11):
            row = bias.copy()
            for tap in range(size):
                source = t + (tap - size // 2) * dilation
                if 0 <= source < 11:
                    row += weight[:, :, tap] @ x[source]
            rows.append(np.maximum(row, 0))
        x = (np.stack(rows) - state[f"frame.{i}.2.running_mean"]) * state[f"frame.{i}.2.weight"]
        x = x / np.sqrt(state[f"frame.{i}.2.running_var"] + 1e-5) + state[f"frame.{i}.2.bias"]
    pooled = np.concatenate([x.mean(axis=0), np.sqrt(x.var(axis=0, ddof=1) + 1e-8)])
    expected = state["embedding.weight"] @ pooled + state["embedding.bias"]
    expected = (expected - state["norm.running_mean"]) / np.sqrt(state["norm.running_var"] + 1e-5)
    np.testing.assert_allclose(model(feats)[0].detach(), expected, rtol=1e-4, atol=1e-5)


def test_the_last_normalisation_is_optional():
    config = TdnnConfig(
        embed_dim=4, channels=(6,), kernel_sizes=(3,), dilations=(1,), pooling="tap", embed_norm=False
    )
    model = build(config)
    assert not any(key.startswith("norm.") for key in model.state_dict())
    assert model(torch.randn(2, 9, 3)).shape == (2, 4)


def test_an_unknown_pooling_is_named():
    with pytest.raises(SpeakerLabError, match="unknown pooling 'tstpp'.*tstp"):
        Tdnn(TdnnConfig(pooling="tstpp"), feat_dim=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (8, 8)}, "channels: must be as many"),
        ({"channels": (8,), "kernel_sizes": (4,), "dilations": (1,)}, "kernel_sizes: must be odd"),
        ({"channels": (8,), "kernel_sizes": (3,), "dilations": (0,)}, "dilations: must be at least 1"),
        ({"embed_dim": 0}, "embed_dim: must be at least 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        TdnnConfig(**settings)
