"""The people on the page: rename, group, withdraw, review, erase; names are text."""

import json
from urllib.parse import quote

HOSTILE = "<img src=x onerror=\"document.title='broken into'\">"


def test_a_person_is_renamed_grouped_and_erased_with_a_receipt(visit, server, voices):
    speaker = server.enrol("Fay", voices[0][0])
    page = visit("people")
    page.get_by_label("New gallery").fill("night shift")
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("Nobody is in this gallery").wait_for()
    page.goto(f"{server.url}/page/#/people/{speaker}")
    page.get_by_label("Name").fill("Fay Young")
    page.get_by_role("button", name="Rename").click()
    page.locator("h1", has_text="Fay Young").wait_for()
    page.get_by_label("Gallery").select_option("night shift")
    page.get_by_role("button", name="Add to the gallery").click()
    page.get_by_text("Fay Young is in night shift.").wait_for()
    members = server.call("GET", "/v1/speakers?gallery=night%20shift")[1]
    assert [one["name"] for one in members] == ["Fay Young"]
    page.get_by_role("link", name="People").first.click()
    page.get_by_label("Show").select_option("night shift")
    page.get_by_role("button", name="Take Fay Young out").click()
    page.get_by_role("link", name="Fay Young").wait_for(state="detached")
    assert server.call("GET", "/v1/speakers?gallery=night%20shift")[1] == []
    page.get_by_role("button", name="Remove the gallery").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the gallery").click()
    page.get_by_role("button", name="Remove the gallery").wait_for(state="hidden")
    assert "night shift" not in server.call("GET", "/v1/galleries")[1]
    page.goto(f"{server.url}/page/#/people/{speaker}")
    page.get_by_role("button", name="Erase").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert server.call("GET", f"/v1/speakers/{speaker}")[0] == 200
    page.get_by_role("button", name="Erase").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase").click()
    page.locator("h1", has_text="Fay Young is erased").wait_for()
    receipt = json.loads(page.locator("pre").inner_text())
    assert receipt["removed"]["clips"] == 1
    assert receipt["in_index"] is False
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the receipt").click()
    assert json.loads(saved.value.path().read_text()) == receipt
    assert server.call("GET", f"/v1/speakers/{speaker}")[0] == 404


def test_clips_are_withdrawn(visit, server, voices):
    speaker = server.enrol("Gus", voices[0][0])
    page = visit(f"people/{speaker}")
    page.get_by_role("button", name="Withdraw").click()
    page.get_by_role("dialog").get_by_role("button", name="Withdraw").click()
    page.locator(".tag", has_text="withdrawn").wait_for()
    assert server.call("GET", f"/v1/speakers/{speaker}/clips")[1][0]["state"] == "withdrawn"


def test_the_list_of_people_comes_in_pages(visit, server):
    for number in range(30):
        body = json.dumps({"name": f"zz {number:02d}"}).encode()
        assert server.call("POST", "/v1/speakers", body, "application/json")[0] == 201
    page = visit("people")
    rows = page.locator(".list > li")
    rows.nth(24).wait_for()
    assert rows.count() == 25
    page.get_by_role("button", name="Show more").click()
    rows.nth(29).wait_for()
    assert page.evaluate("document.activeElement.closest('li').previousElementSibling !== null")
    names = [one["name"] for one in server.call("GET", "/v1/speakers?limit=50")[1]]
    assert [one.inner_text() for one in page.locator(".list .name").all()] == names[: rows.count()]


def test_a_person_is_found_among_many(visit, server, voices):
    for name in [f"Ana {number:03d}" for number in range(220)] + ["Anna"]:
        body = json.dumps({"name": name}).encode()
        assert server.call("POST", "/v1/speakers", body, "application/json")[0] == 201
    page = visit("verify")
    page.get_by_label("Person", exact=True).fill("anna")  # suggested, however it is spelled
    page.locator("datalist option[value=Anna]").first.wait_for(state="attached")
    page.get_by_label("Person", exact=True).fill("Anna")
    page.locator("input[type=file]").first.set_input_files(voices[0][0])
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("has no clip that is enrolled with this model").wait_for()
    page.get_by_label("Person", exact=True).fill("Anna of nowhere")
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("Nobody called Anna of nowhere is enrolled.").wait_for()


def test_the_review_list_accepts_and_withdraws_with_reasons(visit, server, short):
    ids = [server.enrol(name, short) for name in ("Hal", "Ida")]
    told = {one["speaker_id"]: one for one in server.call("GET", "/v1/review")[1]}
    page = visit("review")
    for speaker, name in zip(ids, ("Hal", "Ida"), strict=True):
        shown = page.locator(".waiting", has_text=name).inner_text()
        assert told[speaker]["review"]
        assert all(why in shown for why in told[speaker]["review"])
    page.get_by_role("button", name="Accept: Hal").click()
    page.get_by_role("button", name="Accept: Hal").wait_for(state="detached")
    page.get_by_role("button", name="Withdraw: Ida").click()
    page.get_by_role("button", name="Withdraw: Ida").wait_for(state="detached")
    states = [server.call("GET", f"/v1/speakers/{one}/clips")[1][0]["state"] for one in ids]
    assert states == ["enrolled", "withdrawn"]


def test_names_are_text_wherever_they_are_shown(visit, server, voices, short):
    speaker = server.enrol(HOSTILE, voices[0][0])
    server.enrol(f"{HOSTILE} too", short)
    assert server.call("PUT", f"/v1/galleries/{quote('<b>bold')}")[0] == 204
    members = json.dumps({"speaker_ids": [speaker]}).encode()
    gallery = f"/v1/galleries/{quote('<b>bold')}/speakers"
    assert server.call("POST", gallery, members, "application/json")[0] == 204
    page = visit("people")
    page.get_by_role("link", name=HOSTILE, exact=True).click()
    assert page.locator("h1", has_text=HOSTILE).inner_text() == HOSTILE
    page.goto(f"{server.url}/page/#/review")
    page.locator(".waiting", has_text=HOSTILE).first.wait_for()
    page.goto(f"{server.url}/page/#/identify")
    page.get_by_label("Search among").select_option("<b>bold")
    page.locator("input[type=file]").set_input_files(voices[0][1])
    page.get_by_role("button", name="Identify").click()
    page.locator(".candidates", has_text=HOSTILE).wait_for()
    page.goto(f"{server.url}/page/#/people/{speaker}")
    page.get_by_role("button", name="Erase").click()
    assert HOSTILE in page.get_by_role("dialog").inner_text()
    page.get_by_role("dialog").get_by_role("button", name="Erase").click()
    page.locator("h1", has_text=f"{HOSTILE} is erased").wait_for()
    assert page.locator("img, h1 b").count() == 0
    assert "broken into" not in page.title()
