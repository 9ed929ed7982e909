"""What clients may do wrong, or mean badly: a clear 4xx, bounded cost, and the server goes on."""

import asyncio
import io
import threading
import time
import zipfile

import numpy as np
import pytest
from conftest import save_tiny
from serving import encoded, start

from speakerlab.serve.engine import Limits
from speakerlab.serve.limits import RequestLimits
from speakerlab.voiceprint.gates import Gates

GATES = Gates(min_speech_s=None, cohesion=False, duplicates="off")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


@pytest.fixture
def client(model, tmp_path):
    _, client = start(
        model, tmp_path, gates=GATES, max_bytes=400_000, limits=Limits(max_audio_s=7.0),
        hosts=frozenset({"localhost", "127.0.0.1", "::1"}),
    )  # fmt: skip
    with client:
        yield client


@pytest.fixture(scope="module")
def wav(talkers):
    return encoded(talkers[0][0].samples[:80000])


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(10_000_000))
    return stream.getvalue()


def nan_wav():
    return encoded(np.full(32000, np.nan, np.float32), subtype="FLOAT")


@pytest.mark.parametrize(("body", "status", "code"), [
    (b"", 400, "body"),
    (b"hello, I am a recording", 415, "media_type"),
    (b"u1 touch /tmp/x; cat a.wav |\n", 415, "media_type"),
    (b"#!/bin/sh\n", 415, "media_type"),
    (b"<?xml version='1.0'?>", 415, "media_type"),
    (b"RIFF", 422, "audio"),
    (b"RIFF" + bytes(400), 422, "audio"),
    (b"OggS" + bytes(400), 422, "audio"),
    (b"fLaC" + bytes(400), 422, "audio"),
    (b"ID3" + bytes(4000), 422, "audio"),
    (b"\xff\xfb" + bytes(4000), 422, "audio"),
    (b"\x1aE\xdf\xa3" + bytes(400), 422, "audio"),
    (b"\0\0\0\x18ftypM4A " + bytes(400), 422, "audio"),
    (b"http://127.0.0.1/a.wav", 415, "media_type"),
    (b"/etc/passwd", 415, "media_type"),
], ids=range(15))  # fmt: skip
def test_bodies_that_are_no_recording(client, body, status, code):
    answer = client.post("/v1/identify", content=body)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert "\n" not in answer.json()["message"]
    assert "Traceback" not in answer.text


def test_recordings_that_cannot_be_used(client, wav, talkers):
    refused = {
        "truncated": wav[: len(wav) // 2],
        "zip": zipped(),
        "NaN": nan_wav(),
        "too long": encoded(np.tile(talkers[0][0].samples, 2)[: 8 * 16000], "FLAC"),
        "too short": encoded(np.zeros(100, np.float32)),
    }
    for what, data in refused.items():
        answer = client.post("/v1/enrolments", params={"name": what}, content=data)
        assert answer.status_code in (415, 422), (what, answer.text)
    assert client.get("/v1/speakers").json() == []  # nothing is half enrolled
    both = client.post(
        "/v1/enrolments", params={"name": "Ann"}, files=[("audio", wav), ("audio", wav[:5000])]
    )
    assert (both.status_code, both.json()["message"].split(":")[0]) == (422, "audio 2")
    assert client.get("/v1/speakers").json() == []


def test_silence_is_heard_and_not_decided_on(client, wav):
    silence = encoded(np.tile(np.float32([1e-4, 0]), 16000))
    found = client.post("/v1/verify", files={"first": wav, "second": silence}).json()
    assert (found["decision"], found["accepted"], found["llr"]) == ("uncertain", False, None)
    assert "second recording: silence" in found["reasons"][0]


def test_large_bodies_by_their_header_and_as_they_arrive(client):
    answer = client.post("/v1/identify", content=bytes(500_000))
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")

    def blocks():
        for _ in range(100):
            yield bytes(10_000)

    streamed = client.post("/v1/identify", content=blocks())  # chunked: no length is stated
    assert (streamed.status_code, streamed.json()["error"]) == (413, "too_large")
    form = client.post("/v1/verify", files={"first": bytes(300_000), "second": bytes(300_000)})
    assert form.status_code == 413


def call(app, messages, headers=()):
    """What ``app`` sends for a request that arrives in ``messages``: (body, seconds to wait before)."""
    sent, waiting = [], iter(messages)

    async def receive():
        body, pause = next(waiting)
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(k.encode(), v.encode()) for k, v in headers]}
    asyncio.run(app(scope, receive, send))
    return sent


def test_a_slow_body_is_not_waited_for():
    async def reads(scope, receive, send):
        while (await receive()).get("more_body"):
            pass

    app = RequestLimits(reads, max_bytes=1000, body_s=0.2)
    start_s = time.monotonic()
    sent = call(app, [(b"x", 0.05), (b"x", 0.05), (b"x", 30.0)])
    assert sent[0]["status"] == 408
    assert time.monotonic() - start_s < 2


@pytest.mark.parametrize(("headers", "status"), [
    ({"host": "evil.example"}, 403),
    ({"host": "localhost.evil.example"}, 403),
    ({"host": ""}, 403),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://localhost"}, 200),
    ({"host": "[::1]:8000", "origin": "http://[::1]:8000"}, 200),
    ({"host": "127.0.0.1:8000"}, 200),
    ({"host": "LOCALHOST"}, 200),
    ({"host": "[bad"}, 403),
])  # fmt: skip
def test_pages_of_other_sites_are_kept_out(client, headers, status):
    assert client.get("/v1/speakers", headers=headers).status_code == status


@pytest.mark.parametrize(("path", "params", "status"), [
    ("/v1/identify", {"top_k": 0}, 422),
    ("/v1/identify", {"top_k": 10**9}, 422),
    ("/v1/identify", {"top_k": "x"}, 422),
    ("/v1/identify", {"threshold": "nan"}, 422),
    ("/v1/identify", {"threshold": 2}, 422),
    ("/v1/identify", {"channel": 5}, 422),
    ("/v1/identify", {"channel": -1}, 422),
    ("/v1/identify", {"gallery": "../../etc"}, 404),
    ("/v1/identify", {"gallery": "a\0b"}, 404),
    ("/v1/verify", {"speaker_id": "' OR 1=1 --"}, 404),
    ("/v1/verify", {"speaker_id": "\0"}, 404),
    ("/v1/verify", {}, 400),
    ("/v1/enrolments", {"name": "a\0b"}, 409),
    ("/v1/enrolments", {"name": "x" * 500}, 422),
    ("/v1/none", {}, 404),
])  # fmt: skip
def test_parameters_that_cannot_be(client, wav, path, params, status):
    answer = client.post(path, params=params, content=wav)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error", "message"}


def test_forms_that_are_none(client, wav):
    kind = {"content-type": "multipart/form-data"}
    assert client.post("/v1/verify", content=b"x", headers=kind).status_code == 400
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post("/v1/verify", content=b"--b\r\n\r\nx", headers=kind).status_code == 400
    many = [("audio", wav[:100])] * 40
    assert client.post("/v1/enrolments", params={"name": "Ann"}, files=many).status_code == 400
    assert client.post("/v1/verify", data={"first": "text"}, files={"second": wav}).status_code == 400
    assert (
        client.post("/v1/speakers", content=b"{", headers={"content-type": "application/json"}).status_code
        == 422
    )
    assert client.post("/v1/speakers", json={"name": 7}).status_code == 422
    assert client.post("/v1/speakers", json=[]).status_code == 422


def test_more_than_may_wait_is_refused_and_told_when_to_come_again(model, tmp_path, wav, monkeypatch):
    service, client = start(model, tmp_path, gates=GATES, limits=Limits(workers=1, waiting=1))
    go_on, real = threading.Event(), service.pipeline.embedder.session.embed

    def held(batch):
        go_on.wait(20)
        return real(batch)

    monkeypatch.setattr(type(service.pipeline.embedder.session), "embed", lambda _, batch: held(batch))
    with client:
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/identify", content=wav)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while service.engine.pending < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = client.post("/v1/identify", content=wav)
        assert (refused.status_code, refused.json()["error"]) == (503, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/v1/ready").status_code == 503
        go_on.set()
        for thread in threads:
            thread.join()
        assert [one.status_code for one in answers] == [200, 200]
        assert client.post("/v1/identify", content=wav).status_code == 200
        assert service.engine.pending == 0


def test_a_bug_is_an_answer_without_its_traceback(client, wav, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("secret inside")

    monkeypatch.setattr("speakerlab.serve.service.Service.identify", fails)
    answer = client.post("/v1/identify", content=wav)
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert "secret" not in answer.text
    monkeypatch.undo()
    assert client.post("/v1/identify", content=wav).status_code == 200


def test_headers_that_keep_a_browser_safe(client):
    answer = client.get("/page/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/speakers").headers["cache-control"] == "no-store"
    assert client.get("/page/../service.py").status_code == 404
    assert client.get("/page/%2e%2e/service.py").status_code == 404
