"""The HTTP API by value: its answers are those of the library, and the store holds what it says."""

import io
import threading
import time

import numpy as np
import pytest
import soundfile
from conftest import save_tiny
from serving import encoded, pcm16, start

from speakerlab.predictor import Predictor
from speakerlab.serve.keys import KeyRing
from speakerlab.voiceprint.gates import Gates

OPEN_GATES = Gates(min_speech_s=None, cohesion=False, duplicates="off")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "m", threshold=0.5, domain="toy voices")


@pytest.fixture
def served(model, tmp_path):
    service, client = start(model, tmp_path, gates=OPEN_GATES)
    with client:
        yield service, client


@pytest.fixture
def client(served):
    return served[1]


@pytest.fixture(scope="module")
def wavs(talkers):
    """Two talkers, two recordings each, as WAV files."""
    return [[encoded(one) for one in talker] for talker in talkers]


def enrol(client, name, *recordings, **params):
    files = [("audio", ("a.wav", one)) for one in recordings]
    answer = client.post("/v1/enrolments", params={"name": name, **params}, files=files)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_verify_answers_as_the_library_does(client, model, talkers, wavs):
    expected = Predictor(model, ngpu=0).contrast(talkers[0][0].samples, talkers[1][0].samples)
    found = client.post("/v1/verify", files={"first": wavs[0][0], "second": wavs[1][0]}).json()
    assert found["score"] == pytest.approx(expected.score, abs=2e-4)  # WAV has 16 bits
    assert found["decision"] == expected.label.lower()
    assert found["accepted"] == (expected.label == "Same")
    assert (found["threshold"], found["threshold_origin"], found["model_hash"]) == (
        0.5, "published", expected.threshold.model["model_hash"],
    )  # fmt: skip
    assert found["margin"] == pytest.approx(found["score"] - 0.5)
    heard = found["recordings"][0]
    assert heard["duration_s"] == pytest.approx(talkers[0][0].duration_s)
    assert (heard["sample_rate"], heard["num_channels"], heard["reasons"]) == (16000, 1, [])
    high = client.post(
        "/v1/verify", params={"threshold": 1.0}, files={"first": wavs[0][0], "second": wavs[1][0]}
    ).json()
    assert (high["accepted"], high["threshold_origin"]) == (False, "given")


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "RF64"])
def test_what_a_file_is_its_content_tells(client, talkers, kind):
    data = encoded(talkers[0][0], kind)
    answer = client.post(
        "/v1/verify",
        files={"first": ("x.txt", data, "text/plain"), "second": ("y", encoded(talkers[0][0]))},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["score"] > 0.97


def test_raw_bodies_and_declared_samples(client, talkers, wavs):
    enrol(client, "Ann", wavs[0][0])
    score = client.post("/v1/identify", content=wavs[0][1]).json()["score"]
    declared = client.post(
        "/v1/identify", content=pcm16(talkers[0][1]), headers={"content-type": "audio/pcm;rate=16000"}
    ).json()
    assert declared["score"] == pytest.approx(score, abs=1e-4)
    stereo = np.stack([np.zeros_like(talkers[0][1].samples), talkers[0][1].samples], axis=1)
    data = (stereo * 32767).astype("<i2").tobytes()
    second = client.post(
        "/v1/identify",
        params={"channel": 1},
        content=data,
        headers={"content-type": "audio/pcm; rate=16000; channels=2"},
    ).json()
    assert second["score"] == pytest.approx(score, abs=1e-4)
    assert (second["recording"]["channel"], second["recording"]["num_channels"]) == (1, 2)


@pytest.mark.parametrize("declared", [
    "audio/pcm", "audio/pcm;rate=x", "audio/pcm;rate=1", "audio/pcm;rate=16000;channels=0",
    "audio/pcm;rate=16000;channels=99", "audio/pcm;rate=9999999",
])  # fmt: skip
def test_samples_that_are_declared_wrongly(client, declared):
    answer = client.post("/v1/identify", content=bytes(3200), headers={"content-type": declared})
    assert (answer.status_code, answer.json()["error"]) == (400, "body")


def test_identify_answers_as_the_library_does(served, model, talkers, wavs, tmp_path):
    _, client = served
    for name, talker in zip(("Ann", "Bob"), wavs, strict=True):
        enrol(client, name, talker[0])
    expected = Predictor(model, tmp_path / "v.db", ngpu=0).recognition(talkers[1][1].samples)
    found = client.post("/v1/identify", content=wavs[1][1]).json()
    assert [one["name"] for one in found["candidates"]] == list(expected.ranking)
    scores = [one["score"] for one in found["candidates"]]
    assert scores == pytest.approx(list(expected.ranking.values()), abs=2e-4)
    assert found["speaker"]["name"] == expected.name
    assert found["margin"] == pytest.approx(scores[0] - scores[1])
    none = client.post("/v1/identify", params={"threshold": 1.0}, content=wavs[1][1]).json()
    assert (none["speaker"], none["accepted"], none["decision"]) == (None, False, "none")
    assert none["score"] == found["score"]
    assert len(client.post("/v1/identify", params={"top_k": 1}, content=wavs[1][1]).json()["candidates"]) == 1


def test_nobody_enrolled_is_nobody(client, wavs):
    found = client.post("/v1/identify", content=wavs[0][0]).json()
    assert (found["decision"], found["speaker"], found["score"], found["candidates"]) == (
        "none",
        None,
        None,
        [],
    )


def test_identify_among_a_gallery_or_ids(client, wavs):
    client.put("/v1/galleries/staff")
    ann = enrol(client, "Ann", wavs[0][0], gallery=["staff"])["speaker_id"]
    bob = enrol(client, "Bob", wavs[1][0])["speaker_id"]

    def names(**params):
        answer = client.post("/v1/identify", params=params, content=wavs[1][1])
        assert answer.status_code == 200, answer.text
        return {one["name"] for one in answer.json()["candidates"]}

    assert names() == {"Ann", "Bob"}
    assert names(gallery="staff") == {"Ann"}
    assert names(speaker_id=bob) == {"Bob"}
    assert names(speaker_id=[ann, bob, "nobody"]) == {"Ann", "Bob"}
    assert names(gallery="staff", speaker_id=bob) == set()
    assert client.post("/v1/galleries/staff/speakers", json={"speaker_ids": [bob]}).status_code == 204
    assert names(gallery="staff") == {"Ann", "Bob"}
    assert client.delete(f"/v1/galleries/staff/speakers/{ann}").status_code == 204
    assert names(gallery="staff") == {"Bob"}
    assert client.get("/v1/galleries").json() == {"staff": 1}
    assert client.delete("/v1/galleries/staff").status_code == 204
    answer = client.post("/v1/identify", params={"gallery": "staff"}, content=wavs[1][1])
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_verify_against_an_enrolled_speaker(client, model, talkers, wavs, tmp_path):
    ann = enrol(client, "Ann", *wavs[0])["speaker_id"]
    predictor = Predictor(model, tmp_path / "v.db", ngpu=0)
    expected = predictor.recognition(talkers[1][0].samples).ranking["Ann"]
    found = client.post("/v1/verify", params={"speaker_id": ann}, content=wavs[1][0]).json()
    assert found["score"] == pytest.approx(expected, abs=2e-4)
    empty = client.post("/v1/speakers", json={"name": "Cid"}).json()["speaker_id"]
    for speaker_id in (empty, "nobody"):
        answer = client.post("/v1/verify", params={"speaker_id": speaker_id}, content=wavs[1][0])
        assert answer.status_code == 404


def test_speakers_are_paged_renamed_and_erased(client, wavs):
    ids = {name: enrol(client, name, wavs[0][0])["speaker_id"] for name in ("Cid", "Ann", "Bob")}
    first = client.get("/v1/speakers", params={"limit": 2}).json()
    assert [one["name"] for one in first] == ["Ann", "Bob"]
    rest = client.get("/v1/speakers", params={"after": first[-1]["name"]}).json()
    assert [one["name"] for one in rest] == ["Cid"]
    assert "embedding" not in client.get("/v1/speakers").text
    renamed = client.patch(f"/v1/speakers/{ids['Cid']}", json={"name": "<img src=x> ../../etc"})
    assert renamed.json()["name"] == "<img src=x> ../../etc"
    assert client.patch(f"/v1/speakers/{ids['Ann']}", json={"name": "Bob"}).status_code == 409
    receipt = client.delete(f"/v1/speakers/{ids['Bob']}").json()
    assert receipt["removed"]["clips"] == 1
    assert (receipt["found_afterwards"], receipt["in_index"]) == (
        {"speakers": 0, "clips": 0, "galleries": 0}, False,
    )  # fmt: skip
    assert client.get(f"/v1/speakers/{ids['Bob']}").status_code == 404
    assert client.delete(f"/v1/speakers/{ids['Bob']}").status_code == 404
    found = client.post("/v1/identify", content=wavs[0][1]).json()
    assert "Bob" not in {one["name"] for one in found["candidates"]}
    actions = [one["action"] for one in client.get("/v1/audit").json()]
    assert actions == ["enrol", "enrol", "enrol", "rename", "erase"]


def test_what_a_gate_stops_waits_for_review(model, wavs, tmp_path):
    _, client = start(model, tmp_path, gates=Gates(min_speech_s=60.0, cohesion=False, duplicates="off"))
    with client:
        done = enrol(client, "Ann", *wavs[0])
        assert (done["state"], done["num_clips"]) == ("review", 0)
        assert "60 s is the least" in done["findings"][0]
        assert client.post("/v1/identify", content=wavs[0][0]).json()["candidates"] == []
        (first, second) = client.get("/v1/review").json()
        assert "60 s is the least" in first["review"][0]
        accepted = client.post(f"/v1/review/{first['clip_id']}/accept").json()
        assert (accepted["num_clips"], accepted["num_review"]) == (1, 1)
        assert client.post(f"/v1/review/{first['clip_id']}/accept").status_code == 409
        assert client.delete(f"/v1/clips/{second['clip_id']}").status_code == 204
        assert client.get("/v1/review").json() == []
        assert len(client.post("/v1/identify", content=wavs[0][0]).json()["candidates"]) == 1
        clips = client.get(f"/v1/speakers/{done['speaker_id']}/clips").json()
        assert [one["state"] for one in clips] == ["enrolled", "withdrawn"]
        assert client.post("/v1/review/none/accept").status_code == 404


def test_consent_is_kept_and_its_end_ends_the_clip(served, wavs):
    service, client = served
    end_s = time.time() + 1000
    done = enrol(client, "Ann", wavs[0][0], consent="form 7", consent_start_s=1, consent_end_s=end_s)
    (clip,) = client.get(f"/v1/speakers/{done['speaker_id']}/clips").json()
    assert (clip["consent"], clip["consent_end_s"]) == ("form 7", end_s)
    assert len(client.post("/v1/identify", content=wavs[0][1]).json()["candidates"]) == 1
    service.store.clock = lambda: end_s + 1
    assert client.post("/v1/identify", content=wavs[0][1]).json()["candidates"] == []
    service.store.clock = time.time
    service.store.set(consent_required=True)
    answer = client.post("/v1/enrolments", params={"name": "Bob"}, content=wavs[1][0])
    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
    wrong = {"name": "Bob", "consent": "x", "consent_start_s": 2, "consent_end_s": 1}
    assert client.post("/v1/enrolments", params=wrong, content=wavs[1][0]).status_code == 409


def test_names_or_ids_not_both(client, wavs):
    for params in ({}, {"name": "Ann", "speaker_id": "x"}):
        answer = client.post("/v1/enrolments", params=params, content=wavs[0][0])
        assert answer.status_code == 400
    assert client.post("/v1/enrolments", params={"speaker_id": "x"}, content=wavs[0][0]).status_code == 404
    assert client.post("/v1/enrolments", params={"name": " "}, content=wavs[0][0]).status_code == 409
    assert client.get("/v1/speakers").json() == []


def test_two_servers_on_one_store_see_each_other(model, wavs, tmp_path):
    _, one = start(model, tmp_path, gates=OPEN_GATES)
    _, two = start(model, tmp_path, gates=OPEN_GATES, index=tmp_path / "index")
    with one, two:
        ann = enrol(one, "Ann", wavs[0][0])["speaker_id"]
        assert two.post("/v1/identify", content=wavs[0][1]).json()["candidates"][0]["name"] == "Ann"
        enrol(two, "Bob", wavs[1][0])
        assert len(one.post("/v1/identify", content=wavs[0][1]).json()["candidates"]) == 2
        two.delete(f"/v1/speakers/{ann}")
        assert [c["name"] for c in one.post("/v1/identify", content=wavs[0][1]).json()["candidates"]] == [
            "Bob"
        ]


def test_parallel_clients_get_the_bits_that_serial_ones_get(served, talkers):
    _, client = served
    sizes = (20000, 33333, 41000, 50001, 64000, 27777, 58000, 30303)
    recordings = [encoded(talkers[n % 2][n % 2].samples[:size]) for n, size in enumerate(sizes)]

    def embedding(data):
        answer = client.post("/v1/embed", content=data)
        assert answer.status_code == 200, answer.text
        return answer.json()["embedding"]

    serial = [embedding(data) for data in recordings]
    parallel: dict[int, list] = {}

    def work(number):
        for _ in range(3):
            parallel.setdefault(number, []).append(embedding(recordings[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(recordings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, expected in enumerate(serial):
        assert parallel[number] == [expected] * 3


def test_embeddings_are_those_of_the_library(client, model, wavs):
    samples, _ = soundfile.read(io.BytesIO(wavs[0][0]), dtype="float32")
    expected = Predictor(model, ngpu=0).predict(samples)
    np.testing.assert_allclose(
        client.post("/v1/embed", content=wavs[0][0]).json()["embedding"], expected, atol=1e-6
    )


def test_status_and_numbers(served, wavs):
    service, client = served
    assert client.get("/v1/health").json() == {"status": "ok"}
    assert client.get("/v1/ready").json() == {"status": "ready"}
    enrol(client, "Ann Secret", wavs[0][0])
    client.post("/v1/identify", content=wavs[0][1])
    page = client.get("/metrics").text
    assert 'speakerlab_requests_total{method="POST",route="/v1/identify",status="200"} 1.0' in page
    assert "speakerlab_indexed_speakers 1.0" in page
    assert "speakerlab_pending_recordings 0.0" in page
    assert "Secret" not in page
    (told,) = client.get("/v1/models").json()
    assert (told["domain"], told["threshold"]) == ("toy voices", 0.5)
    service.store.close()
    assert client.get("/v1/ready").status_code == 503
    assert client.get("/v1/health").status_code == 200


def test_the_description_of_itself(client):
    told = client.get("/openapi.json").json()
    assert {"/v1/verify", "/v1/identify", "/v1/enrolments", "/v1/speakers", "/v1/embed"} <= told[
        "paths"
    ].keys()
    forms = told["paths"]["/v1/verify"]["post"]["requestBody"]["content"]
    assert set(forms["multipart/form-data"]["schema"]["properties"]) == {"first", "second", "audio"}
    assert "audio/pcm" in forms


# Keys


@pytest.fixture
def locked(model, tmp_path):
    """A server with keys by scope."""
    ring = KeyRing(tmp_path / "keys.json")
    tokens = {scope: ring.add(scope, {scope}) for scope in ("read", "enrol", "vectors", "admin")}
    _, client = start(model, tmp_path, gates=OPEN_GATES)
    with client:
        yield client, tokens, ring


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def test_keys_open_what_their_scopes_say(locked, wavs):
    client, tokens, _ = locked
    calls = {
        "read": lambda h: client.post("/v1/identify", content=wavs[0][0], headers=h),
        "enrol": lambda h: client.post(
            "/v1/enrolments", params={"name": "Ann"}, content=wavs[0][0], headers=h
        ),
        "vectors": lambda h: client.post("/v1/embed", content=wavs[0][0], headers=h),
        "admin": lambda h: client.put("/v1/galleries/g", headers=h),
    }
    for wanted, call in calls.items():
        for scope, token in tokens.items():
            status = call(bearer(token)).status_code
            assert (status < 300) == (scope in {wanted, "admin"}), (wanted, scope, status)
            assert status < 300 or status == 403
        assert call({}).status_code == 401
        assert call({"x-api-key": tokens["admin"]}).status_code < 300
    listed = client.get("/v1/speakers", headers=bearer(tokens["read"])).json()
    path = f"/v1/speakers/{listed[0]['speaker_id']}/clips"
    assert client.get(path, params={"vectors": True}, headers=bearer(tokens["read"])).status_code == 403
    (clip, *_) = client.get(path, params={"vectors": True}, headers=bearer(tokens["admin"])).json()
    assert len(clip["embedding"]) == 8
    assert client.get(path, headers=bearer(tokens["read"])).json()[0]["embedding"] is None


@pytest.mark.parametrize(
    "token", ["", "x", "slk_00000000_00", "slk__", "a_b_c", "slk_" + "9" * 5000, "é_é_é"]
)
def test_keys_that_are_none(locked, token):
    client, tokens, _ = locked
    answer = client.get("/v1/speakers", headers={"x-api-key": token.encode()})
    assert (answer.status_code, answer.json()["error"]) == (401, "no_key")
    changed = tokens["admin"][:-1] + ("0" if tokens["admin"][-1] != "0" else "1")
    assert client.get("/v1/speakers", headers=bearer(changed)).status_code == 401


def test_a_removed_key_is_none_at_once(locked):
    client, tokens, ring = locked
    assert client.get("/v1/speakers", headers=bearer(tokens["read"])).status_code == 200
    assert ring.remove(tokens["read"].split("_")[1])
    assert client.get("/v1/speakers", headers=bearer(tokens["read"])).status_code == 401
    assert tokens["admin"] not in (ring._path).read_text()
    assert (ring._path.stat().st_mode & 0o777) == 0o600


def test_a_key_that_is_used_too_often(locked):
    client, _, ring = locked
    token = ring.add("slow", {"read"}, requests_per_minute=2)
    statuses = [client.get("/v1/speakers", headers=bearer(token)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = client.get("/v1/speakers", headers=bearer(token))
    assert 1 <= int(answer.headers["retry-after"]) <= 30
