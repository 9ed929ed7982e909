"""What deploy/ holds is well-formed; the image's steps give a server that answers as this checkout does."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from conftest import save_tiny

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def run(*command, **kwargs):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **kwargs)


def test_the_dockerfile_is_clean_and_copies_what_there_is():
    done = run("hadolint", DEPLOY / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), name


def test_the_unit_is_valid(tmp_path):
    text = (DEPLOY / "speakerlab.service").read_text()
    program = tmp_path / "speakerlab"
    shutil.copy("/bin/true", program)
    unit = tmp_path / "speakerlab.service"
    unit.write_text(text.replace("/opt/speakerlab/bin/speakerlab", str(program)))
    done = run("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(text.replace("[Service]", "[Srevice]"))
    assert run("systemd-analyze", "verify", unit).stderr  # it can fail


def test_the_compose_file_names_what_is_here():
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    server = told["services"]["server"]
    assert (DEPLOY / server["build"]["context"] / server["build"]["dockerfile"]).is_file()
    assert server["read_only"] is True
    mounted = {volume.split(":")[0] for one in told["services"].values() for volume in one["volumes"]}
    assert mounted == set(told["volumes"])
    from speakerlab.bin import serve_speakers

    parsed = serve_speakers.options().parse_args(server["command"][1:])
    assert (parsed.host, parsed.store) == ("0.0.0.0", "postgresql://speakerlab@database/speakerlab")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that deploy/install.sh makes of this checkout, with nothing of the running environment."""
    folder = tmp_path_factory.mktemp("opt") / "speakerlab"
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = run("sh", DEPLOY / "install.sh", ROOT, folder, env=env, cwd="/")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("speakerlab-recipes ")
    return folder


def test_the_steps_of_the_image_give_a_server(installed, tmp_path):
    save_tiny(tmp_path / "m", threshold=0.5)
    env = {**os.environ, "PYTHONPATH": ""}
    command = [installed / "bin/speakerlab", "serve", "--cpu", "--model", "m", "--port", "0"]
    server = subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        lines = []
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"listening at (http://127\.0\.0\.1:\d+)/", line):
                break
        else:
            raise AssertionError("".join(lines))
        assert json.load(urllib.request.urlopen(f"{found[1]}/v1/ready")) == {"status": "ready"}
        assert b"<html" in urllib.request.urlopen(f"{found[1]}/page/").read()
    finally:
        server.terminate()
        assert server.wait(60) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
