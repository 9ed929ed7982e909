// Thresholds: a list of scores in the browser, its DET curve and the error rates of each threshold.
// Nothing is sent anywhere.

import { attempt, faultLine, page, setThreshold } from "./choices.js";
import { ListError, read } from "./detection.js";
import { announce, field, fresh, h, only } from "./dom.js";
import { number, percent, redraw, score, t } from "./i18n.js";
import { drawDet, drawHistogram } from "./plots.js";

const SHARES = [0.1, 0.01, 0.001]; // of false accepts that a threshold is offered for
const STEPS = 1000;

export function build() {
  const fault = faultLine();
  const scores = source(() => t("scores"), () => t("scores_hint"));
  const trials = source(() => t("trials"), () => t("trials_hint"));
  const shown = h("section", { class: "stack", hidden: true, "aria-label": () => t("thresholds_result") });
  const button = h("button", { type: "button", class: "primary", onclick: () => attempt(button, fault, async () => {
    shown.hidden = true;
    try {
      const list = read(await scores.text(), await trials.text());
      shown.hidden = false;
      show(shown, list);
      announce(t("thresholds_ready", { n: number(list.targets.length + list.nontargets.length), eer: percent(list.eer()) }));
    } catch (error) {
      if (error instanceof ListError) throw new Error(t(error.key, error.values));
      throw error;
    }
  }) }, () => t("thresholds_button"));
  const node = page("thresholds_title", "thresholds_intro",
    h("div", { class: "stack" }, h("div", { class: "two" }, scores.node, trials.node), h("div", {}, button)), fault, shown);
  node.classList.add("broad");
  return { node };
}

/** A text to paste, or a file to open; files are read when they are needed. */
function source(label, hint) {
  const area = h("textarea", { rows: 6, wrap: "off", spellcheck: "false", autocomplete: "off", oninput: () => forget() });
  const input = h("input", { type: "file", class: "unseen", id: fresh("file"), onchange: () => {
    [file] = input.files;
    area.value = "";
    only(name, file?.name || "");
  } });
  const name = h("span", { class: "soft", role: "status" });
  const forget = () => {
    file = undefined;
    input.value = "";
    only(name);
  };
  let file;
  const open = h("label", { class: "button quiet", for: input.id }, () => t("file_open"), input);
  const node = h("div", { class: "stack tight" }, field(label, area, hint), h("div", { class: "row" }, open, name));
  return { node, text: async () => (file ? file.text() : area.value) };
}

function show(shown, list) {
  const eer = list.eer();
  const eerThreshold = list.eerThreshold();
  const slider = h("input", { type: "range", step: "any", class: "across", "aria-label": () => t("threshold") });
  const room = (list.high - list.low) / 50 || 1;
  [slider.min, slider.max] = [list.low - room, list.high + room];
  slider.step = (list.high - list.low + 2 * room) / STEPS;
  const exact = h("input", { type: "number", step: "any", inputmode: "decimal" });
  const stats = h("dl", { class: "stats" });
  const det = h("div", { class: "plot" });
  const histogram = h("div", { class: "plot wide-plot" });
  const table = h("div");
  let threshold = eerThreshold;
  const draw = () => {
    const rates = list.rates(threshold);
    const told = { t: score(threshold), far: percent(rates.far), frr: percent(rates.frr) };
    slider.setAttribute("aria-valuetext", t("rates_text", told));
    only(stats, stat("far", "stat_far", percent(rates.far), t("of_strangers", { n: number(rates.falseAccepts), of: number(list.nontargets.length) })),
      stat("frr", "stat_frr", percent(rates.frr), t("of_same", { n: number(rates.misses), of: number(list.targets.length) })),
      stat("eer", "stat_eer", percent(eer), t("eer_at", { t: score(eerThreshold) })));
    drawDet(det, list, eer, rates);
    drawHistogram(histogram, list, threshold, [Number(slider.min), Number(slider.max)]);
  };
  const move = (value, from) => {
    if (!Number.isFinite(value)) return;
    threshold = value;
    if (from !== slider) slider.value = value;
    if (from !== exact) exact.value = Number(value.toFixed(6));
    draw();
  };
  slider.addEventListener("input", () => move(Number(slider.value), slider));
  exact.addEventListener("input", () => exact.value !== "" && move(Number(exact.value), exact));
  only(table, offered(list, eerThreshold, (value) => { move(value, null); exact.focus(); }));
  const use = h("button", { type: "button", class: "quiet", onclick: () => {
    setThreshold(exact.value);
    only(used, () => t("threshold_used"));
  } }, () => t("threshold_use"));
  const used = h("p", { class: "hint", role: "status" });
  only(shown, h("h2", {}, () => t("thresholds_result")), stats,
    h("div", {}, histogram, slider), h("div", { class: "inline" }, field(() => t("threshold"), exact), use), used,
    h("div", { class: "two" }, h("div", {}, h("h3", {}, () => t("det_title")), det), h("div", {}, h("h3", {}, () => t("offered_title")), table)));
  move(threshold, null);
  keepDrawn(shown, draw);
}

let watched = null;

/** Draw again when the width or the language changes; only the present list. */
function keepDrawn(shown, draw) {
  if (!watched) {
    watched = { draw };
    redraw(() => watched.draw());
    new ResizeObserver(() => watched.draw()).observe(shown);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => watched.draw());
  }
  watched.draw = draw;
}

function stat(kind, name, value, text) {
  return h("div", { "data-stat": kind }, h("dt", {}, t(name)), h("dd", { class: "figure" }, value), h("dd", { class: "soft" }, text));
}

function offered(list, eerThreshold, choose) {
  const row = (name, threshold) => {
    const rates = Number.isFinite(threshold) ? list.rates(threshold) : null;
    const take = h("button", { type: "button", class: "bare", onclick: () => choose(threshold), "aria-label": () => t("take_threshold", { t: score(threshold) }) }, () => t("take"));
    return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, rates ? score(threshold) : "–"),
      h("td", {}, () => (rates ? percent(rates.far) : "–")), h("td", {}, () => (rates ? percent(rates.frr) : "–")), h("td", {}, rates && take));
  };
  const heads = ["offered_rule", "threshold", "far_short", "frr_short"].map((one) => h("th", { scope: "col" }, () => t(one)));
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": () => t("offered_title") }, h("table", {},
    h("thead", {}, h("tr", {}, heads, h("td", {}))),
    h("tbody", {}, row(() => t("offered_eer"), eerThreshold),
      SHARES.map((far) => row(() => t("offered_far", { n: percent(far, far < 0.01 ? 1 : 0) }), list.thresholdAt(far))))));
}
