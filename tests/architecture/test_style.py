"""Sizes, names, lint, types, shell syntax, help texts and configurations of the whole tree."""

import ast
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from speakerlab import config
from speakerlab.train.experiment import ExperimentConfig

ROOT = Path(__file__).parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    if (ROOT / name).exists()
]  # fmt: skip
LIBRARY = [p for p in TRACKED if p.suffix == ".py" and p.is_relative_to(ROOT / "speakerlab")]
SHELL = [p for p in TRACKED if p.suffix == ".sh" and not p.is_symlink()]
STEPS = [p for p in SHELL if p.parent == ROOT / "steps"] + [ROOT / "run.sh"]
BINS = [p.stem for p in LIBRARY if p.parent.name == "bin" and "\n    entry.run(main" in p.read_text()]
SCRIPTS_DIR = Path(sys.executable).parent


def relative(path):
    return str(path.relative_to(ROOT))


def run(*command):
    env = {**os.environ, "PATH": f"{SCRIPTS_DIR}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_tree_was_listed():
    assert len(LIBRARY) > 30
    assert len(STEPS) >= 9
    assert len(BINS) >= 9


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_sizes_and_names(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    assert not re.search(r"_(v2|new|old|deprecated)$", path.stem)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            limit = 80 if node.name in {"forward", "main"} else 60
            assert node.end_lineno - node.lineno < limit, f"{path}:{node.lineno} {node.name}"


def test_the_driver_is_short():
    assert (ROOT / "run.sh").read_text().count("\n") <= 150


def test_ruff_lint_and_format():
    done = run("ruff", "check", ".")
    assert done.returncode == 0, done.stdout
    done = run("ruff", "format", "--check", ".")
    assert done.returncode == 0, done.stdout


def test_mypy_strict():
    done = run("mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SHELL, ids=relative)
def test_shell_scripts(path):
    assert run("bash", "-n", str(path)).returncode == 0
    done = run("shellcheck", "-x", str(path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", STEPS, ids=relative)
def test_every_step_explains_itself(path):
    done = run("bash", str(path), "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert "Example: " in done.stdout
    assert "(default: )" not in done.stdout
    done = run("bash", str(path), "--no-such-option", "1")
    assert done.returncode == 2
    assert "unknown option 'no-such-option'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", BINS)
def test_every_command_explains_itself(name):
    done = run(sys.executable, "-m", f"speakerlab.bin.{name}", "--help")
    assert done.returncode == 0, done.stderr
    assert "Example: " in done.stdout
    assert done.stdout.startswith(f"usage: python -m speakerlab.bin.{name} [-h]")
    assert run(sys.executable, "-m", f"speakerlab.bin.{name}", "--no-such").returncode == 2


def test_every_configuration_loads(monkeypatch):
    monkeypatch.chdir(ROOT)
    paths = [p for p in TRACKED if p.name == "config.yaml" and p.is_relative_to(ROOT / "egs")]
    for path in [ROOT / "conf" / "config.yaml", *paths]:
        config.load(ExperimentConfig, path)


def test_no_copies_and_no_links_but_the_driver():
    seen = {}
    for path in TRACKED:
        if path.is_symlink():
            assert path.name == "run.sh", f"{path} is a link"
            assert path.resolve() == ROOT / "run.sh"
            continue
        if path.stat().st_size > 200:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert digest not in seen, f"{path} equals {seen.get(digest)}"
            seen[digest] = path


def test_binary_files_are_small_pictures_of_the_docs():
    binary = [path for path in TRACKED if b"\0" in path.read_bytes()[:8000]]
    assert {path.name for path in binary} >= {"det.png", "report.png"}
    for path in binary:
        assert (path.parent, path.suffix) == (ROOT / "docs" / "images", ".png"), path
        assert path.stat().st_size < 150_000, path


def test_links_of_the_docs_lead_somewhere():
    for path in TRACKED:
        if path.suffix == ".md":
            for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
                assert (path.parent / target).exists(), f"{path}: {target}"


def test_nothing_speaks_of_one_machine():
    marks = ("/wo" + "rk/", "/fa" + "rm/", "pypi.org/" + "simple", "deb.debian" + ".org")
    for path in TRACKED:
        if path.suffix in {".py", ".sh", ".md", ".yaml", ".toml", ".conf", ".txt"}:
            text = path.read_text()
            assert not [m for m in marks if m in text], path
