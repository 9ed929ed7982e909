"""The attentive poolings and tsp: values worked out by hand, the formulas frame by frame, published names."""

import math

import numpy as np
import pytest
import torch

from speakerlab import registry
from speakerlab.nn.attentive_statistics import ContextConv1d, statistics

HALF = math.atanh(0.5)  # a frame whose tanh is 1/2
POOLINGS = registry.names("pooling")


def build(name: str, in_dim: int, **settings) -> torch.nn.Module:
    """In double precision, with parameters and normalisations far from their first values."""
    torch.manual_seed(0)
    cls = registry.get("pooling", name)
    pooling = cls(cls.Config(**settings), in_dim=in_dim).double().eval()
    for key, value in pooling.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif not key.endswith("num_batches_tracked"):
            value.normal_()
    return pooling


def quarter_and_three_quarters(pooling: torch.nn.Module, hidden: str, scores: str) -> None:
    """Sets one-channel attention to scores 2 ln 3 tanh(x): 0 and ln 3 for frames 0 and ``HALF``."""
    state = {f"{hidden}.weight": 1.0, f"{hidden}.bias": 0.0, f"{scores}.weight": 2 * math.log(3)}
    for key, value in state.items():
        pooling.get_parameter(key).data.fill_(value)


def shapes(pooling: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in pooling.state_dict().items()}


def test_statistics_under_weights():
    pooled = statistics(torch.tensor([[[1.0, 3.0]]]), torch.tensor([0.25, 0.75]), floor=1e-12)
    torch.testing.assert_close(pooled, torch.tensor([[2.5, math.sqrt(0.75)]]))


def test_a_context_counts_as_if_repeated_at_every_frame():
    torch.manual_seed(0)
    convolution = ContextConv1d(5, 4, 1)
    x, context = torch.randn(2, 3, 7), torch.randn(2, 2)
    joined = torch.cat([x, context.unsqueeze(-1).expand(-1, -1, 7)], dim=1)
    torch.testing.assert_close(convolution(x, context), convolution(joined))


def test_tsp_is_mean_and_unbiased_variance():
    pooled = build("tsp", 1)(torch.tensor([[[0.0, 2.0, 4.0, 6.0, 99.0]]]), torch.tensor([4]))
    torch.testing.assert_close(pooled, torch.tensor([[3.0, 20 / 3]]))


@pytest.mark.parametrize("name", ["sap", "astp"])
def test_weights_by_hand(name):
    pooling = build(name, 1, bottleneck=1)
    quarter_and_three_quarters(pooling, "linear1", "linear2")
    pooled = pooling(torch.tensor([[[0.0, HALF, 7.0]]]).double(), torch.tensor([2]))
    expected = [0.75 * HALF, HALF * math.sqrt(3 / 16)]
    torch.testing.assert_close(pooled, torch.tensor([expected[: pooling.out_dim]]).double())


def test_asp_weights_by_hand():
    """A negative frame counts as 0 for the attention, which comes after ReLU, but not for the mean."""
    pooling = build("asp", 1, bottleneck=1, global_context=False)
    quarter_and_three_quarters(pooling, "tdnn.conv.conv", "conv.conv")
    pooling.tdnn.norm.norm.load_state_dict(torch.nn.BatchNorm1d(1, eps=0).state_dict())
    pooling.tdnn.norm.norm.eps = 0
    pooled = pooling(torch.tensor([[[-1.0, HALF, 7.0]]]).double(), torch.tensor([2]))
    expected = [-0.25 + 0.75 * HALF, (1 + HALF) * math.sqrt(3 / 16)]
    torch.testing.assert_close(pooled, torch.tensor([expected]).double())


@pytest.mark.parametrize("global_context", [False, True])
@pytest.mark.parametrize("name", ["asp", "astp"])
def test_scores_frame_by_frame(name, global_context):
    """Against numpy, one frame at a time on the concatenation of frame, mean and deviation."""
    pooling = build(name, 3, bottleneck=4, global_context=global_context)
    state = {key: value.numpy() for key, value in pooling.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(3, 9))
    variance = x.var(axis=1) if name == "asp" else x.var(axis=1, ddof=1) + 1e-7
    context = np.concatenate([x.mean(axis=1), np.sqrt(variance)])
    scores = []
    for frame in x.T:
        joined = np.concatenate([frame, context]) if global_context else frame
        if name == "asp":
            hidden = state["tdnn.conv.conv.weight"][..., 0] @ joined + state["tdnn.conv.conv.bias"]
            norm = {key.rpartition(".")[2]: value for key, value in state.items() if ".norm." in key}
            hidden = (np.maximum(hidden, 0) - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
            hidden = np.tanh(hidden * norm["weight"] + norm["bias"])
            scores.append(state["conv.conv.weight"][..., 0] @ hidden + state["conv.conv.bias"])
        else:
            hidden = np.tanh(state["linear1.weight"][..., 0] @ joined + state["linear1.bias"])
            scores.append(state["linear2.weight"][..., 0] @ hidden + state["linear2.bias"])
    weights = np.exp(scores).T / np.exp(scores).sum(axis=0)[:, None]
    mean = (weights * x).sum(axis=1)
    expected = np.concatenate([mean, np.sqrt((weights * x**2).sum(axis=1) - mean**2)])
    batch = torch.cat([torch.from_numpy(x), torch.full((3, 4), torch.nan)], dim=1)[None].double()
    np.testing.assert_allclose(pooling(batch, torch.tensor([9]))[0].detach(), expected, rtol=1e-9)


@pytest.mark.parametrize(("name", "deviation"), [("asp", 1e-6), ("astp", 1e-7**0.5), ("mhastp", 1e-7**0.5)])
def test_deviation_of_a_constant_channel_is_that_of_the_published_models(name, deviation):
    pooled = build(name, 4)(torch.full((1, 4, 10), 3.0).double())
    np.testing.assert_allclose(sorted(pooled[0].tolist()), [deviation] * 4 + [3.0] * 4, rtol=1e-6)


def test_heads_attend_by_themselves_and_stand_one_after_the_other():
    pooling = build("mhastp", 2, bottleneck=1)
    quarter_and_three_quarters(pooling, "heads_att_trans.0.att_0", "heads_att_trans.0.att_1")
    pooling.get_parameter("heads_att_trans.1.att_1.weight").data.zero_()  # the second head: equal weights
    x = torch.tensor([[[0.0, HALF], [1.0, 5.0]]]).double()
    expected = torch.tensor([[0.75 * HALF, HALF * math.sqrt(3 / 16), 3.0, 2.0]]).double()
    torch.testing.assert_close(pooling(x), expected)


def test_channels_of_a_head_share_weights_or_have_their_own():
    x = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(1)).double()
    x[:, 1], x[:, 3] = 2 * x[:, 0], 2 * x[:, 2]  # under the same weights, twice the mean
    means = build("mhastp", 4)(x)[0, [0, 1, 4, 5]]
    torch.testing.assert_close(means[1::2], 2 * means[::2])
    means = build("mhastp", 4, per_channel=True)(x)[0, [0, 1, 4, 5]]
    assert ((means[1::2] - 2 * means[::2]).abs() > 1e-3).all()


def test_queries_stand_one_after_the_other():
    pooling = build("mqmhastp", 4, num_heads=2, per_channel=False)
    x = torch.randn(2, 4, 9).double()
    single = build("mhastp", 4)
    for query, part in enumerate(pooling(x).chunk(2, dim=1)):
        single.load_state_dict(pooling.get_submodule(f"n_query.{query}").state_dict())
        torch.testing.assert_close(part, single(x))


def test_names_and_shapes_are_the_published_ones():
    assert shapes(build("asp", 3072)) == {
        "tdnn.conv.conv.weight": (128, 9216, 1),
        "tdnn.conv.conv.bias": (128,),
        "tdnn.norm.norm.weight": (128,),
        "tdnn.norm.norm.bias": (128,),
        "tdnn.norm.norm.running_mean": (128,),
        "tdnn.norm.norm.running_var": (128,),
        "tdnn.norm.norm.num_batches_tracked": (),
        "conv.conv.weight": (3072, 128, 1),
        "conv.conv.bias": (3072,),
    }
    attention = {"linear1.weight": (128, 16, 1), "linear1.bias": (128,)}
    attention.update({"linear2.weight": (16, 128, 1), "linear2.bias": (16,)})
    assert shapes(build("sap", 16)) == shapes(build("astp", 16)) == attention
    assert shapes(build("astp", 16, global_context=True))["linear1.weight"] == (128, 48, 1)
    head = {"att_0.weight": (64, 8, 1), "att_0.bias": (64,), "att_1.weight": (1, 64, 1), "att_1.bias": (1,)}
    assert shapes(build("mhastp", 16)) == {
        f"heads_att_trans.{i}.{key}": shape for i in range(2) for key, shape in head.items()
    }
    head = {"att_0.weight": (64, 2, 1), "att_0.bias": (64,), "att_1.weight": (2, 64, 1), "att_1.bias": (2,)}
    assert shapes(build("mqmhastp", 16)) == {
        f"n_query.{query}.heads_att_trans.{i}.{key}": shape
        for query in range(2)
        for i in range(8)
        for key, shape in head.items()
    }


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("model", ["resnet", "tdnn"])
def test_any_pooling_in_any_model_is_masked(model, pooling):
    torch.manual_seed(0)
    sizes = {"num_blocks": (1, 1, 1, 1), "m_channels": 4}
    if model == "tdnn":
        sizes = {"channels": (8, 16), "kernel_sizes": (3, 1), "dilations": (1, 1)}
    cls = registry.get("model", model)
    network = cls(cls.Config(embed_dim=5, pooling=pooling, **sizes), feat_dim=20).eval()
    feats = torch.randn(2, 40, 20)
    together = network(feats, torch.tensor([40, 23]))
    torch.testing.assert_close(together[:1], network(feats[:1]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[1:], network(feats[1:, :23]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("asp", "bottleneck"),
        ("astp", "bottleneck"),
        ("sap", "bottleneck"),
        ("mhastp", "num_heads"),
        ("mhastp", "bottleneck"),
        ("mqmhastp", "num_queries"),
        ("mqmhastp", "num_heads"),
        ("mqmhastp", "bottleneck"),
    ],
)
def test_settings_are_checked(name, setting):
    with pytest.raises(ValueError, match=f"^{setting}: must be at least 1"):
        registry.get("pooling", name).Config(**{setting: 0})


@pytest.mark.parametrize("name", ["mhastp", "mqmhastp"])
def test_heads_must_divide_the_channels(name):
    with pytest.raises(ValueError, match="num_heads: must divide the 16 channels, not 3"):
        build(name, 16, num_heads=3)
