"""Every extra has wheels, with the pinned versions, on every Python and platform that the README names.

Example: tests/resolution/run.sh -k macos
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
ALL = [
    "core",
    "plot",
    "demo",
    "onnx",
    "openvino",
    "vad",
    "ssl",
    "hub",
    "mic",
    "serve",
    "postgres",
    "faiss",
    "test",
]
ANYWHERE = [name for name in ALL if name not in {"openvino", "test"}]
# name in the README -> uv's name of the platform, extras; openvino's wheels for aarch64 need glibc 2.35,
# shellcheck, of the extra test, has none for it
PLATFORMS = {
    "linux-x86_64": ("x86_64-manylinux_2_28", ALL),
    "linux-aarch64": ("aarch64-manylinux_2_28", ANYWHERE),
    "linux-aarch64-openvino": ("aarch64-manylinux_2_35", ["core", "openvino"]),
    "macos-arm64": ("aarch64-apple-darwin", ALL),
}
MACOS = "14.0"  # the oldest that torch has wheels for


def resolve(python, platform, requirements):
    """What would be installed, by name, and uv's message if nothing can be."""
    command = [
        "uv", "pip", "compile", "--no-config", "--quiet", "--no-header", "--no-annotate",
        "--only-binary", ":all:",
        "--python-version", python, "--python-platform", platform,
        "--constraints", "requirements/constraints.txt", *requirements,
    ]  # fmt: skip
    env = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS, "UV_NATIVE_TLS": "true"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return dict(re.findall(r"^([\w-]+)==(\S+)", done.stdout, re.M)), done.stderr


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_has_wheels(python, platform):
    target, extras = PLATFORMS[platform]
    files = [f"requirements/{extra}.txt" for extra in extras]
    found, message = resolve(python, target, files)
    assert found, message
    wanted = {
        re.split(r"[>=\[]", line)[0].replace("_", "-").lower()
        for file in files
        for line in (ROOT / file).read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert wanted <= {name.lower() for name in found}
    newer = python != "3.10"  # markers are those of the Python asked about
    assert found["numpy"] == ("2.4.6" if newer else "2.2.6")


def test_what_has_no_wheel_is_named(tmp_path):
    (tmp_path / "only.txt").write_text("torch==2.13.0\n")  # for Intel's Macs there is none
    found, message = resolve("3.14", "x86_64-apple-darwin", [tmp_path / "only.txt"])
    assert not found
    assert "torch==2.13.0 has no wheels with a matching platform tag" in message


def test_the_tree_names_all_extras():
    declared = re.findall(r"^optional-dependencies\.(\w+)", (ROOT / "pyproject.toml").read_text(), re.M)
    assert sorted(["core", *declared]) == sorted(ALL)
