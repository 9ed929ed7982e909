"""Live verification: refined as speech arrives, equal to the whole at the end, and every way to go wrong."""

import struct
import time

import numpy as np
import pytest
from conftest import save_tiny
from serving import encoded, pcm16, start
from starlette.websockets import WebSocketDisconnect

from speakerlab.errors import AudioError
from speakerlab.serve import live
from speakerlab.serve.engine import Limits
from speakerlab.serve.keys import KeyRing
from speakerlab.voiceprint.gates import Gates

GATES = Gates(min_speech_s=None, cohesion=False, duplicates="off")
RATE = 16000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5)


@pytest.fixture
def client(model, tmp_path, talkers):
    _, client = start(model, tmp_path, gates=GATES, limits=Limits(max_audio_s=20.0))
    with client:
        for name, talker in zip(("Ann", "Bob"), talkers, strict=True):
            client.post("/v1/enrolments", params={"name": name}, content=encoded(talker[0]))
        yield client


def pieces(waveform, seconds=0.25):
    data = pcm16(waveform)
    size = 2 * int(seconds * RATE)
    return [
        struct.pack("<I", n) + data[start : start + size] for n, start in enumerate(range(0, len(data), size))
    ]


def talk(client, waveform, **hello):
    """Every answer to a recording that is sent at once; each is waited for while it is due."""
    answers = []
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"rate": RATE, **hello})
        for number, piece in enumerate(pieces(waveform)):
            socket.send_bytes(piece)
            if number % 2:  # half a second more
                answers.append(socket.receive_json())
        socket.send_json({"end": True})
        while not answers[-1].get("is_final"):
            answers.append(socket.receive_json())
    return answers


def test_the_answer_is_refined_and_in_the_end_that_of_the_whole(client, talkers):
    answers = talk(client, talkers[0][1])
    whole = client.post("/v1/identify", content=encoded(talkers[0][1])).json()
    assert answers[-1]["score"] == pytest.approx(whole["score"], abs=1e-4)
    assert answers[-1]["candidates"][0]["name"] == whole["candidates"][0]["name"]
    assert answers[-1]["speech_s"] == pytest.approx(whole["recording"]["speech_s"], abs=0.05)
    assert len({one["score"] for one in answers}) > 3
    assert answers[0]["decision"] == "uncertain"
    assert not answers[0]["is_enough"]
    for one in answers:
        assert one["is_enough"] == (one["speech_s"] >= live.ENOUGH_S and one["decision"] != "uncertain")
    assert [one["is_final"] for one in answers] == [False] * (len(answers) - 1) + [True]


def test_a_claim_is_verified(client, talkers):
    ids = {one["name"]: one["speaker_id"] for one in client.get("/v1/speakers").json()}
    answers = talk(client, talkers[0][1], speaker_id=ids["Bob"], threshold=0.9999)
    whole = client.post(
        "/v1/verify", params={"speaker_id": ids["Bob"]}, content=encoded(talkers[0][1])
    ).json()
    assert answers[-1]["score"] == pytest.approx(whole["score"], abs=1e-4)
    assert (answers[-1]["threshold"], answers[-1]["accepted"]) == (0.9999, False)


def refused(client, *messages):
    """The error that ends the connection."""
    with client.websocket_connect("/v1/live") as socket:
        for message in messages:
            if isinstance(message, bytes):
                socket.send_bytes(message)
            elif isinstance(message, str):
                socket.send_text(message)
            else:
                socket.send_json(message)
        told = socket.receive_json()
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    assert ended.value.code == 1008
    return told


@pytest.mark.parametrize("hello", [
    "hello", "[]", "7", "{}", '{"rate": "x"}', '{"rate": 1}', '{"rate": 1e9}', '{"rate": 16000.5}',
    '{"rate": 16000, "threshold": "x"}', '{"rate": 16000, "speaker_id": 7}',
    '{"rate": 16000, "threshold": 9}', '{"rate": true}',
])  # fmt: skip
def test_first_messages_that_are_none(client, hello):
    assert refused(client, hello)["error"] == "parameter"


def test_messages_that_cannot_be(client, talkers):
    first, second, third, *_ = pieces(talkers[0][0])
    hello = {"rate": RATE}
    assert "piece 1 is missing: 2 came" in refused(client, hello, first, third)["message"]
    assert "piece 1 is missing: 0 came" in refused(client, hello, first, first)["message"]
    assert refused(client, hello, b"")["error"] == "audio"
    assert refused(client, hello, second[:7])["error"] == "audio"
    assert refused(client, {**hello, "gallery": "none"})["error"] == "not_found"
    assert refused(client, {**hello, "speaker_id": "none"})["error"] == "not_found"
    assert refused(client, b"bytes first")["error"] == "parameter"


def test_a_recording_that_does_not_end():
    stream = live.Stream(RATE, 2.0)
    second = np.zeros(RATE, np.int16).tobytes()
    for number in (0, 1):
        stream.add(struct.pack("<I", number) + second)
    with pytest.raises(AudioError, match="longer than 2 s, the limit"):
        stream.add(struct.pack("<I", 2) + second)


def test_silence_waits_for_nobody(client, monkeypatch):
    monkeypatch.setattr(live, "SILENT_S", 0.2)
    monkeypatch.setattr(live, "HELLO_S", 0.2)
    assert refused(client)["error"] == "too_slow"
    assert refused(client, {"rate": RATE})["error"] == "too_slow"


def test_keys_and_origins(model, tmp_path, talkers):
    ring = KeyRing(tmp_path / "keys.json")
    token, other = ring.add("a", {"read"}), ring.add("b", {"enrol"})
    _, client = start(model, tmp_path, gates=GATES)
    with client:
        assert refused(client, {"rate": RATE})["error"] == "no_key"
        assert refused(client, {"rate": RATE, "key": other})["error"] == "scope"
        assert talk(client, talkers[0][1], key=token)[-1]["is_final"]
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/v1/live", headers={"origin": "http://evil.example"}),
        ):
            pass


def test_a_client_that_goes_away_leaves_nothing_behind(client, talkers):
    for number in range(3):
        with client.websocket_connect("/v1/live") as socket:
            socket.send_json({"rate": RATE})
            for piece in pieces(talkers[0][0])[: 2 + number]:
                socket.send_bytes(piece)
    deadline = time.monotonic() + 10
    while "speakerlab_pending_recordings 0.0" not in client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.post("/v1/identify", content=encoded(talkers[0][0])).status_code == 200
