"""Self-supervised encoders: the real classes of transformers, tiny, random, saved as they save themselves."""

import json
from dataclasses import replace

import pytest
import torch

import speakerlab.torchaudio_import  # noqa: F401  (transformers imports torchaudio)
from speakerlab import registry
from speakerlab.config import Component
from speakerlab.errors import DataError
from speakerlab.frontend.cmvn import CmvnConfig
from speakerlab.hub import bundle
from speakerlab.hub.bundle import EmbedderConfig

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
CONVOLUTIONS = {
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
ENCODERS = {
    "wavlm": {**SIZES, **CONVOLUTIONS},
    "wav2vec2": {**SIZES, **CONVOLUTIONS},
    "hubert": {**SIZES, **CONVOLUTIONS},
    "wav2vec2-bert": {**SIZES, "feature_projection_input_dim": 12},
}
NAMES = sorted(ENCODERS)


def feat_dim(name):
    return 6 if name == "wav2vec2-bert" else 1


def network(name, **settings):
    torch.manual_seed(0)
    cls = registry.get("model", "ssl")
    config = {"embed_dim": 8, "head": "tdnn", **settings}
    if "encoder" not in config:
        config["architecture"] = json.dumps({"model_type": name, **ENCODERS[name]})
    return cls(cls.Config(**config), feat_dim=feat_dim(name)).eval()


def inputs(name, num_frames=400, batch=2):
    return torch.randn(batch, num_frames, feat_dim(name), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path):
    """Makes the folder of a pretrained encoder, as ``save_pretrained`` does."""
    import transformers

    def save(name):
        torch.manual_seed(5)
        settings = transformers.AutoConfig.for_model(name, **ENCODERS[name])
        encoder = transformers.AutoModel.from_config(settings).eval()
        encoder.save_pretrained(tmp_path / name)
        return tmp_path / name, encoder

    return save


@pytest.mark.parametrize("name", NAMES)
def test_sees_the_hidden_layers_of_the_pretrained_encoder(name, folder):
    path, encoder = folder(name)
    model = network(name, encoder=str(path))
    feats = inputs(name)
    theirs = feats.squeeze(-1) if feat_dim(name) == 1 else feats.reshape(2, 200, 12)
    with torch.no_grad():
        hidden = encoder(theirs, output_hidden_states=True).hidden_states
        seen = []
        model.head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        for chosen in range(len(hidden)):
            model.layer_scores.copy_(torch.where(torch.arange(len(hidden)) == chosen, 0.0, -1e4))
            model(feats)
            torch.testing.assert_close(seen[-1], hidden[chosen])
        model.layer_scores.zero_()
        model(feats)
    torch.testing.assert_close(seen[-1], torch.stack(hidden).mean(0))


def test_weights_that_do_not_fit_are_refused(folder):
    from safetensors.torch import load_file, save_file

    path, _ = folder("wavlm")
    weights = load_file(path / "model.safetensors")
    dropped = next(key for key in weights if "layers.1" in key)
    del weights[dropped]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=f"1 missing keys: {dropped}"):
        network("wavlm", encoder=str(path))


@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_trains_what_it_says(name, tuning):
    model = network(name, tuning=tuning).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the second half of an adapter begins at zero, and holds the first one back once
        optimizer.zero_grad()
        model(inputs(name)).square().mean().backward()
        optimizer.step()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    encoder = {key for key in moved if key.startswith("encoder.")}
    assert "layer_scores" in moved
    assert any(key.startswith("head.") for key in moved)
    if tuning == "frozen":
        assert not encoder
        assert not model.encoder.training
    elif tuning == "lora":
        adapters = {key for key in before if "lora_" in key}
        assert encoder == adapters
        assert len(adapters) >= 2 * 2 * SIZES["num_hidden_layers"]
    else:
        assert len(encoder) > 0.9 * len([key for key in before if key.startswith("encoder.")])


@pytest.mark.parametrize("name", NAMES)
def test_a_batched_embedding_equals_the_single_one(name):
    model = network(name)
    feats, lengths = inputs(name, batch=3), torch.tensor([400, 251, model.min_frames])
    for row, length in enumerate(lengths):
        feats[row, length:] = float("nan")
    with torch.no_grad():
        embeddings = model(feats, lengths)
        for row, length in enumerate(lengths):
            single = model(feats[row : row + 1, :length])[0]
            torch.testing.assert_close(embeddings[row], single, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("tuning", ["frozen", "lora"])
@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_needs_the_encoders_folder_no_more(name, tuning, folder, tmp_path):
    path, _ = folder(name)
    model = network(name, encoder=str(path), tuning=tuning)
    front = ("waveform", {}) if feat_dim(name) == 1 else ("fbank", {"num_mels": 6})
    frontend = Component("frontend", front[0], registry.get("frontend", front[0]).Config(**front[1]))
    settings = replace(model.config, encoder=str(path), architecture="")
    config = EmbedderConfig(frontend, CmvnConfig(), Component("model", "ssl", settings))
    bundle.save(tmp_path / "bundle", model, config, feat_dim(name), {})
    path.rename(tmp_path / "gone")
    loaded = bundle.load(tmp_path / "bundle")
    with torch.no_grad():
        assert torch.equal(loaded.model(inputs(name)), model(inputs(name)))


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
def test_a_description_chooses_no_code(key, monkeypatch):
    """transformers would fetch the kernels that this setting names, and run them."""
    plain = {"model_type": "hubert", **ENCODERS["hubert"]}
    cls = registry.get("model", "ssl")
    found = []
    for chosen in (
        {},
        {key: "someone/attention", "auto_map": {"AutoModel": "code.Model"}, "use_kernels": True},
    ):
        torch.manual_seed(0)
        text = json.dumps({**plain, **chosen})
        found.append(cls(cls.Config(head="tdnn", embed_dim=8, architecture=text), feat_dim=1).eval())
    with torch.no_grad():
        assert torch.equal(*(one(inputs("hubert")) for one in found))
    assert "someone" not in found[1].config.architecture


def test_wrong_input_and_missing_folder_are_named(tmp_path):
    cls = registry.get("model", "ssl")
    with pytest.raises(ValueError, match=r"feat_dim: must be 1, not 80; .*waveform"):
        cls(network("wavlm").config, feat_dim=80)
    with pytest.raises(ValueError, match=r"feat_dim: must be 6, not 1"):
        cls(network("wav2vec2-bert").config, feat_dim=1)
    with pytest.raises(DataError, match=r"nowhere.*config\.json"):
        network("wavlm", encoder=str(tmp_path / "nowhere"))


HEADS = {
    "wav2vec2": ("Wav2Vec2ForPreTraining", "Wav2Vec2ForCTC", "Wav2Vec2ForXVector"),
    "hubert": ("HubertForCTC",),
    "wavlm": ("WavLMForXVector",),
    "wav2vec2-bert": ("Wav2Vec2BertForCTC",),
}


@pytest.mark.parametrize(("name", "cls"), [(name, cls) for name, found in HEADS.items() for cls in found])
def test_the_encoder_is_taken_out_of_the_head_it_was_published_with(name, cls, tmp_path, caplog):
    import transformers

    torch.manual_seed(5)
    small = {
        "proj_codevector_dim": 8,
        "codevector_dim": 8,
        "num_codevectors_per_group": 4,
        "tdnn_dim": [8] * 5,
    }
    small |= {"vocab_size": 9, "xvector_output_dim": 8}
    settings = transformers.AutoConfig.for_model(name, **ENCODERS[name], **small)
    whole = getattr(transformers, cls)(settings)
    whole.save_pretrained(tmp_path / "encoder")
    with caplog.at_level("INFO"):
        own = network(name, encoder=str(tmp_path / "encoder")).encoder.state_dict()
    theirs = getattr(whole, whole.base_model_prefix).state_dict()
    common = own.keys() & theirs.keys()
    assert own.keys() - theirs.keys() == set()
    assert {key.split(".")[-1] for key in theirs.keys() - common} <= {"masked_spec_embed"}
    assert all(torch.equal(own[key], theirs[key]) for key in common)
    assert [line for line in caplog.messages if "the head it comes with is set aside" in line]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_an_encoder_stored_in_half_precision_computes_in_single(precision, folder, tmp_path):
    path, encoder = folder("wavlm")
    encoder.to(getattr(torch, precision)).save_pretrained(path)
    model = network("wavlm", encoder=str(path))
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }
    stored = encoder.state_dict()["encoder.layers.0.final_layer_norm.weight"]
    assert torch.equal(model.encoder.state_dict()["encoder.layers.0.final_layer_norm.weight"], stored.float())
    expected = model(inputs("wavlm"))
    assert torch.isfinite(expected).all()
    again = network("wavlm", architecture=model.config.architecture)  # as a bundle is read
    assert {p.dtype for p in again.parameters()} == {torch.float32}


@pytest.mark.parametrize("nested", [False, True])
def test_samples_are_prepared_as_the_publisher_says(nested, folder):
    """As ``Wav2Vec2FeatureExtractor`` of transformers does, utterance by utterance in a padded batch too."""
    import transformers

    path, _ = folder("wav2vec2")
    theirs = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=8000)
    settings = theirs.to_dict()
    text = json.dumps({"feature_extractor": settings} if nested else settings)
    (path / "preprocessor_config.json").write_text(text)
    model = network("wav2vec2", encoder=str(path))
    assert model.sample_rate == 8000
    assert model.config.normalise
    samples = 3 * inputs("wav2vec2", 500, 2) + 0.5
    lengths = torch.tensor([500, 400])
    rows = [samples[0, :, 0].numpy(), samples[1, :400, 0].numpy()]
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        model(samples, lengths)
    for got, row in zip(seen, rows, strict=True):
        expected = torch.from_numpy(theirs(row, sampling_rate=8000).input_values[0])
        torch.testing.assert_close(got[0], expected, atol=1e-5, rtol=1e-5)
    (path / "preprocessor_config.json").write_text("[")
    with pytest.raises(DataError, match=r"preprocessor_config\.json: is no JSON object"):
        network("wav2vec2", encoder=str(path))
