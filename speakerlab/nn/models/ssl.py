"""Self-supervised encoder, its hidden layers under learned weights, and a network on top.

``Ssl(SslConfig(encoder="models/wavlm-base-plus"), feat_dim=1)(samples, lengths)``: samples [B, S, 1] (front
end ``waveform``), or for w2v-BERT log-mel features [B, T, 80], to [B, 192]. The encoder is a class of
``transformers``: wav2vec 2.0 (arXiv 2006.11477), HuBERT, WavLM (2110.13900), w2v-BERT 2.0 (2312.05187).
Weighted layers: Yang et al., "SUPERB", 2021.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from speakerlab import registry
from speakerlab.config import outside_file
from speakerlab.errors import DataError, MissingExtraError
from speakerlab.nn import layers
from speakerlab.registry import register

STACKED_FRAMES = 2  # feature frames that w2v-BERT takes at once
# Off in fine-tuning: a layer or frame left out at random would not be the network that is stored.
PLAIN = {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "apply_spec_augment": False}
UNUSED = {"masked_spec_embed"}  # stands for masked frames; none are masked
NORMALISE_FLOOR = 1e-7  # added to the variance, as Wav2Vec2FeatureExtractor does
CODE = ("attn_implementation", "auto_map", "use_kernels")  # settings that choose code to download and run
LORA_TARGETS = ["intermediate_dense", "output_dense"]  # WavLM's attention reads weights past an adapter


@dataclass(frozen=True)
class SslConfig:
    """Settings of ``ssl``.

    Attributes:
        embed_dim: size of the embedding.
        encoder: folder with ``config.json`` and weights, as ``save_pretrained`` of transformers leaves it.
        architecture: text of a ``config.json``: the encoder without weights, which a bundle brings along.
            A folder comes first; without one the encoder begins at random.
        tuning: whether the encoder stays as it is, is adapted (LoRA, arXiv 2106.09685), or trained whole.
        lora_rank: rank of the adapters.
        head: name of the network that sees the weighted layers, with its default settings.
        normalise: whether the samples of each utterance get mean 0 and variance 1 before the encoder sees
            them; where ``encoder`` is a folder with a ``preprocessor_config.json``, that decides.
    """

    embed_dim: int = 192
    encoder: str = outside_file()
    architecture: str = '{"model_type": "wavlm"}'
    tuning: Literal["frozen", "lora", "full"] = "frozen"
    lora_rank: int = 8
    head: str = "ecapa_tdnn"
    normalise: bool = False

    def __post_init__(self) -> None:
        for name in ("embed_dim", "lora_rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")


@register("model")
class Ssl(nn.Module):
    """Speaker embeddings from the hidden layers of a self-supervised encoder.

    Utterances of a padded batch go through the encoder one by one: its convolutions and normalisations over
    time know no padding. The head sees them as a batch again.

    Args:
        config: encoder, tuning and head.
        feat_dim: 1 for an encoder of samples, 80 for w2v-BERT.

    Raises:
        ValueError: ``feat_dim`` is not what the encoder takes.
        DataError: the encoder's folder is not one.
        MissingExtraError: transformers, or peft for LoRA, is not installed.
    """

    Config = SslConfig
    PAPER: ClassVar[str] = "arXiv 2110.13900, 2006.11477, 2312.05187"
    VARIANTS: ClassVar[dict[str, SslConfig]] = {
        "wavlm_base": SslConfig(),
        "wav2vec2_base": SslConfig(architecture='{"model_type": "wav2vec2"}'),
        "w2v_bert": SslConfig(architecture='{"model_type": "wav2vec2-bert"}'),
    }
    FEAT_DIMS: ClassVar[dict[str, int]] = {"wavlm_base": 1, "wav2vec2_base": 1}  # samples

    def __init__(self, config: SslConfig, feat_dim: int) -> None:
        super().__init__()
        self.encoder = _encoder(config)
        sizes: Any = self.encoder.config
        # What a bundle stores: the weights come with it, the folder may be gone.
        architecture = {k: v for k, v in sizes.to_dict().items() if k != "_name_or_path"}
        self.takes_samples = hasattr(sizes, "conv_kernel")
        prepared = _preparation(Path(config.encoder)) if config.encoder and self.takes_samples else {}
        self.sample_rate = prepared.get("sampling_rate")  # where it is stated
        self.normalise = bool(prepared.get("do_normalize", config.normalise))
        self.config = replace(
            config, encoder="", architecture=json.dumps(architecture), normalise=self.normalise
        )
        expected = 1 if self.takes_samples else int(sizes.feature_projection_input_dim) // STACKED_FRAMES
        if feat_dim != expected:
            front = "frontend waveform" if self.takes_samples else f"{expected} log-mel features"
            raise ValueError(f"feat_dim: must be {expected}, not {feat_dim}; the encoder takes {front}")
        self.tuning = config.tuning
        if config.tuning == "frozen":
            self.encoder.requires_grad_(requires_grad=False)
        elif config.tuning == "lora":
            self.encoder = _with_adapters(self.encoder, config.lora_rank)
        self.layer_scores = nn.Parameter(torch.zeros(int(sizes.num_hidden_layers) + 1))
        cls = registry.get("model", config.head)
        self.head = cls(cls.Config(embed_dim=config.embed_dim), feat_dim=int(sizes.hidden_size))
        self.embed_dim = config.embed_dim
        self.min_frames = self._least(int(self.head.min_frames), sizes)

    def _least(self, hidden_frames: int, sizes: Any) -> int:
        """Fewest input frames that give ``hidden_frames``."""
        if not self.takes_samples:
            return STACKED_FRAMES * hidden_frames
        for kernel, stride in zip(reversed(sizes.conv_kernel), reversed(sizes.conv_stride), strict=True):
            hidden_frames = (hidden_frames - 1) * stride + kernel
        return hidden_frames

    def train(self, mode: bool = True) -> Ssl:  # noqa: FBT001, FBT002 (torch's signature)
        """As in torch; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.tuning == "frozen":
            self.encoder.eval()
        return self

    def forward(self, feats: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Input frames [B, T, F], valid frames [B] or None for all, to embeddings [B, E], not normalised.

        Raises:
            ValueError: an utterance is shorter than ``min_frames``.
        """
        if layers.find_padding(feats, lengths, self.min_frames) is None or lengths is None:
            embeddings: Tensor = self.head(self._weighted_layers(feats))
            return embeddings
        singles = [self._weighted_layers(feats[i : i + 1, :n])[0] for i, n in enumerate(lengths.tolist())]
        counts = torch.tensor([len(x) for x in singles], device=feats.device)
        embeddings = self.head(nn.utils.rnn.pad_sequence(singles, batch_first=True), counts)
        return embeddings  # noqa: RET504 (mypy wants the type named)

    def _weighted_layers(self, feats: Tensor) -> Tensor:
        """Sum [B, T', H] of the encoder's input and layers under softmax weights; no padding."""
        if self.takes_samples:
            inputs = feats.squeeze(-1)
            if self.normalise:
                centred = inputs - inputs.mean(1, keepdim=True)
                inputs = centred / (centred.square().mean(1, keepdim=True) + NORMALISE_FLOOR).sqrt()
        else:
            frames = feats.shape[1] // STACKED_FRAMES
            inputs = feats[:, : frames * STACKED_FRAMES].reshape(feats.shape[0], frames, -1)
        hidden = self.encoder(inputs, output_hidden_states=True).hidden_states
        weights = self.layer_scores.softmax(0).to(hidden[0].dtype)
        return cast("Tensor", sum(weight * x for weight, x in zip(weights, hidden, strict=True)))


def _encoder(config: SslConfig) -> nn.Module:
    """The encoder that ``config`` names, weights included where it is a folder."""
    transformers = _transformers()
    if config.encoder:
        folder = Path(config.encoder)
        if not (folder / "config.json").is_file():
            raise DataError(folder, "has no config.json", "name a folder that save_pretrained made")
        return _pretrained(transformers, folder)
    given = json.loads(config.architecture)
    sizes = {key: value for key, value in given.items() if not key.lstrip("_").startswith(CODE)}
    settings = transformers.AutoConfig.for_model(sizes.pop("model_type"), **{**sizes, **PLAIN})
    # in single precision: version 5 keeps the precision that a publisher stored
    return cast("nn.Module", transformers.AutoModel.from_config(settings).float())


def _pretrained(transformers: Any, folder: Path) -> nn.Module:
    """The encoder in ``folder``, with every one of its weights."""
    encoder, found = transformers.AutoModel.from_pretrained(
        folder, local_files_only=True, output_loading_info=True, **PLAIN
    )
    stored = {key: key.removeprefix(f"{encoder.base_model_prefix}.") for key in found["unexpected_keys"]}
    parts = {key.partition(".")[0] for key in encoder.state_dict()}
    if json.loads((folder / "config.json").read_text()).get("architectures") not in (
        None,
        [type(encoder).__name__],
    ):
        parts = set()  # saved with a head, whose names have no prefix and may be those of the encoder's parts
    head = {key for key, name in stored.items() if key == name and name.partition(".")[0] not in parts}
    faults = {
        "missing": sorted(set(found["missing_keys"]) - UNUSED),
        "unexpected": sorted(key for key, name in stored.items() if key not in head and name not in UNUSED),
    }
    text = "; ".join(
        f"{len(keys)} {kind} keys: {', '.join(keys[:5])}" for kind, keys in faults.items() if keys
    )
    if text:
        raise DataError(folder, f"does not fit the encoder: {text}")
    if head:
        names = sorted({key.partition(".")[0] for key in head})
        logging.info("%s: the head it comes with is set aside: %s", folder, ", ".join(names))
    return cast("nn.Module", encoder.float())


def _preparation(folder: Path) -> dict[str, Any]:
    """What the encoder's publisher does to samples, where a file says so."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                found = content.get("feature_extractor", content)
                return {**found} if isinstance(found, dict) else {}
            except (ValueError, AttributeError) as error:
                raise DataError(path, f"is no JSON object: {error}") from error
    return {}


def _transformers() -> Any:
    import speakerlab.torchaudio_import  # noqa: F401  (transformers imports torchaudio where it is installed)

    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "ssl") from error
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


def _with_adapters(encoder: nn.Module, rank: int) -> nn.Module:
    """``encoder`` with trainable low-rank adapters beside its feed-forward layers, the rest frozen."""
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("peft", "ssl") from error
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_TARGETS)
    return peft.inject_adapter_in_model(settings, encoder)
