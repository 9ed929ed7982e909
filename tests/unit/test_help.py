"""The help of every command: how it is called, defaults named once and only where there is one, no markup."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from speakerlab import __version__, cli
from speakerlab.bin import entry

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path.stem
    for path in (ROOT / "speakerlab" / "bin").glob("*.py")
    if "    entry.run(main" in path.read_text()
)


def help_of(capsys, monkeypatch, *words):
    """What ``speakerlab WORDS --help`` prints when its program file is called cli.py."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/cli.py", *words, "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_the_help_of_every_module_is_for_people(name):
    parser = importlib.import_module(f"speakerlab.bin.{name}").options()
    text = " ".join(parser.format_help().split())
    assert not re.findall(r"\(default: (?:None|False|True|\[|\))|``|==SUPPRESS==", text)
    for option in re.split(r" (?=--[a-z])", text):
        assert len(re.findall(r"default:", option)) <= 1, option


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_is_shown_as_it_is_typed(capsys, monkeypatch, command):
    assert help_of(capsys, monkeypatch, command).startswith(f"usage: speakerlab {command} [-h]")


def test_the_first_help_says_what_it_is_for(capsys, monkeypatch):
    lines = help_of(capsys, monkeypatch).splitlines()
    assert lines[0] == "usage: speakerlab [-h] [--version] COMMAND ..."
    assert lines[2].startswith("Compare, enrol and identify speakers")
    assert lines[4] == "Example: speakerlab verify ann1.wav ann2.wav"
    listed = {line.split()[0] for line in lines if line.startswith("    ")}
    assert listed >= set(cli.COMMANDS)


def test_defaults():
    parser = entry.parser("Uses ``a`` and ``b``.")
    parser.add_argument("audio", nargs="*", default=[], help="recordings")
    parser.add_argument("--given", default=3, help="a number")
    parser.add_argument("--none", help="nothing")
    parser.add_argument("--flag", action="store_true", help="a switch")
    parser.add_argument("--words", nargs="+", default=["x", "y"], help="several")
    parser.add_argument("--own", default=4, help="a number (default: the model's)")
    parser.add_argument("--share", default="5%", help="at most 100%% of it")
    lines = [line.strip() for line in parser.format_help().splitlines()]
    assert "Uses 'a' and 'b'." in lines
    for line in (
        "audio                 recordings",
        "--given GIVEN         a number (default: 3)",
        "--none NONE           nothing",
        "--flag                a switch",
        "several (default: x y)",
        "--own OWN             a number (default: the model's)",
        "--share SHARE         at most 100% of it (default: 5%)",
    ):
        assert line in lines, line


@pytest.mark.parametrize("command", ["speakerlab.cli verify", "speakerlab.bin.train"])
def test_wrong_usage_names_the_command(command):
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--surplus"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    name = {"speakerlab.cli verify": "speakerlab verify"}.get(command, f"python -m {command}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {name} [-h]")
    assert f"\n{name}: error: " in done.stderr


def test_version(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["speakerlab", "--version"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, capsys.readouterr().out) == (0, f"speakerlab-recipes {__version__}\n")
