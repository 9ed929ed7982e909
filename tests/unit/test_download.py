"""What a URL may send: size, time and redirects have limits, and a large answer takes no memory."""

import http.server
import io
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import soundfile

from speakerlab.bin import audio_arguments
from speakerlab.errors import AudioError, SpeakerLabError
from speakerlab.io import download
from speakerlab.pipeline.sources import find_one

RATE = 16000
MIB = 1 << 20


def wav_bytes():
    stream = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(stream, samples, RATE, format="WAV", subtype="PCM_16")
    return stream.getvalue(), np.rint(samples * 32767)


DATA, SAMPLES = wav_bytes()


@contextmanager
def serving(answer):
    """A server whose every GET calls ``answer(handler)``; gives its address, and the paths asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            with suppress(OSError):  # the client has had enough
                answer(self)

        def log_message(self, *_):
            pass

    asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def send(handler, data, **headers):
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def said(url):
    with pytest.raises(SpeakerLabError) as caught:
        find_one(url, RATE).read()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, AudioError)
    return caught.value.why.removeprefix(f"{url}: ")


@pytest.mark.parametrize("states_length", [True, False])
def test_a_whole_answer_is_decoded(states_length):
    headers = {"Content_Length": str(len(DATA))} if states_length else {}
    with serving(lambda one: send(one, DATA, **headers)) as (url, _):
        found = find_one(url + "/a", RATE).read()
    assert found.sample_rate == RATE
    np.testing.assert_allclose(found.samples[:, 0] * 32768, SAMPLES, atol=1.01)


def test_a_length_above_the_limit_is_refused_before_the_content(monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    start = time.monotonic()

    def answer(handler):
        send(handler, b"", Content_Length="1001")
        time.sleep(2)

    with serving(answer) as (url, _):
        assert said(url) == "cannot be fetched: it holds 1,001 bytes; 1,000 is the limit"
        assert time.monotonic() - start < 1


def test_content_above_the_limit_ends_the_transfer(monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 3 * MIB)

    def endless(handler):
        send(handler, b"")
        while True:
            handler.wfile.write(bytes(MIB))

    with serving(endless) as (url, _):
        assert said(url) == "cannot be fetched: it holds more than 3,145,728 bytes, the limit"
    monkeypatch.setattr(download, "MAX_BYTES", len(DATA))
    with serving(lambda one: send(one, DATA)) as (url, _):
        assert len(find_one(url, RATE).read().samples) == RATE  # the limit itself is allowed


def test_an_answer_of_600_mib_takes_no_memory():
    """With the limits as they are: the peak of a process is within 100 MiB of what it was before."""

    def large(handler):
        send(handler, b"")
        for _ in range(600):
            handler.wfile.write(bytes(MIB))

    code = (
        "import resource, sys; from speakerlab.pipeline.sources import find_one\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try: find_one(sys.argv[1], 16000).read()\n"
        "except Exception as error: print(error)\n"
        "print((peak() - before) / 1024)"
    )
    with serving(large) as (url, _):
        done = subprocess.run(
            [sys.executable, "-c", code, url], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    assert done[0].endswith("it holds more than 536,870,912 bytes, the limit")
    assert float(done[1]) < 100


@pytest.mark.parametrize("where", ["headers", "content"])
def test_a_slow_answer_is_left_although_it_is_never_silent(monkeypatch, where):
    monkeypatch.setattr(download, "MAX_S", 0.5)

    def slow(handler):
        if where == "content":
            send(handler, b"RIFF")
        else:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        for _ in range(100):
            handler.wfile.write(b"0")
            time.sleep(0.05)

    start = time.monotonic()
    with serving(slow) as (url, _):
        assert said(url).endswith("not whole within 0.5 s")
    assert time.monotonic() - start < 3


def test_a_server_that_breaks_off(monkeypatch):
    with serving(lambda one: send(one, DATA[:1000], Content_Length=str(len(DATA)))) as (url, _):
        assert said(url).startswith("cannot be fetched: IncompleteRead")


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://127.0.0.1/a.wav", "data:,x", "FILE:///etc/hostname"]
)
def test_redirects_stay_on_the_web(target):
    def redirect(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    with serving(redirect) as (url, asked):
        why = said(url)
    assert "is not http or https" in why or "is not allowed" in why or "leads to" in why
    assert len(asked) == 1


def test_redirects_are_followed_for_a_while():
    def redirect(handler):
        if handler.path == "/there":
            return send(handler, DATA)
        handler.send_response(302)
        handler.send_header("Location", "/there" if handler.path == "/here" else "/round")
        handler.end_headers()
        return None

    with serving(redirect) as (url, asked):
        assert len(find_one(f"{url}/here", RATE).read().samples) == RATE
        assert asked == ["/here", "/there"]
        assert "302" in said(f"{url}/round")
        assert len(asked) < 20


@pytest.mark.parametrize("status", [b"HTTP/1.0 500 \x1b[31mred", b"\x1b[31mred\x00"])
def test_words_of_a_server_are_one_short_line_without_codes(status):
    with serving(lambda one: one.wfile.write(status + b"x" * 5000 + b"\r\n\r\n")) as (url, _):
        why = said(url)
    assert "red" in why
    assert why.isprintable()
    assert len(why) < 300


@pytest.mark.parametrize("url", ["http://[::1/a.wav", "http://[here]/a.wav"])
def test_brackets_that_hold_no_address(url):
    assert said(url)  # its first words differ between versions of Python


def test_file_urls_name_this_machine(tmp_path):
    (tmp_path / "a b.wav").write_bytes(DATA)
    url = (tmp_path / "a b.wav").as_uri()
    assert len(find_one(url, RATE).read().samples) == RATE
    assert len(find_one(url.replace("file://", "file://localhost"), RATE).read().samples) == RATE
    other = url.replace("file://", "file://elsewhere")
    assert said(other) == "names another machine; write file:///PATH"


@pytest.mark.parametrize("url", ["http://127.0.0.1/a\nb", "http://127.0.0.1/\x01", "file:///etc/host%00name"])
def test_control_characters(url):
    with pytest.raises(SpeakerLabError, match="is no URL: it holds a control character") as caught:
        find_one(url, RATE)
    assert "\n" not in str(caught.value)


def test_standard_input_has_the_same_limit(monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 10)
    for size, is_allowed in ((10, True), (11, False)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * size)))
        if is_allowed:
            assert audio_arguments.recording("-") == b"x" * size
        else:
            with pytest.raises(SpeakerLabError, match="more than 10 bytes on standard input; give a file"):
                audio_arguments.recording("-")
