"""A model travels as a bundle: weights, every front-end constant, sizes, provenance and hashes.

``save(Path("exp/model"), model, config, feat_dim, provenance)`` writes ``model.safetensors``,
``config.yaml`` and ``bundle.json``; ``load(Path("exp/model"))`` gives the network back, or refuses.
``calibrate(Path("exp/model"), rule)`` adds or replaces its calibration or adaptation and leaves the rest as
it is, ``amend`` any other entry of its card.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speakerlab import config as config_io
from speakerlab.config import Component, component
from speakerlab.errors import DataError
from speakerlab.frontend.cmvn import CmvnConfig
from speakerlab.hub import rule as rules
from speakerlab.hub.adaptation import Adaptation
from speakerlab.hub.calibration import Calibration
from speakerlab.hub.rule import Rule
from speakerlab.io import atomic
from speakerlab.io.digest import sha256

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.yaml", "bundle.json"
DOMAIN, NAME = "domain", "name"  # entries of the card


@dataclass(frozen=True)
class EmbedderConfig:
    """All that turns a waveform into an embedding, weights aside."""

    frontend: Component = component("frontend", "fbank")
    cmvn: CmvnConfig = field(default_factory=CmvnConfig)
    model: Component = component("model", "campplus")


@dataclass(frozen=True)
class Bundle:
    """A loaded model.

    Attributes:
        path: its folder.
        config: front end, normalisation and network settings.
        model: the network in eval mode on the CPU: feats [B, T, F], lengths [B] -> [B, E].
        card: the content of ``bundle.json``: feat_dim, embed_dim, num_params, sha256, provenance, threshold,
            domain.
    """

    path: Path
    config: EmbedderConfig
    model: nn.Module
    card: Mapping[str, Any]

    @property
    def content_hash(self) -> str:
        """Identity of weights and settings together; embeddings depend on nothing else of a bundle."""
        return _content_hash(self.card["sha256"])

    @property
    def name(self) -> str:
        """Its published name, else its path."""
        return str(self.card.get(NAME, self.path))

    @property
    def threshold(self) -> float | None:
        """The cosine from which on its publisher says "same speaker", where there is one."""
        return self.card.get("threshold")

    @property
    def domain(self) -> str | None:
        """What speech it was trained on, in one line, where that is known."""
        return self.card.get(DOMAIN)

    @property
    def rule(self) -> Rule | None:
        """How its scores become decisions; None without a calibration and without an adaptation.

        Raises:
            DataError: it was changed by hand, or made for another model.
        """
        return rules.of_card(self.card, self.content_hash, self.path / CARD)

    @property
    def calibration(self) -> Calibration | None:
        """The rule, where it is a calibration."""
        found = self.rule
        return found if isinstance(found, Calibration) else None

    @property
    def adaptation(self) -> Adaptation | None:
        """The rule, where it is an adaptation."""
        found = self.rule
        return found if isinstance(found, Adaptation) else None


def _content_hash(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(hashes.values()).encode()).hexdigest()


def describe(
    model: nn.Module,
    feat_dim: int,
    hashes: Mapping[str, str],
    provenance: Mapping[str, Any],
    threshold: float | None,
    domain: str | None = None,
) -> dict[str, Any]:
    """The card of a bundle; ``hashes`` identify its weights and its settings."""
    card = {
        "format": FORMAT,
        "feat_dim": feat_dim,
        "embed_dim": model.embed_dim,
        "num_params": sum(p.numel() for p in model.parameters()),
        "sha256": dict(hashes),
        "provenance": dict(provenance),
    }
    known = {"threshold": threshold, DOMAIN: domain}
    return {**card, **{key: value for key, value in known.items() if value is not None}}


def save(
    path: Path,
    model: nn.Module,
    config: EmbedderConfig,
    feat_dim: int,
    provenance: Mapping[str, Any],
    threshold: float | None = None,
    rule: Rule | None = None,
    domain: str | None = None,
) -> None:
    """Publish ``model`` as a bundle at ``path``, replacing an older one whole, its rule too.

    Raises:
        DataError: it cannot be written.
    """
    from safetensors.torch import save_model

    with atomic.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.restore(path)
        staged = path.with_name(f".{path.name}.{os.getpid()}.new")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        save_model(model, str(staged / WEIGHTS))
        # A network may know more of its settings than it was given: that of an encoder read from a folder.
        settings = getattr(model, "config", config.model.config)
        config = replace(config, model=replace(config.model, config=settings))
        (staged / CONFIG).write_text(config_io.dump(config), encoding="utf-8")
        shutil.copymode(staged / CONFIG, staged / WEIGHTS)  # safetensors lets nobody else read its files
        hashes = {name: sha256(staged / name) for name in (WEIGHTS, CONFIG)}
        card = describe(model, feat_dim, hashes, provenance, threshold, domain)
        (staged / CARD).write_text(_as_text(card, rule), encoding="utf-8")
        atomic.replace_folder(staged, path)


def content_hash(path: Path) -> str:
    """``Bundle.content_hash`` of the bundle at ``path``, whatever its rule; no network is built.

    Raises:
        DataError: a file is missing or does not match its hash.
    """
    return _content_hash(_read_card(path)["sha256"])


def copy(model: Bundle, path: Path, rule: Rule | None) -> None:
    """Publish a loaded model, be it of another toolkit, as a bundle at ``path`` with ``rule``.

    Raises:
        DataError: it cannot be written.
    """
    card = model.card
    size, provenance = card["feat_dim"], card["provenance"]
    save(path, model.model, model.config, size, provenance, model.threshold, rule, model.domain)


def calibrate(path: Path, rule: Rule) -> None:
    """Store ``rule`` in the bundle at ``path``, replacing an older one, in one step.

    Weights, settings and content hash stay as they are: embeddings extracted with the bundle stay valid.

    Raises:
        DataError: no intact bundle; nothing is changed then.
    """
    card = {key: value for key, value in _read_card(path).items() if key not in rules.KEYS}
    atomic.write_text(path / CARD, _as_text(card, rule))


def amend(path: Path, entries: Mapping[str, Any]) -> None:
    """Add ``entries`` to the card of the bundle at ``path``, or replace them, in one step.

    Raises:
        DataError: no intact bundle; nothing is changed then.
    """
    atomic.write_text(path / CARD, _as_text({**_read_card(path), **entries}, None))


def _as_text(card: Mapping[str, Any], rule: Rule | None) -> str:
    if rule is not None:
        card = {**card, **rules.entry(rule, _content_hash(card["sha256"]))}
    return json.dumps(card, indent=2) + "\n"


def load(path: Path) -> Bundle:
    """The bundle at ``path``.

    Its weights are the pages of the file, mapped. ``save`` puts another file in its place, which a network
    loaded before does not notice; writing into the file itself it would.

    Raises:
        DataError: a file is missing, its content or the rule does not match its hash, or the weights do not
            fit the network that ``config.yaml`` describes.
        ConfigError: ``config.yaml`` is not valid for this version.
    """
    from safetensors.torch import load_file

    card = _read_card(path)
    rules.of_card(card, _content_hash(card["sha256"]), path / CARD)
    config = config_io.load_alone(EmbedderConfig, path / CONFIG)
    model = config.model.build(feat_dim=card["feat_dim"])
    load_strict(model, load_file(path / WEIGHTS), path / WEIGHTS, assign=True)
    return Bundle(path, config, model.eval(), card)


def _read_card(path: Path) -> dict[str, Any]:
    atomic.restore(path)
    for name in (CARD, CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise DataError(path, f"is not a model bundle: no {name}", "train one with: bash run.sh")
    try:
        card: dict[str, Any] = json.loads((path / CARD).read_text(encoding="utf-8"))
        expected = card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path / CARD, f"is damaged ({error})", "copy the bundle again") from error
    if card.get("format") != FORMAT:
        raise DataError(path / CARD, f"has format {card.get('format')}, this version reads {FORMAT}")
    for name in (CONFIG, WEIGHTS):
        if sha256(path / name) != expected.get(name):
            raise DataError(path / name, "does not match its hash in bundle.json", "copy the bundle again")
    return card


def load_strict(model: nn.Module, state: Mapping[str, Any], source: Path, *, assign: bool = False) -> None:
    """Put ``state`` into ``model``: every key, and no other; ``source`` is named in the error.

    Args:
        model: the network.
        state: its tensors by name.
        source: where they come from.
        assign: the tensors become those of ``model``; else they are copied into its own.

    Raises:
        DataError: keys are missing, unknown or of other shapes: how many, and the first few of each.
    """
    own = model.state_dict()
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    faults = {
        "missing keys": sorted(own.keys() - state.keys()),
        "unknown keys": sorted(state.keys() - own.keys()),
        "other shapes": sorted(shapes),
    }
    text = "; ".join(f"{len(keys)} {what}: {', '.join(keys[:5])}" for what, keys in faults.items() if keys)
    if text:
        raise DataError(source, f"does not fit the network: {text}")
    model.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, assign=assign)
