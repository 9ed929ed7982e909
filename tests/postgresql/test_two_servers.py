"""Two servers on one PostgreSQL behind nginx with ``deploy/proxy.conf``: one store, whoever answers."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import save_tiny
from serving import encoded, pcm16
from websockets.sync.client import connect

from speakerlab.serve.keys import KeyRing

HOST = "speakers.example"
PROXY = Path(__file__).parents[2] / "deploy" / "proxy.conf"
WAIT_S = 60


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(port, process, log):
    end = time.monotonic() + WAIT_S
    while not listens(port):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


class Site:
    """Two servers, and nginx before them."""

    def __init__(self, folder, place):
        self.folder = folder
        self.token = KeyRing(folder / "keys.json").add("tests", {"admin"})
        save_tiny(folder / "m", threshold=0.5)
        self.ports = [free_port(), free_port()]
        self.servers = [self._server(place, port) for port in self.ports]
        self.port = free_port()
        self.nginx = self._proxy()

    def _server(self, place, port):
        command = [sys.executable, "-m", "speakerlab.cli", "serve", "--cpu", "--model", "m", "--port", port]
        command += ["--store", place, "--min-speech", "0", "--duplicates", "off", "--allow-host", HOST]
        log = self.folder / f"{port}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.folder,
                stderr=stream,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        wait_for(port, process, log)
        return process

    def _proxy(self):
        key, certificate = self.folder / "site.key", self.folder / "site.crt"
        made = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            f"/CN={HOST}",
        ]
        made += ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", key, "-out", certificate]
        subprocess.run(list(map(str, made)), check=True, capture_output=True)
        text = PROXY.read_text()
        for old, new in {
            "127.0.0.1:8001": f"127.0.0.1:{self.ports[0]}",
            "127.0.0.1:8002": f"127.0.0.1:{self.ports[1]}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/ssl/speakers.crt": str(certificate),
            "/etc/ssl/speakers.key": str(key),
        }.items():
            assert old in text
            text = text.replace(old, new)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        log, settings = self.folder / "nginx.log", self.folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        settings.write_text(
            f"daemon off; error_log {log}; pid {self.folder}/nginx.pid; {user} events {{}}\n"
            f"http {{ access_log off; {folders}\n{text} }}\n"
        )
        log.touch()
        process = subprocess.Popen(["nginx", "-c", settings, "-e", log])
        wait_for(self.port, process, log)
        return process

    def call(self, method, path, body=None, port=None):
        """(status, answer) through the proxy, or of the server at ``port``."""
        if port is None:
            context = ssl.create_default_context(cafile=self.folder / "site.crt")
            connection = Tls(self.port, context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        headers = {"Host": HOST, "Authorization": f"Bearer {self.token}"}
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None

    def close(self):
        for process in (self.nginx, *self.servers):
            process.terminate()
        for process in (self.nginx, *self.servers):
            process.wait(WAIT_S)


class Tls(http.client.HTTPSConnection):
    """To this machine, which is asked for the certificate of ``HOST``."""

    def __init__(self, port, context):
        super().__init__("127.0.0.1", port, timeout=WAIT_S, context=context)
        self._tls = context

    def connect(self):
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=HOST)


@pytest.fixture
def site(tmp_path, place):
    assert shutil.which("nginx"), "run tests/postgresql/run.sh, which installs nginx"
    found = Site(tmp_path, place)
    yield found
    found.close()


def test_each_server_sees_what_the_other_did_and_one_may_die(site, talkers):
    wavs = [encoded(sentences[0]) for sentences in talkers]
    ids = {}
    for number in range(6):  # nginx hands requests to both in turn
        status, told = site.call("POST", f"/v1/enrolments?name=p{number}", wavs[number % len(wavs)])
        assert status == 201, told
        ids[told["name"]] = told["speaker_id"]
    counts = [
        {tuple(sorted(one["name"] for one in site.call("GET", "/v1/speakers", port=port)[1]))}
        for port in site.ports
    ]
    assert counts == [{tuple(sorted(ids))}] * 2
    answers = [site.call("POST", "/v1/identify?top_k=10", wavs[0], port=port) for port in site.ports]
    assert answers[0] == answers[1]
    assert answers[0][1]["accepted"]
    for _ in range(4):
        assert site.call("POST", "/v1/identify?top_k=10", wavs[0]) == answers[0]
    gone = answers[0][1]["speaker"]
    assert site.call("DELETE", f"/v1/speakers/{gone['speaker_id']}", port=site.ports[0])[0] == 200
    left = site.call("POST", "/v1/identify?top_k=10", wavs[0], port=site.ports[1])[1]
    assert gone["speaker_id"] not in {one["speaker_id"] for one in left["candidates"]}
    assert len(left["candidates"]) == 5
    site.servers[0].send_signal(signal.SIGKILL)
    site.servers[0].wait(WAIT_S)
    for _ in range(4):  # every one of them, whichever server it was meant for
        assert site.call("POST", "/v1/identify?top_k=10", wavs[0]) == (200, left)
    assert site.call("POST", "/v1/enrolments?name=after", wavs[0])[0] == 201
    assert len(site.call("GET", "/v1/speakers")[1]) == 6


def test_a_live_session_passes_the_proxy(site, talkers):
    wave = talkers[0][0]
    context = ssl.create_default_context(cafile=site.folder / "site.crt")
    with connect(
        f"wss://{HOST}:{site.port}/v1/live",
        ssl=context,
        sock=socket.create_connection(("127.0.0.1", site.port)),
    ) as live:
        live.send(json.dumps({"rate": wave.sample_rate, "key": site.token}))
        samples = pcm16(wave)
        for number, start in enumerate(range(0, len(samples), 16000)):
            live.send(struct.pack("<I", number) + samples[start : start + 16000])
        live.send('{"end": true}')
        told = [json.loads(message) for message in live]
    assert told[-1]["is_final"]
    assert told[-1]["recording"]["duration_s"] == pytest.approx(wave.duration_s)


def test_only_the_name_of_the_site_is_served(site):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.ports[0])) as connection:
        connection.request("GET", "/v1/health", headers={"Host": "elsewhere.example"})
        assert connection.getresponse().status == 403
    assert re.search(r"server_name +speakers\.example;", PROXY.read_text())
