"""Every registered model: shapes, gradients, masking, determinism, ONNX. A new file is tested by existing."""

import io
import json

import onnxruntime
import pytest
import torch

from speakerlab import registry
from speakerlab.hub import onnx_export, onnx_precision

# Parameters of every published size, on the features it is made for.
NUM_PARAMETERS = {
    "campplus": {"e192": 6_848_544, "e512": 7_176_224},
    "ecapa_tdnn": {"c1024": 20_767_552, "c512": 6_194_048, "ssl": 22_733_952},
    "eres2net": {"base": 6_610_688, "large": 22_462_784, "huge": 55_165_024},
    "eres2netv2": {"w26s2ep2": 17_859_632, "w24s4ep4": 53_513_632},
    "funasr_xvector": {"resnet1_dense": 5_520_544, "resnet2_dense": 5_586_848},
    "ghostvlad": {"ghostvlad": 7_664_394, "netvlad": 7_656_200},
    "mvector_res2net": {"base": 5_611_840},
    "mvector_tdnn": {"base": 2_770_880},
    "redimnet": {
        "b0": 1_004_250,
        "b1": 2_126_936,
        "b2": 5_067_056,
        "b3": 3_225_020,
        "b4": 6_441_520,
        "b5": 7_659_760,
        "b6": 15_015_472,
    },
    "redimnet2": {
        "b0": 1_114_356,
        "b1": 2_160_336,
        "b2": 3_676_320,
        "b3": 4_179_848,
        "b4": 6_657_440,
        "b5": 8_955_816,
        "b6": 12_390_176,
        "b3_norm": 4_506_760,
        "b6_norm": 12_454_688,
    },
    "res2net": {"base": 4_033_600},
    "resnet": {
        "resnet34": 6_306_592,
        "resnet18": 4_105_440,
        "resnet50": 11_131_360,
        "resnet101": 15_892_448,
        "resnet152": 19_814_880,
        "resnet221": 23_792_224,
        "resnet293": 28_626_016,
    },
    "resnet_se": {"base": 9_123_896},
    "ssl": {"wavlm_base": 118_671_293, "wav2vec2_base": 118_661_069, "w2v_bert": 606_092_953},
    "simam_resnet": {"simam34": 25_213_760, "simam100": 50_232_896},
    "tdnn": {"base": 3_394_644},
    "wespeaker_ecapa": {
        "c512": 5_797_504,
        "c512_glob": 6_190_720,
        "c1024": 14_263_872,
        "c1024_glob": 14_657_088,
    },
    "xvector": {"base": 4_347_868},
}
OWN_POOLING = {
    "campplus",
    "funasr_xvector",
    "ghostvlad",
    "redimnet",
    "redimnet2",
    "simam_resnet",
    "ssl",
    "wespeaker_ecapa",
}
SMALL_FEAT_DIMS = {"ssl": 1}  # 24 for the others
# What else than a number of its choice a model takes: multiples of a number, or that number alone.
FEAT_DIM_MULTIPLES = {"redimnet": 4, "redimnet2": 4}
FEAT_DIM_FIXED = {"ssl"}
TINY_WAVLM = {
    "model_type": "wavlm",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8, 8],
    "conv_kernel": [3, 2],
    "conv_stride": [2, 2],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
# Smaller settings, to be quick; a model without an entry is tested with its defaults.
SMALL = {
    "campplus": {
        "embed_dim": 16,
        "growth_rate": 8,
        "bn_size": 2,
        "init_channels": 16,
        "num_layers": (2, 2, 2),
        "head_channels": 4,
    },
    "ecapa_tdnn": {
        "embed_dim": 16,
        "channels": (16, 16, 16, 16, 48),
        "res2net_scale": 4,
        "se_channels": 8,
    },
    "eres2net": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 8},
    "eres2netv2": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 8, "scale": 3},
    "funasr_xvector": {
        "embed_dim": 16,
        "num_blocks": (1, 2, 1, 1),
        "channels": (4, 6, 8, 12),
        "pooled_dim": 16,
    },
    "ghostvlad": {"embed_dim": 16, "inner_channels": (4, 6, 8, 12), "out_channels": (8, 10, 12, 16)},
    "mvector_res2net": {"embed_dim": 16, "num_blocks": (1, 2, 1, 1), "m_channels": 8, "scale": 3},
    "mvector_tdnn": {"embed_dim": 16, "channels": 16},
    "redimnet": {
        "embed_dim": 16,
        "channels": 4,
        "strides": (1, 2, 2),
        "num_blocks": (1, 1, 1),
        "expansions": (2, 1, 1),
        "reductions": (0, 8, 6),
        "block": "resnet_se",
        "group_width": 2,
    },
    "redimnet2": {
        "embed_dim": 16,
        "channels": 4,
        "strides": (1, 2, 2),
        "time_strides": (1, 2, 2),
        "num_blocks": (1, 1, 1),
        "expansions": (2, 1, 0.5),
        "reductions": (8, 8, 6),
        "head_channels": 4,
        "map_norm": True,
    },
    "res2net": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 8},
    "resnet": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 4},
    "resnet_se": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 16},
    "simam_resnet": {"embed_dim": 16, "num_blocks": (1, 1, 2, 1), "m_channels": 4, "bottleneck": 8},
    "ssl": {"embed_dim": 16, "head": "tdnn", "tuning": "full", "architecture": json.dumps(TINY_WAVLM)},
    "wespeaker_ecapa": {"embed_dim": 16, "channels": 16},
    "xvector": {"embed_dim": 16, "hidden_dim": 24, "stats_dim": 40},
    "tdnn": {"embed_dim": 16, "channels": (24, 24, 24, 24, 40)},
}
# Constants that a batch normalisation or a softmax cancels, but for rounding; the checkpoints have them.
CANCELLED = (
    "local_att.0.bias",
    "local_att.3.bias",
    "k_proj.bias",
    "linear2.bias",
    "asp.conv.conv.bias",
    "attention.4.bias",
)
# Around the edges of CAM++ windows (100 frames after a stride of 2) and of strides.
LENGTHS = (99, 100, 101, 199, 200, 201, 345, 399, 400, 401)
# Frames at which an ONNX graph must agree: around CAM++ windows, and an odd length.
ONNX_FRAMES = (199, 200, 201, 298, 345, 500)

pytestmark = pytest.mark.parametrize("name", registry.names("model"))


def small_feat_dim(name: str) -> int:
    return SMALL_FEAT_DIMS.get(name, 24)


def build(name: str, seed: int = 0) -> torch.nn.Module:
    """A small model whose normalisations are far from the identity, so that a leak of padding shows."""
    cls = registry.get("model", name)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = cls(cls.Config(**SMALL.get(name, {})), feat_dim=small_feat_dim(name))
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.normal_(0, 0.5, generator=generator)
    return model.eval()


def features(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the largest component."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())


def test_number_of_parameters_is_pinned(name):
    cls = registry.get("model", name)
    counts = {}
    for variant, config in cls.VARIANTS.items():
        feat_dim = getattr(cls, "FEAT_DIMS", {}).get(variant, 80)
        with torch.device("meta"):
            counts[variant] = sum(p.numel() for p in cls(config, feat_dim=feat_dim).parameters())
    assert counts == NUM_PARAMETERS.get(name), f"NUM_PARAMETERS of {name} in {__file__}"


def test_states_its_paper_and_the_default_is_the_first_variant(name):
    cls = registry.get("model", name)
    assert len(cls.PAPER) > 10
    assert next(iter(cls.VARIANTS.values())) == cls.Config()


def test_shape_and_finite(name):
    model = build(name)
    for num_frames in (model.min_frames, 57):
        embeddings = model(features(3, num_frames, small_feat_dim(name)))
        assert embeddings.shape == (3, model.embed_dim)
        assert embeddings.isfinite().all()


def test_embed_dim_is_the_configured_one(name):
    cls = registry.get("model", name)
    config = cls.Config(**{**SMALL.get(name, {}), "embed_dim": 11})
    assert cls(config, feat_dim=small_feat_dim(name)).embed_dim == config.embed_dim == 11


@pytest.mark.parametrize("feat_dim", [13, 40])
def test_any_feature_dimension(name, feat_dim):
    cls = registry.get("model", name)
    config = cls.Config(**SMALL.get(name, {}))
    if name in FEAT_DIM_FIXED or feat_dim % FEAT_DIM_MULTIPLES.get(name, 1):
        with pytest.raises(ValueError, match=r"feat_dim: must be "):
            cls(config, feat_dim=feat_dim)
        return
    model = cls(config, feat_dim=feat_dim).eval()
    assert model(features(2, max(30, model.min_frames), feat_dim)).shape == (2, model.embed_dim)


def test_all_parameters_get_gradients(name):
    model = build(name).train()
    embeddings = model(features(6, 70, small_feat_dim(name)))
    (embeddings * features(*embeddings.shape, seed=2)).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0 or key.endswith(CANCELLED), key


def test_gradients_are_finite_in_a_padded_batch_and_for_constant_input(name):
    model = build(name).train()
    feats = torch.cat([torch.zeros(2, 230, small_feat_dim(name)), features(2, 230, small_feat_dim(name))])
    lengths = torch.tensor([230, model.min_frames, 230, model.min_frames + 1])
    model(feats, lengths).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("garbage", [1e20, float("nan"), float("-inf")])
def test_a_batched_embedding_equals_the_single_one(name, garbage):
    model = build(name)
    lengths = (model.min_frames, model.min_frames + 1, *LENGTHS)
    batch = torch.full((len(lengths), max(lengths), small_feat_dim(name)), garbage)
    singles = []
    for row, length in enumerate(lengths):
        feats = features(length, small_feat_dim(name), seed=row)
        batch[row, :length] = feats
        singles.append(model(feats[None])[0])
    embeddings = model(batch, torch.tensor(lengths))
    for length, embedding, single in zip(lengths, embeddings, singles, strict=True):
        assert distance(embedding, single) < 1e-5, length


def test_utterances_of_a_batch_do_not_mix(name):
    model = build(name)
    feats = features(4, 60, small_feat_dim(name))
    alone = torch.cat([model(feats[i : i + 1]) for i in range(4)])
    assert distance(model(feats), alone) < 1e-5


def test_full_lengths_give_the_same_bits_as_none(name):
    model = build(name)
    feats = features(3, 80, small_feat_dim(name))
    assert torch.equal(model(feats), model(feats, torch.full((3,), 80)))


def test_input_is_not_changed(name):
    model = build(name)
    feats = features(2, 64, small_feat_dim(name))
    before = feats.clone()
    model(feats, torch.tensor([64, 55]))
    assert torch.equal(feats, before)


def test_deterministic(name):
    model, again = build(name), build(name)
    feats = features(2, 64, small_feat_dim(name))
    assert torch.equal(model(feats), model(feats))
    assert torch.equal(model(feats), again(feats))
    assert not torch.equal(model(feats), build(name, seed=5)(feats))


def test_state_dict_restores_the_model(name):
    model, other = build(name), build(name, seed=7)
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True), strict=True)
    feats = features(2, 64, small_feat_dim(name))
    assert torch.equal(other(feats), model(feats))


def test_too_short_or_too_long_is_refused(name):
    model = build(name)
    short = model.min_frames - 1
    with pytest.raises(ValueError, match=rf"{short} frames.*at least {model.min_frames}"):
        model(features(2, short, small_feat_dim(name)))
    with pytest.raises(ValueError, match=rf"{short} frames.*at least {model.min_frames}"):
        model(features(2, 60, small_feat_dim(name)), torch.tensor([60, short]))
    with pytest.raises(ValueError, match=r"61.*60 frames"):
        model(features(2, 60, small_feat_dim(name)), torch.tensor([61, 60]))


def test_takes_any_pooling(name):
    cls = registry.get("model", name)
    if name in OWN_POOLING:
        assert not hasattr(cls.Config(), "pooling")
        return
    feats, lengths = features(2, 72, small_feat_dim(name)), torch.tensor([72, 53])
    for pooling in registry.names("pooling"):
        torch.manual_seed(0)
        model = cls(cls.Config(**{**SMALL[name], "pooling": pooling}), feat_dim=small_feat_dim(name)).eval()
        batched, single = model(feats, lengths), model(feats[1:, :53])
        assert distance(batched[1], single[0]) < 1e-5, pooling


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_finite_and_close(name, dtype):
    model = build(name)
    feats, lengths = features(2, 150, small_feat_dim(name)), torch.tensor([150, 101])
    expected = model(feats, lengths)
    # oneDNN 3.12 does not come back from some half-precision convolutions on CPUs that have AVX512-FP16;
    # nothing here runs half precision on a CPU except this test
    with torch.backends.mkldnn.flags(enabled=dtype != torch.float16):
        embeddings = model.to(dtype)(feats.to(dtype), lengths)
    assert embeddings.isfinite().all()
    assert torch.cosine_similarity(embeddings.float(), expected).min() > 0.95


def test_onnx_graph_agrees_at_any_length(name, tmp_path):
    model = build(name)
    onnx_export.export(model, small_feat_dim(name), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for num_frames in (model.min_frames, *ONNX_FRAMES):
        feats = features(1 + num_frames % 2, num_frames, small_feat_dim(name), seed=num_frames)
        (embeddings,) = session.run(None, {"feature": feats.numpy()})
        assert distance(torch.from_numpy(embeddings), model(feats)) < 1e-4, num_frames


def test_onnx_graph_in_reduced_precision_is_close(name, tmp_path):
    model, path = build(name), tmp_path / "model.onnx"
    onnx_export.export(model, small_feat_dim(name), path)
    exported = path.read_bytes()
    heard = [features(300, small_feat_dim(name), seed=seed).numpy() for seed in range(4)]
    feats = features(1, 345, small_feat_dim(name), seed=9)
    for precision in onnx_precision.PRECISIONS[1:]:
        path.write_bytes(exported)
        onnx_precision.reduce_precision(path, precision, heard)
        (embeddings,) = onnxruntime.InferenceSession(path).run(None, {"feature": feats.numpy()})
        cosine = torch.cosine_similarity(torch.from_numpy(embeddings), model(feats)).item()
        assert cosine > (0.9999 if precision == "fp16" else 0.99), precision
