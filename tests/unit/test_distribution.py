"""The name of the distribution, the advice with it, and the refusal of a mixture with another package."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speakerlab import distribution
from speakerlab.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
THEIRS = "speakerlab-0.0.6"


def test_one_name_in_project_and_code():
    text = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'^name = "(.*?)"', text, re.M) == [distribution.NAME]
    assert distribution.NAME != "speakerlab"  # which the index has, from another project
    extras = set(re.findall(r"^optional-dependencies\.(\w+) =", text, re.M))
    assert extras
    for extra in extras:
        assert (ROOT / "requirements" / f"{extra}.txt").is_file()


def test_nothing_advises_the_other_package():
    done = subprocess.run(
        ["git", "grep", "-nE", r"(install|download)[^|]*\bspeakerlab(\[|==|$)", "--", ".", ":!tests"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")


def test_in_a_clone_the_advice_is_for_the_python_that_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv/bin/python"))
    assert distribution.how_to_install("onnx") == ".venv/bin/python -m pip install -r requirements/onnx.txt"
    monkeypatch.setattr(sys, "executable", "/home/ann/my env/bin/python")
    assert distribution.how_to_install("onnx", "openvino") == (
        "'/home/ann/my env/bin/python' -m pip install -r requirements/onnx.txt -r requirements/openvino.txt"
    )
    monkeypatch.chdir(ROOT / "tests")
    assert str(ROOT / "requirements/vad.txt") in shlex.split(distribution.how_to_install("vad"))
    monkeypatch.setattr(distribution, "find_spec", lambda _: None)  # as uv makes environments
    monkeypatch.setattr(sys, "executable", "/e/bin/python")
    assert distribution.how_to_install("vad").startswith("uv pip install --python /e/bin/python -r ")


def test_installed_the_advice_names_the_distribution(monkeypatch, tmp_path):
    monkeypatch.setattr(distribution, "_PARENT", tmp_path)
    assert str(MissingExtraError("onnx", "onnx")) == (
        "onnx is not installed; run: pip install 'speakerlab-recipes[onnx]'"
    )
    assert (
        distribution.how_to_install("onnx", "openvino") == "pip install 'speakerlab-recipes[onnx,openvino]'"
    )


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages with ours, as pip leaves it."""
    shutil.copytree(
        ROOT / "speakerlab", tmp_path / "speakerlab", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "speakerlab_recipes.py", tmp_path)
    (tmp_path / "speakerlab_recipes-0.1.0.dist-info").mkdir()
    return tmp_path


def call(site, *command, before=""):
    env = {"PYTHONPATH": f"{before}:{site}" if before else str(site)}
    command = command or ("-c", "import speakerlab_recipes as s; s.run()", "--version")
    done = subprocess.run(
        [sys.executable, "-P", *command] if sys.version_info >= (3, 11) else [sys.executable, *command],
        cwd=site.parent, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("theirs_came_last", [False, True])
def test_a_mixture_with_the_other_package_is_refused(site, theirs_came_last):
    assert call(site)[:2] == (0, "speakerlab-recipes 0.1.0\n")
    (site / f"{THEIRS}.dist-info").mkdir()
    if theirs_came_last:
        (site / "speakerlab" / "__init__.py").write_text("")
        (site / "speakerlab" / "bin" / "train.py").write_text("raise RuntimeError('theirs')")
    remedy = "run: pip uninstall -y speakerlab speakerlab-recipes; then install speakerlab-recipes again\n"
    expected = f"speakerlab: {site} also holds {THEIRS}, another project's package; {remedy}"
    assert call(site) == (1, "", expected)
    assert call(site, "-m", "speakerlab.bin.list_people", "--help") == (1, "", expected)


def test_what_is_left_after_the_other_package_was_removed_is_refused(site):
    (site / "speakerlab" / "__init__.py").unlink()  # pip removed it with the other package
    status, out, err = call(site)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "is incomplete: another package of this name was removed; run: pip uninstall" in err


def test_a_folder_that_comes_before_ours_is_named(site, tmp_path):
    (tmp_path / "clone" / "speakerlab").mkdir(parents=True)
    (tmp_path / "clone" / "speakerlab" / "__init__.py").write_text("")
    status, out, err = call(site, before=tmp_path / "clone")
    assert (status, out) == (1, "")
    assert err == (
        f"speakerlab: {tmp_path}/clone/speakerlab is another package of this name; "
        "take its folder from PYTHONPATH\n"
    )
