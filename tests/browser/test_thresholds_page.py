"""The error rates that the page computes, against speakerlab.metrics on the same scores."""

import re

import numpy as np
import pytest
from scipy.special import ndtri

from speakerlab.metrics.detection import detection
from speakerlab.metrics.sorted_scores import sort_scores


@pytest.fixture(scope="module")
def scores():
    """Targets and non-targets that overlap, with ties within and between them."""
    rng = np.random.default_rng(7)
    return np.round(rng.normal(0.5, 0.2, 300), 2), np.round(rng.normal(0.1, 0.2, 2000), 2)


def lines(scores):
    targets, nontargets = scores
    return "".join([f"{x} target\n" for x in targets] + [f"{x} nontarget\n" for x in nontargets])


def open_list(page, text, trials=""):
    buffers = [("scores", text), ("trials", trials)]
    for number, (name, content) in enumerate(buffers):
        if content:
            file = {"name": f"{name}.txt", "mimeType": "text/plain", "buffer": content.encode()}
            page.locator("input[type=file]").nth(number).set_input_files(file)
    page.get_by_role("button", name="Show the error rates").click()


def show_list(page, text, trials=""):
    open_list(page, text, trials)
    page.locator(".stats").wait_for()


def stat(page, name):
    return page.locator(f"[data-stat={name}]").inner_text()


def percent(text):
    return float(re.search(r"([\d.]+)%", text)[1]) / 100


def test_the_rates_are_those_of_the_toolkit_and_nothing_is_uploaded(visit, scores):
    page = visit("thresholds")
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    show_list(page, lines(scores))
    expected = detection(sort_scores(*scores))
    assert percent(stat(page, "eer")) == pytest.approx(expected.eer, abs=5.1e-5)
    assert float(page.get_by_label("Threshold", exact=True).last.input_value()) == expected.eer_threshold
    for threshold in (expected.eer_threshold, -0.3, 0.1, 0.25, 0.4, 2.0):
        page.locator(".stack input[type=number]").fill(str(threshold))
        false_accepts, misses = (scores[1] >= threshold).sum(), (scores[0] < threshold).sum()
        assert f"{false_accepts:,} of 2,000" in stat(page, "far")
        assert f"{misses:,} of 300" in stat(page, "frr")
        assert percent(stat(page, "far")) == pytest.approx(false_accepts / 2000, abs=5.1e-5)
        assert percent(stat(page, "frr")) == pytest.approx(misses / 300, abs=5.1e-5)
    assert requests == []


def test_the_slider_moves_the_rates(visit, scores):
    page = visit("thresholds")
    show_list(page, lines(scores))
    slider = page.locator("input[type=range]")
    slider.focus()
    seen = []
    for _ in range(4):
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        threshold = float(slider.input_value())
        seen.append(threshold)
        assert f"{(scores[1] >= threshold).sum():,} of 2,000" in stat(page, "far")
        assert "false accepts" in slider.get_attribute("aria-valuetext")
    assert seen == sorted(set(seen))


def test_the_curve_lies_on_probit_axes(visit, scores):
    """Corners of the drawn path, turned back into rates, are rates of the list."""
    page = visit("thresholds")
    show_list(page, lines(scores))
    points = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", page.locator(".curve").get_attribute("d"))
    x, y = np.array(points, dtype=float).T
    ticks = page.locator(".plot text.tick")
    labelled = {}
    for tick in ticks.all():
        is_below = "middle" in tick.get_attribute("class")
        at = float(tick.get_attribute("x")) if is_below else float(tick.get_attribute("y")) - 4
        labelled.setdefault(is_below, []).append((ndtri(float(tick.inner_html()) / 100), at))
    to_far, to_miss = (np.polyfit(*np.array(labelled[key])[:, ::-1].T, 1) for key in (True, False))
    drawn = np.stack([np.polyval(to_far, x), np.polyval(to_miss, y)], 1)
    thresholds = np.unique(np.concatenate(scores))
    floors = 0.5 / 2000, 0.5 / 300
    rates = [((scores[1] >= t).mean(), (scores[0] < t).mean()) for t in [*thresholds, np.inf]]
    known = ndtri(np.clip(rates, floors, 1 - np.array(floors)))
    distance = np.abs(drawn[:, None] - known[None]).max(axis=2)
    assert distance.min(axis=1).max() < 0.01
    assert distance.min(axis=0).max() < 0.01


def test_offered_thresholds_keep_their_promise(visit, scores):
    page = visit("thresholds")
    show_list(page, lines(scores))
    for share, row in zip((0.1, 0.01, 0.001), page.locator("tbody tr").all()[1:], strict=True):
        threshold = float(row.locator("td").first.inner_text().replace("\N{MINUS SIGN}", "-"))
        assert (scores[1] >= threshold).mean() <= share
        lower = np.unique(np.concatenate(scores))
        below = lower[lower < threshold - 1e-9].max()
        assert (scores[1] >= below).mean() > share
    page.get_by_role("button", name="Take the threshold").last.click()
    assert percent(stat(page, "far")) <= 0.001
    page.get_by_role("button", name="Use it to verify and identify").click()
    page.get_by_role("link", name="Identify").click()
    page.get_by_role("heading", name="Who is speaking?").wait_for()
    assert float(page.get_by_label("Threshold", exact=True).input_value()) == pytest.approx(threshold)


@pytest.mark.parametrize("style", ["{a} {b} {word}", "{a} {b} {bit}", "{bit} {a} {b}"])
def test_trials_beside_scores(visit, scores, style):
    page = visit("thresholds")
    labelled = [(x, 1) for x in scores[0]] + [(x, 0) for x in scores[1]]
    pairs = [(f"a{n}", f"b{n}", x, bit) for n, (x, bit) in enumerate(labelled)]
    words = ("nontarget", "target")
    trials = "\n".join(style.format(a=a, b=b, bit=bit, word=words[bit]) for a, b, _, bit in reversed(pairs))
    show_list(page, "\n".join(f"{a} {b} {x}" for a, b, x, _ in pairs), trials)
    assert percent(stat(page, "eer")) == pytest.approx(detection(sort_scores(*scores)).eer, abs=5.1e-5)


@pytest.mark.parametrize(
    ("text", "trials", "told"),
    [
        ("0.5 target\n", "", "Add the missing kind"),
        ("0.5 target\nnan nontarget\n", "", "Line 2 of the scores: “nan” is no number"),
        ("0.5 target\n0.2 impostor\n", "", "“impostor” is neither"),
        ("a b 0.5\n", "", "has no label. Add the list of trials"),
        ("0.5 target x y\n", "", "Line 1 of the scores is not"),
        ("a b 0.5\n", "a b target\na c nontarget\n", "“a c” has no score"),
        ("a b 0.5\na b 0.6\n", "a b target\n", "“a b” is listed twice"),
        ("a b 0.5\n", "a b\n", "Line 1 of the trials is not"),
    ],
)
def test_bad_lists_are_told_by_line(visit, text, trials, told):
    page = visit("thresholds")
    open_list(page, text, trials)
    page.get_by_text(told).wait_for()
    assert page.locator(".stats").count() == 0


def test_lists_can_be_pasted(visit):
    page = visit("thresholds")
    page.get_by_label("Scores", exact=True).fill("0.9 target\n0.8 target\n0.85 nontarget\n0.1 nontarget\n")
    page.get_by_role("button", name="Show the error rates").click()
    page.locator(".stats").wait_for()
    # (far, frr) at .8: (1/2, 0), at .85: (1/2, 1/2): the line between them meets the diagonal at 1/2
    assert percent(stat(page, "eer")) == 0.5
