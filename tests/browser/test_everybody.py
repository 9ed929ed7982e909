"""The page for everybody: phone and desk, light and dark, keyboard, screen reader, two languages."""

import os
import re
from pathlib import Path

import axe_playwright_python
import numpy as np
import pytest

from speakerlab.serve import app

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
VIEWS = ("verify", "identify", "enrol", "people", "review", "thresholds")
SAME_IN_BOTH = {"api_title", "take_rate", "verdict_person"}
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 860}}


@pytest.fixture(scope="module")
def peopled(server, voices, short):
    """Somebody is enrolled, somebody waits, and there is a gallery."""
    speaker = server.enrol("Mia Winterbottom-Featherstonehaugh", voices[0][0])
    server.enrol("Nia", short)
    assert server.call("PUT", "/v1/galleries/staff")[0] == 204
    return speaker


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    kept = os.environ.get("SPEAKERLAB_SHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lists():
    rng = np.random.default_rng(3)
    pairs = [("target", x) for x in rng.normal(0.6, 0.15, 200)]
    pairs += [("nontarget", x) for x in rng.normal(0.1, 0.15, 1500)]
    return "\n".join(f"{x:.4f} {kind}" for kind, x in pairs).encode()


def fill(page, view, voices):
    """Bring a view to what it shows when it is used."""
    main = page.locator("main")
    if view == "verify":
        main.locator("input[list]").fill("Mia Winterbottom-Featherstonehaugh")
    if view in {"verify", "identify"}:
        main.locator("input[type=file]").first.set_input_files(voices[0][1])
        main.locator("button.primary").first.click()
        main.locator(".answer summary").click()
    if view == "enrol":
        main.locator("input[type=file]").set_input_files(voices[0][1])
        main.locator("summary").click()
    if view == "thresholds":
        file = {"name": "s.txt", "mimeType": "text/plain", "buffer": lists()}
        main.locator("input[type=file]").first.set_input_files(file)
        main.locator("button.primary").click()
        main.locator(".stats").wait_for()


def serious(page):
    """What axe-core finds that is serious or critical; it enters through the debugger, past the policy."""
    page.evaluate(f"(() => {{ {AXE} }})()")
    found = page.evaluate("axe.run().then((told) => told.violations)")
    return [
        (one["id"], node["html"][:200], node["failureSummary"][:300])
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


def check(page, shots, name):
    page.wait_for_load_state("networkidle")
    page.screenshot(path=shots / f"{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert serious(page) == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scheme", "locale"), [("light", "en-GB"), ("dark", "zh-CN")])
def test_every_view_fits_and_axe_finds_nothing_serious(visit, peopled, voices, shots, size, scheme, locale):
    page = visit(viewport=SIZES[size], color_scheme=scheme, locale=locale)
    name = f"{size}-{scheme}"
    for view in VIEWS:
        page.goto(re.sub("#.*", f"#/{view}", page.url))
        page.locator(f"nav a[aria-current][href='#/{view}']").wait_for()
        fill(page, view, voices)
        check(page, shots, f"{name}-{view}")
    page.goto(re.sub("#.*", f"#/people/{peopled}", page.url))
    page.locator("h1.person").wait_for()
    check(page, shots, f"{name}-person")
    page.locator("button.danger").click()
    check(page, shots, f"{name}-question")
    page.goto(re.sub("#.*", "api.html", page.url))
    page.locator(".route summary").nth(1).click()
    check(page, shots, f"{name}-api")


def test_axe_finds_what_is_wrong(visit):
    """The check above can fail: here is an image without text, and a pale one."""
    page = visit()
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert [rule for rule, *_ in serious(page)] == ["image-alt"]
    page.evaluate("document.querySelector('h1').style.color = '#ccd'")
    assert "color-contrast" in [rule for rule, *_ in serious(page)]


def test_live_recording_passes_axe(visit, peopled, voices, shots):
    page = visit("verify", plays=voices[0][1], viewport=SIZES["phone"])
    page.get_by_label("Person", exact=True).fill("Mia Winterbottom-Featherstonehaugh")
    page.get_by_role("button", name="Record").click()
    page.locator(".answer .progress").wait_for()
    page.get_by_role("meter", name="Level of the microphone").wait_for()
    level = int(page.get_by_role("meter").get_attribute("aria-valuenow"))
    assert -60 < level <= 0
    check(page, shots, "phone-live")
    page.get_by_role("button", name="Stop").click()
    page.locator(".answer details").wait_for()
    assert page.get_by_role("status").first.inner_text()


def focused(page):
    return page.evaluate(
        """() => {
            const node = document.activeElement;
            const drawn = [node, node.closest("label"), node.nextElementSibling].filter(Boolean);
            const width = (style) => style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
            return {
                name: node.getAttribute("aria-label") || node.innerText || node.value || node.type,
                tag: node.tagName,
                ring: Math.max(...drawn.map((one) => width(getComputedStyle(one)))),
            };
        }"""
    )


def press_until(page, name, key="Tab", most=40):
    """Press a key until what has the focus is called so; its ring must be seen on the way."""
    for _ in range(most):
        page.keyboard.press(key)
        now = focused(page)
        assert now["ring"] >= 2, now
        if name in (now["name"] or ""):
            return now
    pytest.fail(f"{name} is not reached with {key}")


def test_everything_is_reached_with_the_keyboard_alone(visit, peopled, server):
    page = visit("verify")
    assert press_until(page, "Skip to the content", most=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    press_until(page, "person", most=1)
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Another recording").is_checked()
    page.keyboard.press("ArrowLeft")
    for name in ("Mia", "Record", "Choose a file", "Verify", "Use another threshold"):
        if name == "Mia":
            page.keyboard.press("Tab")
            page.keyboard.type("Mia Winterbottom-Featherstonehaugh")
            page.keyboard.press("Escape")
            assert "Mia" in focused(page)["name"]
        else:
            press_until(page, name, most=2)
    page.keyboard.press("Enter")
    assert page.get_by_label("Threshold", exact=True).is_visible()


def test_a_person_is_erased_with_the_keyboard_alone(visit, server, voices):
    speaker = server.enrol("Oli", voices[0][0])
    page = visit(f"people/{speaker}")
    press_until(page, "Erase")
    page.keyboard.press("Enter")
    assert focused(page)["name"] == "Cancel"  # what undoes nothing comes first
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert focused(page)["name"] == "Erase"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("h1", has_text="Oli is erased").wait_for()
    assert focused(page)["tag"] == "H1"
    assert server.call("GET", f"/v1/speakers/{speaker}")[0] == 404


def test_moving_to_another_view_moves_the_focus_to_its_title(visit, peopled):
    page = visit("verify")
    press_until(page, "People")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Nia").wait_for()
    page.wait_for_function("document.activeElement.tagName === 'H1'")
    assert page.title() == "People \N{EN DASH} speakerlab"
    page.keyboard.press("Tab")
    assert focused(page)["tag"] == "SELECT"


def test_the_language_follows_the_browser_and_the_switch_and_nothing_is_lost(visit, peopled, voices):
    page = visit("enrol", locale="zh-CN")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.locator("h1").inner_text() == "注册人员"
    page.get_by_label("姓名").fill("李雷")
    page.locator("input[type=file]").set_input_files(voices[0][1])
    page.locator(".take").wait_for()
    page.get_by_label("语言").select_option("English")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("h1").inner_text() == "Enrol a person"
    assert page.get_by_label("Name").input_value() == "李雷"
    assert page.locator(".take").count() == 1
    assert page.title() == "Enrol \N{EN DASH} speakerlab"
    page.goto(re.sub("#.*", "#/identify", page.url))
    page.locator("input[type=file]").set_input_files(voices[0][1])
    page.get_by_role("button", name="Identify").click()
    page.locator(".answer summary").click()
    english = page.locator(".answer").inner_text()
    page.get_by_label("Language").select_option("中文")
    chinese = page.locator(".answer").inner_text()
    assert re.findall(r"\d\.\d{3}", chinese) == re.findall(r"\d\.\d{3}", english)
    assert "阈值" in chinese
    assert "threshold" not in chinese.lower()
    page.reload()
    assert page.locator("h1").inner_text().startswith("谁在说话")


def test_every_text_is_there_in_both_languages(visit):
    page = visit()
    texts = page.evaluate("import(new URL('texts.js', document.baseURI)).then((told) => told.TEXTS)")
    sources = "".join(one.read_text() for one in app.PAGE.glob("*.js") if one.name != "texts.js")
    values = re.compile(r"\{(\w+)\}")
    stems = re.findall(r"t\(`([a-z]+_)\$\{", sources)
    for name, (english, chinese) in texts.items():
        assert english, name
        assert chinese, name
        assert name in SAME_IN_BOTH or re.search("[\u4e00-\u9fff]", chinese), name
        assert set(values.findall(english)) == set(values.findall(chinese)), name
        is_used = f'"{name}"' in sources or any(name.startswith(stem) for stem in stems)
        assert is_used, name
    assert [one for one in re.findall(r"\bt\(\"(\w+)\"", sources) if one not in texts] == []


def test_reduced_motion_is_respected(visit, peopled, voices):
    moving = "node => getComputedStyle(node).transitionProperty"
    for motion, expected in (("reduce", "none"), ("no-preference", "left")):
        page = visit("identify", reduced_motion=motion)
        fill(page, "identify", voices)
        assert page.locator(".scale-needle").evaluate(moving) == expected


def test_the_policy_of_the_page_is_strict(visit, server):
    page = visit()
    policies = []
    page.on("response", lambda told: policies.append(told.headers["content-security-policy"]))
    page.reload()
    page.locator("h1").wait_for()
    assert policies
    assert not [one for one in policies if "unsafe" in one or "http" in one or "*" in one]
    hosts = page.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)")
    assert set(hosts) == {server.url.removeprefix("http://")}


ANSWER = {
    "decision": "same", "accepted": True, "score": 0.5, "threshold": 0.4, "margin": 0.1, "llr": None,
    "reasons": [], "notes": [], "calibration": None, "threshold_origin": "published", "model": "m",
    "domain": None, "recordings": [],
}  # fmt: skip
ADAPTED = {
    "kind": "adaptation", "num_recordings": 4000, "domain": "calls", "false_accept": 0.012,
    "false_accept_interval": [0.01, 0.015],
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "texts", "share"),
    [
        # the ruler reaches from -0.2 to 1
        ({}, ["not calibrated", "The publisher of the model gave the threshold.", "0.100 above"], 58.333),
        # here from -0.5 to 1
        ({"score": -0.43, "decision": "different"}, ["Different people", "0.830 below"], 4.667),
        # and here from 3 - 2 to 7 + 2
        (
            {"score": 7.0, "threshold": 3.0, "threshold_origin": "adapted", "calibration": ADAPTED},
            ["4,000 recordings (calls)", "1.20% of strangers", "1.00% to 1.50%", "4.000 above"],
            75.0,
        ),
        ({"llr": 20.0, "calibration": {"kind": "trials"}}, ["more than 1,000,000 times"], 58.333),
        ({"llr": -0.6931, "score": 0.3}, ["2.0 times as likely from two different people"], 41.667),
        ({"threshold": None, "threshold_origin": "none", "decision": "uncertain"}, ["no threshold"], 58.333),
    ],
)
def test_answers_of_every_kind_of_model_are_drawn_and_explained(visit, told, texts, share):
    page = visit()
    page.evaluate(
        """async (told) => {
            const { Answer } = await import(new URL("answer.js", document.baseURI));
            const shown = new Answer();
            document.querySelector("#views").replaceChildren(shown.node);
            shown.show(told);
        }""",
        ANSWER | told,
    )
    page.locator(".answer summary").click()
    text = page.locator(".answer").inner_text()
    assert [one for one in texts if one not in text] == []
    place = page.locator(".scale-needle").evaluate("node => parseFloat(node.style.left)")
    assert place == pytest.approx(share, abs=0.01)
    described = page.locator(".scale").get_attribute("aria-label")
    assert ("threshold" in described) == (told.get("threshold", 0) is not None)
