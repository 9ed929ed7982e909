"""Strict configuration: every fault is named, with file, key and nearest name."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from speakerlab import config
from speakerlab.config import Component, component
from speakerlab.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    size: int = 3
    rate: float = 0.5
    factors: tuple[float, ...] = (1.0,)
    kind: Literal["a", "b"] = "a"
    note: str | None = None

    def __post_init__(self):
        if self.size < 0:
            raise ValueError("size: must not be negative")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    flag: bool = False
    model: Component = component("model", "campplus")


def build(data):
    return config.from_mapping(Outer, data, "x.yaml")


def problems_of(data):
    with pytest.raises(ConfigError) as error:
        build(data)
    return error.value.problems


def test_values_are_converted_only_where_nothing_is_lost():
    outer = build({"name": "n", "inner": {"rate": 1, "factors": [1, 0.9], "note": None}})
    assert outer.inner == Inner(rate=1.0, factors=(1.0, 0.9))
    assert isinstance(outer.inner.rate, float)
    assert build({"name": "n", "inner": {"rate": "1e-4"}}).inner.rate == 1e-4  # YAML 1.1 says text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "name: missing key"),
        ({"nmae": "x", "name": "x"}, "nmae: unknown key; did you mean 'name'?"),
        ({"name": 3}, "name: must be str, not 3"),
        ({"name": "x", "flag": 1}, "flag: must be bool"),
        ({"name": "x", "inner": {"size": True}}, "inner.size: must be int"),
        ({"name": "x", "inner": {"size": 2.5}}, "inner.size: must be int"),
        ({"name": "x", "inner": {"size": -1}}, "inner.size: must not be negative"),
        ({"name": "x", "inner": {"rate": "fast"}}, "inner.rate: must be float"),
        ({"name": "x", "inner": {"kind": "c"}}, "inner.kind: 'c'; valid: a, b"),
        ({"name": "x", "inner": {"factors": 2.0}}, "inner.factors: must be a list"),
        ({"name": "x", "inner": {"factors": [1.0, "q"]}}, "inner.factors[1]: must be float"),
        ({"name": "x", "inner": 4}, "inner: must be a mapping"),
        ({"name": "x", "model": {"embed_dim": 8}}, "model: needs a name"),
        ({"name": "x", "model": {"name": "camplus"}}, "did you mean 'campplus'?"),
        ({"name": "x", "model": {"name": "campplus", "embed_dm": 8}}, "did you mean 'embed_dim'?"),
    ],
)
def test_each_fault_is_said(data, said):
    assert any(said in problem for problem in problems_of(data)), problems_of(data)


def test_all_faults_are_said_at_once():
    said = problems_of({"flag": "yes", "inner": {"sise": 1, "rate": []}})
    assert len(said) == 4


def test_dump_and_load_is_identity(tmp_path):
    outer = build({"name": "n", "model": {"name": "tdnn"}, "inner": {"note": "x"}})
    path = tmp_path / "c.yaml"
    path.write_text(config.dump(outer))
    assert config.load(Outer, path) == outer


def test_base_is_merged_section_by_section_and_another_component_replaces(tmp_path):
    base, recipe = tmp_path / "base.yaml", tmp_path / "config.yaml"
    base.write_text("name: base\ninner: {size: 7, rate: 0.1}\nmodel: {name: campplus, growth_rate: 8}\n")
    recipe.write_text(f"base: {base}\ninner: {{rate: 0.2}}\nmodel: {{name: tdnn}}\n")
    outer = config.load(Outer, recipe, ["inner.note=hi", "inner.factors=[1, 2]"])
    assert outer.inner == Inner(size=7, rate=0.2, note="hi", factors=(1.0, 2.0))
    assert outer.model.name == "tdnn"
    recipe.write_text(f"base: {base}\nmodel: {{embed_dim: 16}}\n".replace("{embed", "{name: campplus, embed"))
    assert config.load(Outer, recipe).model.config.growth_rate == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "expected"),
        ("name: x\nname: y\n", "key 'name' appears twice"),
        ("- 1\n", "must be a mapping"),
        ("name: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    ],
)
def test_bad_yaml_is_an_error_that_names_the_file(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="bad.yaml") as error:
        config.load(Outer, path)
    assert said in str(error.value)


def test_missing_file_and_bad_override():
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read"):
        config.load(Outer, __import__("pathlib").Path("nowhere.yaml"))
    with pytest.raises(ConfigError, match="write section.key=value"):
        config.parse_overrides(["train.epochs"])


def test_a_base_has_no_base(tmp_path):
    base, recipe = tmp_path / "base.yaml", tmp_path / "config.yaml"
    base.write_text("base: other.yaml\nname: x\n")
    recipe.write_text(f"base: {base}\n")
    with pytest.raises(ConfigError, match="no base of its own"):
        config.load(Outer, recipe)
