"""Enrol, verify and identify on the page, with a microphone and with files; what goes wrong is told."""

import json
import re
import struct
import time
from urllib.parse import quote, urlencode

import numpy as np
import pytest
import soundfile
from conftest import ALLOWED, Server
from scipy import signal

from speakerlab.io import audio
from speakerlab.serve.keys import KeyRing

MINUS = "\N{MINUS SIGN}"  # what the page writes


def record(page, until, timeout=30_000):
    """Record until ``until`` is seen, then stop."""
    page.get_by_role("button", name=re.compile("^Record")).first.click()
    page.get_by_text(until).first.wait_for(timeout=timeout)
    page.get_by_role("button", name="Stop").click()
    page.locator("audio").first.wait_for()


def form(**files):
    """Body and type of a form with these files."""
    parts = [
        f'--line\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        + path.read_bytes()
        for name, path in files.items()
    ]
    return b"\r\n".join([*parts, b"--line--\r\n"]), "multipart/form-data; boundary=line"


def number_in(text):
    return float(re.search(r"-?\d+\.\d+", text.replace(MINUS, "-"))[0])


def person_with(server, name):
    (found,) = [one for one in server.call("GET", "/v1/speakers?limit=1000")[1] if one["name"] == name]
    return found


def test_enrolment_by_microphone_is_in_the_store(visit, server, voices):
    page = visit("enrol", plays=voices[0][0])
    page.get_by_label("Name").fill("Ann Smith")
    record(page, "enough. More makes it better")
    shown = page.locator(".take").inner_text()
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("heading", name="Ann Smith is enrolled").wait_for()
    ann = person_with(server, "Ann Smith")
    (clip,) = server.call("GET", f"/v1/speakers/{ann['speaker_id']}/clips")[1]
    assert clip["state"] == "enrolled"
    assert clip["speech_s"] >= 2
    assert f"{clip['speech_s']:.1f} s of speech" in shown  # the live answer has heard all of it
    page.get_by_role("link", name="Open Ann Smith").click()
    page.locator("h1", has_text="Ann Smith").wait_for()


def test_the_microphone_sends_what_it_hears_in_numbered_pieces(visit, server, voices):
    """What arrives is compared with the file that the microphone plays."""
    sent, answers = [], []

    def watch(socket):
        socket.on("framesent", keep_sent)
        socket.on("framereceived", keep_answer)

    def keep_sent(frame):  # a built-in method cannot be a handler
        sent.append(frame)

    def keep_answer(frame):
        answers.append(frame)

    page = visit("identify", plays=voices[1][0])
    page.on("websocket", watch)
    record(page, re.compile("Enough speech"))
    page.locator(".answer details").wait_for()
    hello, pieces, end = json.loads(sent[0]), sent[1:-1], json.loads(sent[-1])
    assert hello["rate"] >= 16000
    assert end == {"end": True}
    assert [struct.unpack_from("<I", piece)[0] for piece in pieces] == list(range(len(pieces)))
    heard = np.concatenate([np.frombuffer(piece, "<i2", offset=4) for piece in pieces]) / 2**15
    frame = "new Promise(requestAnimationFrame)"
    kept = f"async (node) => {{ while (!node.duration) await {frame}; return node.duration }}"
    assert page.locator("audio").evaluate(kept) == pytest.approx(len(heard) / hello["rate"], abs=1e-4)
    played, _ = soundfile.read(voices[1][0])
    heard = signal.resample_poly(heard, 160, hello["rate"] // 100)
    # the file is played again and again; where recording began in it, nobody knows
    loop = np.tile(played, 3)
    piece = heard[8000:24000]
    products = signal.correlate(loop, piece, "valid")
    energy = signal.correlate(loop**2, np.ones(len(piece)), "valid")
    similarity = (products / np.sqrt(energy * (piece**2).sum())).max()
    assert similarity > 0.97
    told = [json.loads(one) for one in answers]
    assert [one["is_final"] for one in told] == [False] * (len(told) - 1) + [True]
    assert told[-1]["recording"]["sample_rate"] == hello["rate"]


def test_live_verification_of_the_right_and_the_wrong_person(visit, server, voices):
    server.enrol("Bea", voices[0][0])
    finals = []

    def keep(frame):
        told = json.loads(frame)
        if told.get("is_final"):
            finals.append(told)

    for talker, verdict in ((0, "The same person"), (1, "Different people")):
        page = visit("verify", plays=voices[talker][1])
        page.on("websocket", lambda socket: socket.on("framereceived", keep))
        page.get_by_label("Person", exact=True).fill("Bea")
        record(page, re.compile("Enough speech"))
        page.locator(".answer details").wait_for()
        told = finals[-1]
        assert page.locator(".verdict").inner_text() == verdict
        assert told["decision"] == ("same" if talker == 0 else "different")
        score = page.locator(".above .scale-text").inner_text()
        assert number_in(score) == pytest.approx(told["score"], abs=6e-4)
        limit = page.locator(".below .scale-text").inner_text()
        assert number_in(limit) == pytest.approx(told["threshold"], abs=6e-4)
        gap = number_in(page.locator(".lead").inner_text())
        assert gap == pytest.approx(abs(told["score"] - told["threshold"]), abs=6e-4)
        above = page.locator(".lead").inner_text()
        assert ("above" in above) == (told["score"] >= told["threshold"])
        # the drawn places: from -0.2 to 1
        place = page.locator(".scale-needle").evaluate("node => parseFloat(node.style.left)")
        low = min(-0.2, np.floor(told["score"] * 10) / 10)
        assert place == pytest.approx(100 * (told["score"] - low) / (1 - low), abs=0.1)


def test_two_files_get_the_answer_of_the_api(visit, server, voices):
    page = visit("verify")
    page.get_by_label("Another recording").check()
    files = page.locator(".two input[type=file]")
    files.nth(0).set_input_files(voices[0][0])
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("Two recordings are needed").wait_for()
    files.nth(1).set_input_files(voices[0][1])
    page.get_by_role("button", name="Verify").click()
    told = server.call("POST", "/v1/verify", *form(first=voices[0][0], second=voices[0][1]))[1]
    page.locator(".verdict", has_text="The same person").wait_for()
    ratio = np.exp(told["llr"])
    assert f"{ratio:,.0f} times as likely from one person" in page.locator(".answer").inner_text()
    page.get_by_text("What this rests on").click()
    text = page.locator(".answer").inner_text()
    made = told["calibration"]
    assert f"{made['num_targets']:,} comparisons of one person and {made['num_nontargets']:,}" in text
    shares = (
        f"{made['num_false_accepts'] / made['num_nontargets']:.2%} of those of two people",
        f"{made['num_misses'] / made['num_targets']:.2%} of those of one person",
    )
    assert [share for share in shares if share not in text] == []
    assert page.locator(".answer tbody tr").count() == 2


def test_identification_in_a_gallery_and_by_a_threshold_of_ones_own(visit, server, voices):
    first, second = server.enrol("Cleo", voices[0][0]), server.enrol("Dan", voices[1][0])
    for name, members in (("both", [first, second]), ("only Cleo", [first])):
        assert server.call("PUT", f"/v1/galleries/{quote(name)}")[0] == 204
        body = json.dumps({"speaker_ids": members}).encode()
        server.call("POST", f"/v1/galleries/{quote(name)}/speakers", body, "application/json")
    page = visit("identify")
    page.locator("input[type=file]").set_input_files(voices[1][1])
    answers = {}
    for gallery in ("both", "only Cleo"):
        page.get_by_label("Search among").select_option(gallery)
        page.get_by_role("button", name="Identify").click()
        page.locator(".verdict", has_text="Dan" if gallery == "both" else "Nobody who is enrolled").wait_for()
        answers[gallery] = page.locator(".candidates li").all_inner_texts()
    told = server.call("POST", "/v1/identify?gallery=both", voices[1][1].read_bytes())[1]
    expected = [[one["name"], f"{one['score']:.3f}".replace("-", MINUS)] for one in told["candidates"]]
    assert [row.split("\n") for row in answers["both"]] == expected
    assert len(answers["only Cleo"]) == 1
    page.get_by_text("Use another threshold").click()
    page.get_by_label("Threshold", exact=True).fill("-1")
    page.get_by_role("button", name="Identify").click()
    page.locator(".verdict", has_text="Cleo").wait_for()
    page.get_by_text("What this rests on").click()
    page.get_by_text("You gave the threshold.").wait_for()


def test_too_little_speech_is_uncertain_and_says_why(visit, server, voices, talkers, tmp_path):
    server.enrol("Eve", voices[0][0])
    samples = talkers[0][1]
    path = tmp_path / "tiny.wav"
    audio.write(path, type(samples)(samples.samples[:8000], samples.sample_rate))
    page = visit("identify")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Identify").click()
    page.locator(".verdict", has_text="Uncertain").wait_for()
    told = server.call("POST", "/v1/identify", path.read_bytes())[1]
    shown = page.locator(".note li").all_inner_texts()
    assert told["reasons"]
    assert [one for one in told["reasons"] if one not in shown] == []
    assert page.locator(".candidates [data-passes=true]").count() == 0


def test_errors_are_the_one_line_of_the_api(visit, server, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("these are notes, no sound")
    page = visit("identify")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Identify").click()
    status, told = server.call("POST", "/v1/identify", path.read_bytes())
    assert status == 415
    page.locator("article > .fault", has_text=told["message"]).wait_for()


def test_a_denied_microphone_is_told_and_files_still_work(visit, server, voices):
    server.enrol("Joy", voices[0][0])
    page = visit("identify", flags=("--use-fake-device-for-media-stream",))
    page.get_by_role("button", name="Record").click()
    page.get_by_text("The browser does not allow the microphone").wait_for()
    page.locator("input[type=file]").set_input_files(voices[0][1])
    page.get_by_role("button", name="Identify").click()
    page.locator(".answer details").wait_for()


def test_a_missing_microphone_is_told(visit):
    page = visit("enrol", flags=(ALLOWED,))
    page.get_by_role("button", name="Record").click()
    page.get_by_text("No microphone was found").wait_for()
    assert page.get_by_text("Choose files").is_visible()


def test_a_lost_piece_loses_the_recording_aloud(visit, voices):
    page = visit("identify", plays=voices[0][1])
    page.evaluate("""async () => {
        const { Microphone } = await import(new URL("microphone.js", document.baseURI));
        const take = Microphone.prototype.take;
        Microphone.prototype.take = function (data) { if (data.number !== 10) take.call(this, data); };
    }""")
    page.get_by_role("button", name="Record").click()
    page.get_by_text("A part of the recording was lost").wait_for()
    page.get_by_role("button", name="Record").wait_for()
    assert page.locator("audio").count() == 0
    assert page.locator(".answer").is_hidden()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that others can reach, with keys."""
    folder = tmp_path_factory.mktemp("guarded")
    token = KeyRing(folder / "keys.json").add("page", {"admin"})
    found = Server(folder, host="0.0.0.0", token=token)
    yield found
    found.close()


def test_a_key_is_asked_for_kept_for_the_tab_and_never_in_an_address(visit, guarded, voices):
    addresses = []
    page = visit("people", plays=voices[0][0], base=guarded.url)
    page.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    page.get_by_role("heading", name="This server needs a key").wait_for()
    page.get_by_label("API key").fill("slk_00000000_wrong")
    page.get_by_role("button", name="Use the key").click()
    page.get_by_text("The server does not know this key").wait_for()
    page.get_by_label("API key").fill(guarded.token)
    page.get_by_role("button", name="Use the key").click()
    page.get_by_text("Nobody is enrolled yet").wait_for()
    page.goto(f"{guarded.url}/page/#/enrol")
    page.get_by_label("Name").fill("Kim")
    record(page, "enough. More makes it better")  # the socket has the key too
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_role("heading", name="Kim is enrolled").wait_for()
    assert page.evaluate("sessionStorage.getItem('key')") == guarded.token
    assert guarded.token not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    secret = guarded.token.split("_")[2]
    assert addresses
    assert not [one for one in [*addresses, page.url] if secret in one]
    assert secret not in guarded.log.read_text()


def test_a_page_without_https_says_why_it_has_no_microphone(visit, guarded):
    flags = (ALLOWED, "--host-resolver-rules=MAP speakers.test 127.0.0.1")
    page = visit("verify", flags=flags, base=f"http://speakers.test:{guarded.port}")
    assert not page.evaluate("isSecureContext")
    assert page.get_by_text("Browsers open the microphone on secure pages only").first.is_visible()
    assert page.get_by_role("button", name="Record").first.is_disabled()
    assert page.get_by_text("Choose a file").first.is_visible()


def test_a_server_that_is_gone_is_told(visit):
    page = visit("people")
    page.context.set_offline(True)
    page.get_by_label("Show").evaluate("node => node.dispatchEvent(new Event('change'))")
    page.get_by_text("The server does not answer").wait_for()


def test_the_api_page_has_every_route(visit, server):
    page = visit()
    page.get_by_role("link", name="API").click()
    page.locator(".route").first.wait_for()
    known = server.call("GET", "/openapi.json")[1]["paths"]
    expected = {(method.upper(), path) for path, item in known.items() for method in item}
    shown = {tuple(row.locator("code").all_inner_texts()[:2]) for row in page.locator(".route summary").all()}
    assert shown == expected
    assert "[object" not in page.locator("main").inner_text()
    page.locator(".route", has_text="/v1/identify").locator("summary").click()
    page.get_by_text("how many candidates to tell").wait_for()


def test_a_person_can_be_enrolled_with_consent(visit, server, voices):
    page = visit("enrol")
    page.get_by_label("Name").fill("Lou")
    page.locator("input[type=file]").set_input_files([voices[0][0], voices[0][1]])
    page.get_by_text("The speech in 2 files is measured").wait_for()
    page.get_by_text("Consent", exact=True).click()
    page.get_by_label("Where the consent is on file").fill("form 17")
    page.get_by_label("Valid until").fill("2099-12-31")
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_text("Lou has 2 enrolled clips.").wait_for()
    lou = person_with(server, "Lou")
    clips = server.call("GET", f"/v1/speakers/{lou['speaker_id']}/clips")[1]
    assert [one["consent"] for one in clips] == ["form 17", "form 17"]
    assert time.gmtime(clips[0]["consent_end_s"])[0] >= 2099
    assert urlencode({"name": "Lou"}) not in page.url


def test_leaving_a_view_ends_its_recording(visit, voices):
    page = visit("identify", plays=voices[0][0])
    page.get_by_role("button", name="Record").click()
    page.get_by_text(re.compile("s of speech")).first.wait_for()
    page.get_by_role("link", name="Review").click()
    page.locator("h1", has_text="Review").wait_for()
    page.get_by_role("link", name="Identify").click()
    page.locator("audio").wait_for()
    assert page.get_by_role("button", name="Record again").is_visible()
