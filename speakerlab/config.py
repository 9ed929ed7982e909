"""Strict configuration: YAML deltas on a base file become frozen dataclasses.

``load(ExperimentConfig, Path("conf/config.yaml"), overrides=["train.epochs=5"])``. An unknown key, a
wrong type or a missing key is an error that names file, key and nearest valid name, all at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from speakerlab import registry
from speakerlab.errors import ConfigError, SpeakerLabError

T = TypeVar("T")
# YAML 1.1 reads 1e-4 as text; people mean a number.
_SCIENTIFIC = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")


@dataclass(frozen=True)
class Component:
    """A section that names a registered component: ``{name: campplus, embed_dim: 192}``."""

    kind: str
    name: str
    config: Any

    def build(self, **derived: Any) -> Any:
        """The component itself; ``derived`` are the numbers nobody writes by hand (feat_dim, ...).

        Raises:
            ConfigError: the component cannot be built from these numbers.
        """
        try:
            return registry.get(self.kind, self.name)(self.config, **derived)
        except ValueError as error:
            raise ConfigError(f"{self.kind} {self.name}", [str(error)]) from error


def component(kind: str, name: str) -> Any:
    """Dataclass field for a section resolved by the registry; ``name`` is the default component."""

    def default() -> Component:
        return Component(kind, name, registry.get(kind, name).Config())

    return dataclasses.field(default_factory=default, metadata={"kind": kind})


class _Loader(yaml.SafeLoader):
    """safe_load that refuses duplicate keys instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML mapping from ``path``.

    Raises:
        ConfigError: missing file, bad syntax, duplicate key, or not a mapping.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: TID251
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(path, [" ".join(str(error).split())]) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(path, ["must be a mapping of sections"])
    return data


def merge(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """``delta`` over ``base``, section by section.

    A section that names another component than the base replaces it whole: the base's settings
    belong to the base's component.
    """
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        if both and value.get("name", old.get("name")) == old.get("name"):  # type: ignore[union-attr]
            merged[key] = merge(old, value)  # type: ignore[arg-type]
        else:
            merged[key] = value
    return merged


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["train.epochs=5"]`` as a nested mapping; values are YAML scalars or lists."""
    tree: dict[str, Any] = {}
    for item in overrides:
        key, sep, text = item.partition("=")
        if not sep or not key:
            raise ConfigError("--set", [f"{item}: write section.key=value"])
        node: dict[str, Any] = {}
        leaf = node
        *parents, last = key.split(".")
        for parent in parents:
            leaf = leaf.setdefault(parent, {})
        leaf[last] = yaml.safe_load(text)
        tree = merge(tree, node)
    return tree


def outside_file() -> Any:
    """Dataclass field for the path of a file or folder, none by default; ``load_alone`` refuses one."""
    return dataclasses.field(default="", metadata={"outside": True})


def load_alone(cls: type[T], path: Path) -> T:
    """The configuration in ``path``, which came with a model: no other file may be named in it.

    Raises:
        ConfigError: every fault, a ``base:`` and every path of an ``outside_file`` among them.
    """
    data = read_yaml(path)
    if "base" in data:
        raise ConfigError(path, ["base: the settings of a model stand in its own folder; remove this key"])
    config = from_mapping(cls, data, path)
    named = [f"{key}: a model brings its own files; {value!r} is not read" for key, value in _outside(config)]
    if named:
        raise ConfigError(path, named)
    return config


def _outside(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Key and path of every file that ``config`` names."""
    if isinstance(config, Component):
        yield from _outside(config.config, prefix)
    elif dataclasses.is_dataclass(config):
        for f in dataclasses.fields(config):
            value = getattr(config, f.name)
            if f.metadata.get("outside") and value:
                yield f"{prefix}{f.name}", value
            yield from _outside(value, f"{prefix}{f.name}.")


def load(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """The configuration in ``path``: dataclass defaults < its ``base:`` file < itself < overrides.

    ``base:`` is a path relative to the working directory (the repository root); a base has no base.

    Raises:
        ConfigError: every fault of the merged configuration.
    """
    data = read_yaml(path)
    base = data.pop("base", None)
    if base is not None:
        base_data = read_yaml(Path(base))
        if "base" in base_data:
            raise ConfigError(base, ["base: a base file has no base of its own"])
        data = merge(base_data, data)
    return from_mapping(cls, merge(data, parse_overrides(overrides)), path)


def from_mapping(cls: type[T], data: Mapping[str, Any], where: str | Path) -> T:
    """Build ``cls`` from plain data, checking every key and type.

    Raises:
        ConfigError: with all problems found; ``where`` names the source in each line.
    """
    problems: list[str] = []
    value = _dataclass(cls, data, "", problems)
    if problems:
        raise ConfigError(where, problems)
    return typing.cast(T, value)


def to_mapping(config: Any) -> Any:
    """Plain data that ``from_mapping`` turns back into ``config``; components carry their name."""
    if isinstance(config, Component):
        return {"name": config.name, **to_mapping(config.config)}
    if dataclasses.is_dataclass(config):
        return {f.name: to_mapping(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [to_mapping(item) for item in config]
    return config


def dump(config: Any) -> str:
    """The configuration as YAML text, in field order."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def _dataclass(cls: Any, data: Any, key: str, problems: list[str]) -> Any:
    if not isinstance(data, Mapping):
        problems.append(f"{key or 'file'}: must be a mapping, not {data!r}")
        return None
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    prefix = f"{key}." if key else ""
    before = len(problems)
    for name in data:
        if name not in fields:
            problems.append(f"{prefix}{name}: unknown key; {registry.nearest(str(name), list(fields))}")
    values: dict[str, Any] = {}
    for name, f in fields.items():
        if name in data:
            kind = f.metadata.get("kind")
            values[name] = (
                _component(kind, data[name], prefix + name, problems)
                if kind
                else _value(hints[name], data[name], prefix + name, problems)
            )
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            problems.append(f"{prefix}{name}: missing key")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:  # a range checked in __post_init__
        problems.append(f"{prefix}{error}")
        return None


def _component(kind: str, data: Any, key: str, problems: list[str]) -> Component | None:
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        problems.append(f"{key}: needs a name; {registry.nearest('', registry.names(kind))}")
        return None
    try:
        cls = registry.get(kind, data["name"])
    except SpeakerLabError as error:
        problems.append(f"{key}.name: {error}")
        return None
    rest = {k: v for k, v in data.items() if k != "name"}
    return Component(kind, data["name"], _dataclass(cls.Config, rest, key, problems))


def _value(hint: Any, value: Any, key: str, problems: list[str]) -> Any:  # noqa: PLR0911
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, key, problems)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, key, problems)
    if origin is Literal:
        if value not in args:
            problems.append(f"{key}: {value!r}; valid: {', '.join(map(str, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            problems.append(f"{key}: must be a list, not {value!r}")
            return None
        return tuple(_value(args[0], v, f"{key}[{i}]", problems) for i, v in enumerate(value))
    return _scalar(hint, value, key, problems)


def _scalar(hint: Any, value: Any, key: str, problems: list[str]) -> Any:
    if hint is float and isinstance(value, str) and _SCIENTIFIC.match(value):
        return float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        problems.append(f"{key}: must be {hint.__name__}, not {value!r}")
    elif hint is float and not math.isfinite(value):  # NaN passes every comparison that refuses a range
        problems.append(f"{key}: must be a finite number, not {value}")
    return value
