"""path.sh: which Python is used, and what is installed where; pip and uv are stubs that note their calls."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "steps" / "lib" / "check_requirements.py"
# Stands for every Python outside and inside the environment, and for uv. Requirements are met once `-r` was
# installed.
STUB = """#!/bin/bash
root='{root}' last=${{!#}}
make() {{
  mkdir -p "$last/bin" && cp "$0" "$last/bin/python" && cp "$0" "$last/bin/python3"
  echo "PATH='$(cd "$last/bin" && pwd)':\\$PATH" >"$last/bin/activate"
}}
case "$*" in
  *version_info*) exit 0 ;;
  *"import ensurepip"*) [[ ! -e $root/no_venv ]] ;;
  *check_requirements.py*) [[ -e $root/installed ]] ;;
  "-m venv "*) make ;;
  "venv --seed "*)
    echo "uv $*; index $UV_DEFAULT_INDEX" >>"$root/calls"
    [[ -e $root/uv_works ]] && make ;;
  "-m pip install"*)
    echo "$*" >>"$root/calls"
    [[ "$*" != *+cpu* || -e $root/has_cpu_build ]] || exit 1
    [[ ! -e $root/no_network ]] || exit 1
    [[ "$*" != *"-r requirements"* ]] || touch "$root/installed" ;;
esac
"""
TOOLS = "basename bash cksum cp cut date dirname grep mkdir realpath rm sed touch uname".split()  # noqa: SIM905
NO_PYTHON = "#!/bin/bash\nexit 1\n"


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
    root = tmp_path / "the repo"
    shutil.copytree(ROOT / "steps" / "lib", root / "steps" / "lib")
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copy(ROOT / "path.sh", root)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").write_text(STUB.format(root=tmp_path))
    (tools / "python3").chmod(0o755)
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    return root


def in_shell(root, script, *arguments, **more):
    """Run ``script`` in ``root`` with the tools alone."""
    env = {"PATH": str(root.parent / "tools"), "HOME": os.environ.get("HOME", "/"), **more}
    # root may write everywhere, unless it gives up that right
    ordinary = [shutil.which("setpriv"), "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    command = [*ordinary, shutil.which("bash"), "-c", script, "bash", *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def source_path_sh(root, **more):
    done = in_shell(root, ". steps/lib/strict.sh; . path.sh; echo ready", **more)
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
    (stub_root.parent / "tools" / "python3").write_text(NO_PYTHON)
    done, _ = source_path_sh(stub_root)
    assert done.returncode == 1
    assert done.stderr.endswith("needs Python 3.10 to 3.14; install one, or uv, and put it on PATH\n")


def test_by_hand_a_failure_is_one_line_and_the_shell_lives_on(stub_root):
    (stub_root.parent / "tools" / "python3").write_text(NO_PYTHON)
    done = in_shell(stub_root, ". ./path.sh; echo $? $-")
    status, flags = done.stdout.split()
    assert status == "1"
    assert "e" not in flags
    assert done.stderr.splitlines()[-1] == (
        "bash: needs Python 3.10 to 3.14; install one, or uv, and put it on PATH"
    )
    assert "command not found" not in done.stderr


def test_by_hand_the_command_is_that_of_the_checkout(stub_root):
    (stub_root.parent / "installed").touch()
    done = in_shell(stub_root, ". ./path.sh; cd /; python3() { echo $PYTHONPATH $*; }; speakerlab fetch x")
    assert done.stdout == f"{stub_root} -m speakerlab.cli fetch x\n"
    assert done.stderr == ""


@pytest.fixture
def uv(stub_root):
    tools = stub_root.parent / "tools"
    shutil.copy(tools / "python3", tools / "uv")
    (stub_root.parent / "uv_works").touch()


def test_without_venv_module_and_uv_the_remedy_is_named(stub_root):
    (stub_root.parent / "no_venv").touch()
    done, calls = source_path_sh(stub_root)
    assert (done.returncode, calls) == (1, [])
    assert done.stderr.splitlines()[1:] == [
        "bash: python3 has no venv module; on Debian: apt install python3-venv; elsewhere install uv"
    ]


def test_without_venv_module_uv_makes_the_environment_and_pip_fills_it(stub_root, uv):
    (stub_root.parent / "no_venv").touch()
    done, calls = source_path_sh(stub_root, PIP_INDEX_URL="https://example.org/simple")
    assert done.stdout == "ready\n"
    assert calls[0] == "uv venv --seed --python python3 .venv; index https://example.org/simple"
    assert calls[1:3] == ["torch==2.13.0+cpu", "torch==2.13.0"]
    assert len(calls) == 4


def test_without_a_usable_python_uv_finds_one(stub_root, uv):
    (stub_root.parent / "tools" / "python3").write_text(NO_PYTHON)
    done, calls = source_path_sh(stub_root)
    assert done.stdout == "ready\n"
    assert calls[0] == "uv venv --seed --python >=3.10,<3.15 .venv; index "


def test_an_environment_without_pip_is_made_anew(stub_root):
    """What Debian's venv leaves when it fails."""
    (stub_root / ".venv" / "bin").mkdir(parents=True)
    (stub_root / ".venv" / "bin" / "python").write_text(NO_PYTHON)
    (stub_root / ".venv" / "bin" / "python").chmod(0o755)
    (stub_root / ".venv" / "remains").touch()
    done, calls = source_path_sh(stub_root)
    assert (done.stdout, len(calls)) == ("ready\n", 3)
    assert not (stub_root / ".venv" / "remains").exists()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_what_fails_behind_a_proxy_names_it_without_its_password(stub_root, name):
    (stub_root.parent / "no_network").touch()
    done, _ = source_path_sh(stub_root, **{name: "http://ann:secret@proxy.example.org:3128"})
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == (
        "bash: torch could not be installed (through the proxy http://proxy.example.org:3128); "
        "see pip's message above"
    )
    done, _ = source_path_sh(stub_root)
    assert done.stderr.splitlines()[-1] == "bash: torch could not be installed; see pip's message above"


@pytest.fixture
def read_only(stub_root):
    """Make the checkout read-only."""
    for path in [stub_root, *stub_root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield
    for path in [stub_root, *stub_root.rglob("*")]:
        path.chmod(0o755)


@pytest.mark.usefixtures("read_only")
def test_a_read_only_checkout_keeps_its_environment_in_the_cache(stub_root):
    cache = stub_root.parent / "cache"
    done, calls = source_path_sh(stub_root, XDG_CACHE_HOME=str(cache))
    assert done.stdout == "ready\n", done.stderr
    (environment,) = (cache / "speakerlab").iterdir()
    assert re.fullmatch(r"environment-\d+", environment.name)
    assert not (stub_root / ".venv").exists()
    again, later = source_path_sh(stub_root, XDG_CACHE_HOME=str(cache))
    assert (again.stdout, later) == ("ready\n", calls)


@pytest.mark.usefixtures("read_only")
def test_a_read_only_checkout_without_a_cache_is_one_line(stub_root):
    (stub_root.parent / "file").touch()
    done, calls = source_path_sh(stub_root, XDG_CACHE_HOME=str(stub_root.parent / "file"))
    assert (done.returncode, calls) == (1, [])
    assert done.stderr.splitlines()[-1].endswith("is read-only; set XDG_CACHE_HOME to another folder")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "exp/demo: cannot be written; give another folder with --exp"),
        (["--exp", "../out"], "data/demo: cannot be written; give another folder with --data"),
        (["--recipe", "egs/x/y"], "egs/x/y/exp: cannot be written; give another folder with --exp"),
    ],
)
def test_results_in_a_read_only_checkout_are_one_line(stub_root, options, said):
    shutil.copy(ROOT / "run.sh", stub_root)
    (stub_root / "egs/x/y").mkdir(parents=True)
    (stub_root / "egs/x/y/config.yaml").write_text("seed: 1\n")
    for folder in (stub_root, stub_root / "egs/x/y"):
        folder.chmod(0o555)
    done = in_shell(stub_root, 'bash run.sh "$@"', *options)
    for folder in (stub_root, stub_root / "egs/x/y"):
        folder.chmod(0o755)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"run.sh: {said}\n")


def test_a_path_with_a_colon_is_one_line(stub_root):
    root = stub_root.rename(stub_root.with_name("a:b"))
    done, calls = source_path_sh(root)
    assert (done.returncode, calls) == (1, [])
    assert done.stderr == f"bash: {root}: Python cannot work in a folder with a colon in its path; move it\n"


def test_the_supported_versions_are_the_same_everywhere():
    text = (ROOT / "pyproject.toml").read_text()
    (wanted,) = re.findall(r'requires-python = "(.*)"', text)
    assert wanted == ">=3.10,<3.15"
    script = (ROOT / "steps/lib/make_environment.sh").read_text()
    assert f"python_versions='{wanted}'" in script
    for path in (script, CHECK.read_text()):
        assert re.findall(r"\((3, \d+)\)", path) == ["3, 10", "3, 14"]
