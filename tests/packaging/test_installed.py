"""Wheel and sdist, built and installed into environments of their own, used from outside the repository.

The environments see the packages of the running one, so nothing is downloaded.
"""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import soundfile
from conftest import save_tiny

from speakerlab import __version__, distribution
from speakerlab.pipeline import pipeline

ROOT = Path(__file__).parents[2]
STEM = f"speakerlab_recipes-{__version__}"


def run(*command, folder):
    """A command in ``folder`` that knows nothing of the repository."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist of this tree and the wheel made of it, as an index would serve them."""
    path = tmp_path_factory.mktemp("build")
    for name in ("speakerlab", "requirements"):
        shutil.copytree(ROOT / name, path / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "speakerlab_recipes.py"):
        shutil.copy(ROOT / name, path / "tree")
    build = "from setuptools import build_meta as b; b.build_{}('{}')"
    for kind, folder in (("sdist", path / "tree"), ("wheel", path / STEM)):
        done = run(sys.executable, "-W", "error", "-c", build.format(kind, path), folder=folder)
        assert done.returncode == 0, done.stderr
        if kind == "sdist":
            with tarfile.open(path / f"{STEM}.tar.gz") as archive:
                archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def wheel(built):
    return built / f"{STEM}-py3-none-any.whl"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, talkers):
    """A folder with a tiny bundle and one recording of each of two talkers."""
    path = tmp_path_factory.mktemp("elsewhere")
    save_tiny(path / "model", threshold=0.5)
    for name, talker in zip("ab", talkers, strict=True):
        soundfile.write(path / f"{name}.wav", talker[0].samples, talker[0].sample_rate)
    return path


def install(tmp_path, *what):
    """The programs of a new environment in which ``what`` was installed."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    programs = environment / "bin"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (site / "running.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-index", "--no-deps"]
    done = run(*pip, "--no-build-isolation", *what, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    return programs


@pytest.mark.parametrize("file", [f"{STEM}-py3-none-any.whl", f"{STEM}.tar.gz"])
def test_the_installed_command_compares_recordings(built, recordings, tmp_path, file):
    programs = install(tmp_path, built / file)
    done = run(programs / "python", "-c", "import speakerlab; print(speakerlab.__file__)", folder=recordings)
    assert done.stdout.startswith(str(tmp_path))
    done = run(programs / "speakerlab", "--version", folder=recordings)
    assert done.stdout == f"{distribution.NAME} {__version__}\n"
    verify = (programs / "speakerlab", "verify", "a.wav", "b.wav", "--model", "model", "--json")
    done = run(*verify, "--threshold", "-1", folder=recordings)
    assert done.returncode == 0, done.stderr
    expected = pipeline(model=str(recordings / "model"))(tuple(str(recordings / f"{n}.wav") for n in "ab"))
    assert json.loads(done.stdout)["cosine"] == pytest.approx(expected["cosine"], abs=1e-5)
    assert run(*verify, "--threshold", "1", folder=recordings).returncode == 3


def test_what_is_advised_works_without_the_index_knowing_us(wheel, tmp_path):
    """The extra is resolved from what is installed: nobody's later upload takes its place."""
    programs = install(tmp_path, wheel)
    advice = "import speakerlab.distribution as d; print(d.how_to_install('plot'))"
    done = run(programs / "python", "-c", advice, folder=tmp_path)
    assert done.stdout == "pip install 'speakerlab-recipes[plot]'\n"
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-index"]
    done = run(*pip, f"{distribution.NAME}[plot]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Requirement already satisfied: matplotlib" in done.stdout
    assert run(*pip, f"{distribution.NAME}[mic]", folder=tmp_path).returncode == 1  # it does look for extras


def test_the_wheel_is_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = email.message_from_bytes(archive.read(f"{STEM}.dist-info/METADATA"))
    package = (ROOT / "speakerlab").rglob("*")
    files = {str(p.relative_to(ROOT)) for p in package if p.is_file() and p.parent.name != "__pycache__"}
    assert names == {*files, "speakerlab_recipes.py"}
    assert "speakerlab/py.typed" in names
    assert (metadata["Name"], metadata["Requires-Python"]) == (distribution.NAME, "<3.15,>=3.10")
    required = {re.sub(r'[ "\']', "", line) for line in metadata.get_all("Requires-Dist")}
    for extra in [None, *metadata.get_all("Provides-Extra")]:
        for line in (ROOT / "requirements" / f"{extra or 'core'}.txt").read_text().split("\n"):
            marker = f";extra=={extra}" if extra else ""
            assert not line or line.startswith("#") or line + marker in required


def test_the_sdist_builds_by_itself(built):
    """The fixture made the wheel of the unpacked sdist alone: its requirement files are inside."""
    with tarfile.open(built / f"{STEM}.tar.gz") as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    extras = re.findall(r"requirements/\w+\.txt", (ROOT / "pyproject.toml").read_text())
    assert len(extras) >= 10
    assert names >= {*extras, "README.md", "speakerlab/py.typed"}
