"""``speakerlab serve`` as a process: what it refuses, what it finishes, two of them on one store."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import save_tiny, speakerlab
from serving import encoded


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


class Server:
    """One process, from when it listens."""

    def __init__(self, model, folder, *options):
        command = [
            sys.executable,
            "-m",
            "speakerlab.cli",
            "serve",
            "--cpu",
            "--port",
            "0",
            "--model",
            str(model),
        ]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*command, *options], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
        )
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"listening at http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("".join(self.lines))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        self.lines += list(self.process.stderr)

    def post(self, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def stop(self, sent=signal.SIGTERM):
        self.process.send_signal(sent)
        return self.process.wait(60)


@pytest.fixture
def served(model, tmp_path):
    servers = []

    def start(*options):
        servers.append(Server(model, tmp_path, *options))
        return servers[-1]

    yield start
    for one in servers:
        one.process.kill()
        one.process.wait()


def test_what_was_accepted_is_finished_and_nothing_is_lost(served, talkers):
    server = served("--workers", "1", "--duplicates", "off", "--min-speech", "0")
    wav, answers = encoded(talkers[0][0]), []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(server.post(f"/v1/enrolments?name=p{n}", wav)))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while not answers and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.stop() in (0, -signal.SIGTERM, 143)
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [201] * len(answers)
    assert len(answers) == 6
    again = served()
    connection = http.client.HTTPConnection("127.0.0.1", again.port)
    connection.request("GET", "/v1/speakers")
    names = {one["name"] for one in json.loads(connection.getresponse().read())}
    assert names == {f"p{n}" for n in range(6)}
    assert not any("Traceback" in line for line in server.lines)


def test_two_processes_serve_one_store(served, talkers):
    one, two = served("--min-speech", "0"), served("--index", "index")
    wav = encoded(talkers[0][0])
    assert one.post("/v1/enrolments?name=Ann", wav)[0] == 201
    assert two.post("/v1/identify", wav)[1]["speaker"]["name"] == "Ann"
    assert one.stop(signal.SIGINT) in (0, 130, -signal.SIGINT)
    assert two.post("/v1/identify", wav)[1]["speaker"]["name"] == "Ann"


def test_addresses_that_others_reach_need_keys(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for options in (("--host", "0.0.0.0"), ("--allow-host", "speakers.example")):
        assert speakerlab("serve", "--model", model, "--cpu", "--port", "0", *options) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert "keys.json holds no keys; run: speakerlab keys add NAME --scopes admin" in said


def test_behind_a_proxy_only_its_name_is_served(served, talkers, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert speakerlab("keys", "add", "desk", "--scopes", "read") == 0
    token = capsys.readouterr().out.strip()
    server = served("--allow-host", "speakers.example")
    wav, key = encoded(talkers[0][0]), {"Authorization": f"Bearer {token}"}
    assert server.post("/v1/identify", wav, {**key, "Host": "speakers.example"})[0] == 200
    assert server.post("/v1/identify", wav, key)[0] == 403
    assert server.post("/v1/identify", wav, {"Host": "speakers.example"})[0] == 401


@pytest.mark.parametrize(("options", "why"), [
    (("--port", "99999"), "choose another --host or --port"),
    (("--host", "no.such.host.invalid"), "keys.json holds no keys"),
    (("--model", "nosuch.onnx"), "nosuch.onnx"),
    (("--legacy-routes", ",b"), "write MODE=GALLERY"),
    (("--workers", "-1"), "must be positive"),
    (("--threshold", "7"), "no cosine"),
    (("--store", "/dev/null/v.db"), "/dev/null"),
])  # fmt: skip
def test_options_that_cannot_be(model, tmp_path, monkeypatch, capsys, options, why):
    monkeypatch.chdir(tmp_path)
    assert speakerlab("serve", "--model", model, "--cpu", "--port", "0", *options) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert why in last
    assert last.startswith("speakerlab serve: ")


def test_keys_are_made_listed_and_removed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        speakerlab("keys", "add", "front desk", "--scopes", "read", "enrol", "--requests-per-minute", "60")
        == 0
    )
    token = capsys.readouterr().out.strip()
    assert speakerlab("keys", "list") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("\t")[2:] == ["enrol,read", "60", "front desk"]
    assert token.split("_")[2] not in line
    assert speakerlab("keys", "remove", token.split("_")[1]) == 0
    assert speakerlab("keys", "remove", token.split("_")[1]) == 1
    assert "there is no key" in capsys.readouterr().err
    (tmp_path / "keys.json").write_text("{")
    assert speakerlab("keys", "list") == 1
