"""A server with the published model, and Debian's chromium with a microphone that plays a recording."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from speakerlab.io import audio
from speakerlab.types import Waveform

ROOT = Path(__file__).parents[2]
START_S = 120
FAKE = ("--use-fake-device-for-media-stream",)
ALLOWED = "--use-fake-ui-for-media-stream"


class Server:
    """``speakerlab serve`` in a process of its own."""

    def __init__(self, folder, *options, host="127.0.0.1", token=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.token = f"http://127.0.0.1:{self.port}", token
        self.log = folder / "server.log"
        command = [sys.executable, "-m", "speakerlab.cli", "serve", "--cpu", "--host", host]
        command += ["--port", str(self.port), "--store", str(folder / "people.db"), *map(str, options)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self.wait()

    def wait(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.call("GET", "/v1/ready")[0] == 200:
                    return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"the server did not start: {self.log.read_text()}")

    def call(self, method, path, body=None, content_type="audio/wav"):
        """(status, answer) of a request."""
        headers = {"Content-Type": content_type} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                text = response.read()
                return response.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def enrol(self, name, path):
        """Enrol a recording; returns the speaker's id."""
        query = urllib.parse.urlencode({"name": name})
        status, told = self.call("POST", f"/v1/enrolments?{query}", path.read_bytes())
        assert status == 201, told
        return told["speaker_id"]

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def voices(talkers, tmp_path_factory):
    """Files of two talkers, two sentences each: ``voices[talker][sentence]``."""
    folder = tmp_path_factory.mktemp("voices")
    return [
        [written(folder / f"talker{row}-{column}.wav", one) for column, one in enumerate(sentences)]
        for row, sentences in enumerate(talkers)
    ]


def written(path, waveform):
    audio.write(path, waveform)
    return path


@pytest.fixture(scope="session")
def short(talkers, tmp_path_factory):
    """1.5 s of the first talker: speech, and less than an enrolment needs."""
    waveform = talkers[0][0]
    cut = Waveform(waveform.samples[: int(1.5 * waveform.sample_rate)], waveform.sample_rate)
    return written(tmp_path_factory.mktemp("short") / "short.wav", cut)


@pytest.fixture(scope="session")
def playwright():
    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="session")
def chromium(playwright):
    """``chromium(flags)``: a browser with these flags, started once."""
    path = os.environ.get("SPEAKERLAB_TEST_CHROMIUM")
    if not path:
        pytest.fail("run tests/browser/run.sh, which finds or installs chromium")
    started = {}

    def start(flags):
        if flags not in started:
            args = ["--no-sandbox", *flags]  # Debian's chromium refuses root with its sandbox
            started[flags] = playwright.chromium.launch(executable_path=path, args=args)
        return started[flags]

    yield start
    for browser in started.values():
        browser.close()


@pytest.fixture
def visit(chromium, server):
    """``visit("identify", plays=WAV)``: a page of the server, at a view.

    Afterwards no script of it may have failed and nothing may have been refused by its security policy.
    """
    contexts, faults = [], []

    def open_page(view="verify", *, plays=None, flags=(ALLOWED,), base=None, **options):
        if plays is not None:
            flags = (*FAKE, *flags, f"--use-file-for-fake-audio-capture={plays}")
        context = chromium(tuple(flags)).new_context(**{"locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda told: faults.append(told.text) if _is_fault(told) else None)
        page.goto(f"{base or server.url}/page/#/{view}")
        page.locator("h1").wait_for()
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def _is_fault(told):
    """Whether a line of the console is one; that a request was answered with 4xx is told by the page."""
    return told.type in {"error", "warning"} and "Failed to load resource" not in told.text
