"""path.sh: which Python is used, and what is installed where; pip is a stub that writes down its calls."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "steps" / "lib" / "check_requirements.py"
# Stands for every Python outside and inside .venv. Requirements are met once `-r` was installed.
STUB = """#!/bin/bash
case "$*" in
  *version_info*) exit 0 ;;
  *check_requirements.py*) [[ -e {root}/installed ]] ;;
  "-m venv .venv")
    mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/python3
    echo 'PATH=$PWD/.venv/bin:$PATH' >.venv/bin/activate ;;
  "-m pip install"*)
    echo "$*" >>{root}/calls
    [[ "$*" != *+cpu* || -e {root}/has_cpu_build ]] || exit 1
    [[ "$*" != *"-r requirements"* ]] || touch {root}/installed ;;
  --version) echo Python 3.11.9 ;;
esac
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("numpy>=1.20", ""),
        ("numpy", ""),
        ("numpy>=99", "is older than 99"),
        ("numpy==1.2.3", "is not 1.2.3"),
        ("no-such-package>=1", "no-such-package is not installed"),
        ("# only a comment", ""),
    ],
)
def test_requirements_are_compared_by_number(tmp_path, line, said):
    (tmp_path / "r.txt").write_text(f"{line}\n")
    command = [sys.executable, str(CHECK), str(tmp_path / "r.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == bool(said)
    assert said in done.stderr
    quiet = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False)
    assert (quiet.returncode, quiet.stderr) == (bool(said), "")


@pytest.fixture
def stub_root(tmp_path):
    """A checkout with the environment scripts alone, and a PATH on which Python is the stub."""
    root = tmp_path / "repo"
    shutil.copytree(ROOT / "steps" / "lib", root / "steps" / "lib")
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copy(ROOT / "path.sh", root)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").write_text(STUB.format(root=tmp_path))
    (tools / "python3").chmod(0o755)
    for name in ("bash", "cp", "mkdir", "touch", "sed", "date", "basename", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    return root


def source_path_sh(root, **more):
    env = {"PATH": str(root.parent / "tools"), "HOME": os.environ.get("HOME", "/"), **more}
    script = ". steps/lib/strict.sh; . path.sh; echo ready"
    done = subprocess.run(
        [shutil.which("bash"), "-c", script], cwd=root, env=env, capture_output=True, text=True, check=False
    )
    calls = root.parent / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [line.removeprefix("-m pip install ") for line in lines]


def test_an_active_environment_that_satisfies_is_used_as_it_is(stub_root):
    (stub_root.parent / "installed").touch()
    done, calls = source_path_sh(stub_root)
    assert done.stdout == "ready\n"
    assert calls == []
    assert not (stub_root / ".venv").exists()


def test_a_cpu_only_machine_gets_the_cpu_build_where_there_is_one(stub_root):
    (stub_root.parent / "has_cpu_build").touch()
    done, calls = source_path_sh(stub_root)
    assert done.stdout == "ready\n"
    assert "setting up .venv" in done.stderr
    assert calls[0] == "torch==2.13.0+cpu"
    assert calls[1].startswith("-c requirements/constraints.txt -r requirements/core.txt")
    assert len(calls) == 2
    again, later = source_path_sh(stub_root)
    assert (again.stdout, later) == ("ready\n", calls)


def test_without_a_cpu_build_the_default_is_taken_and_said(stub_root):
    done, calls = source_path_sh(stub_root)
    assert calls[:2] == ["torch==2.13.0+cpu", "torch==2.13.0"]
    assert "set TORCH_INDEX_URL" in done.stderr
    assert done.stdout == "ready\n"


def test_another_index_for_torch(stub_root):
    _, calls = source_path_sh(stub_root, TORCH_INDEX_URL="https://example.org/cpu")
    assert calls[0] == "--index-url https://example.org/cpu torch==2.13.0"


def test_no_usable_python_is_one_line(stub_root):
    (stub_root.parent / "tools" / "python3").write_text("#!/bin/bash\nexit 1\n")
    done, _ = source_path_sh(stub_root)
    assert done.returncode == 1
    assert "needs Python 3.10, 3.11 or 3.12" in done.stderr
