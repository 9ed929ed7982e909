// What an answer of verify or identify means: the score on a scale beside the threshold, and in words.
// const shown = new Answer(); shown.show(told, {live: true}); shown.node

import { announce, h, icon, only } from "./dom.js";
import { number, percent, score, t } from "./i18n.js";

const MOST_LIKELY = 1e6; // larger ratios are told as "more than"

/** What a decision is called; identification answers with a speaker. */
export function verdict(told) {
  if (told.decision === "uncertain") return t("verdict_uncertain");
  if (told.speaker) return t("verdict_person", { name: told.speaker.name });
  if (told.decision === "none") return t("verdict_nobody");
  return t(told.decision === "same" ? "verdict_same" : "verdict_different");
}

export class Answer {
  constructor() {
    this.node = h("section", { class: "answer", hidden: true, "aria-label": () => t("answer_label") });
    this.spoken = "";
    this.clear();
  }

  clear() {
    this.node.hidden = true;
    this.spoken = "";
    this.scale = new Scale();
    this.head = h("div");
    this.body = h("div", { class: "answer-body" });
    only(this.node, this.head, this.scale.node, this.body);
  }

  show(told, { live = false } = {}) {
    const kind = told.decision === "none" ? "different" : told.decision;
    this.node.hidden = false;
    this.node.dataset.decision = kind;
    only(this.head, h("p", { class: "verdict" }, h("span", { class: "badge" }, icon(kind)), h("span", {}, () => verdict(told))), live && progress(told));
    this.scale.show(told);
    const open = told.decision === "uncertain"; // then why comes first
    only(this.body, open && against(told), distance(told), likelihood(told), told.candidates && candidates(told),
      !open && against(told), live ? null : basis(told));
    const text = verdict(told) + (told.is_enough ? ` ${t("live_enough")}` : "");
    if (text !== this.spoken) announce(text);
    this.spoken = text;
  }
}

function progress(told) {
  const share = Math.min(1, told.speech_s / told.enough_s);
  const bar = h("span", { class: "bar" });
  bar.style.width = `${100 * share}%`;
  return h("div", { class: "progress", "data-done": String(told.is_enough) }, h("span", { class: "track" }, bar),
    h("span", {}, () => (told.is_enough ? t("live_enough")
      : t("live_speech", { s: number(told.speech_s, 1), of: number(told.enough_s, 1) }))));
}

/** A ruler: where the score lies, where the threshold, and how far they are apart. */
class Scale {
  constructor() {
    this.zone = h("span", { class: "scale-zone" });
    this.gap = h("span", { class: "scale-gap" });
    this.limit = h("span", { class: "scale-limit" });
    this.needle = h("span", { class: "scale-needle" });
    this.limitText = h("span", { class: "scale-text" });
    this.needleText = h("span", { class: "scale-text" });
    this.track = h("div", { class: "scale-track" }, this.zone, this.gap, this.limit, this.needle);
    this.node = h("div", { class: "scale", role: "img" },
      h("div", { class: "scale-line above" }, this.needleText), this.track,
      h("div", { class: "scale-line below" }, this.limitText),
      h("div", { class: "scale-ends" }, h("span", {}, () => `← ${t("scale_different")}`), h("span", {}, () => `${t("scale_same")} →`)));
  }

  show(told) {
    this.node.hidden = told.score === null;
    if (told.score === null) return;
    const limit = told.threshold;
    const { low, high, step } = reach(told);
    const at = (value) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low)));
    this.track.style.setProperty("--major", `${(100 * step) / (high - low)}%`);
    this.track.style.setProperty("--minor", `${(20 * step) / (high - low)}%`);
    place(this.needle, at(told.score));
    label(this.needleText, at(told.score), () => t("scale_score", { n: score(told.score) }));
    for (const one of [this.zone, this.gap, this.limit, this.limitText]) one.hidden = limit === null;
    const told_ = { s: score(told.score), low: score(low), high: score(high), t: limit === null ? "" : score(limit) };
    this.node.setAttribute("aria-label", t(limit === null ? "scale_alone" : "scale_alt", told_));
    if (limit === null) return;
    place(this.limit, at(limit));
    this.zone.style.left = `${at(limit)}%`;
    this.gap.style.left = `${Math.min(at(limit), at(told.score))}%`;
    this.gap.style.width = `${Math.abs(at(limit) - at(told.score))}%`;
    label(this.limitText, at(limit), () => t("scale_threshold", { n: score(limit) }));
  }
}

/** Ends of the scale, whole steps of its ruler: -0.2 to 1 holds nearly all cosines; other scores widen it. */
function reach({ score: value, threshold, calibration }) {
  const inside = calibration?.kind === "adaptation" ? [] : [-0.2, 1];
  const told = [value, threshold ?? value];
  const spread = Math.max(...told) - Math.min(...told);
  const room = inside.length ? 0 : Math.max(1, spread / 2);
  const [low, high] = [Math.min(...inside, ...told.map((one) => one - room)), Math.max(...inside, ...told.map((one) => one + room))];
  const step = 10 ** Math.floor(Math.log10((high - low) / 2));
  return { low: step * Math.floor(low / step + 1e-9), high: step * Math.ceil(high / step - 1e-9), step };
}

function place(node, share) {
  node.style.left = `${share}%`;
}

function label(node, share, make) {
  only(node, make);
  node.style.left = `${share}%`;
  node.style.transform = `translateX(-${share}%)`; // stays inside at both ends
}

function distance(told) {
  if (told.threshold === null || told.score === null) return null;
  const gap = told.score - told.threshold;
  const values = { s: score(told.score), d: score(Math.abs(gap)), t: score(told.threshold) };
  return h("p", { class: "lead" }, () => t(gap >= 0 ? "distance_above" : "distance_below", values));
}

function likelihood(told) {
  if (told.score === null || told.decision === "uncertain") return null;
  if (told.llr === null) return h("p", {}, () => t(told.calibration ? "llr_outside" : "llr_none"));
  const ratio = Math.exp(Math.abs(told.llr));
  const text = () => (ratio > MOST_LIKELY ? t("llr_more_than", { n: number(MOST_LIKELY) }) : number(ratio, ratio < 10 ? 1 : 0));
  return h("p", {}, () => t(told.llr >= 0 ? "llr_same" : "llr_different", { n: text() }));
}

/** Reasons and notes of the server, which are English whatever the page's language. */
function against(told) {
  const list = (texts) => h("ul", { lang: "en" }, texts.map((one) => h("li", {}, one)));
  return [
    told.reasons.length ? h("div", { class: "note" }, h("h3", {}, () => t("reasons")), list(told.reasons)) : null,
    told.notes.length ? h("div", { class: "note" }, h("h3", {}, () => t("notes")), list(told.notes)) : null,
  ];
}

function candidates(told) {
  if (!told.candidates.length) return h("p", {}, () => t("nobody_enrolled"));
  const { low, high } = reach({ ...told, score: Math.min(...told.candidates.map((one) => one.score)) });
  const at = (value) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low)));
  const rows = told.candidates.map((one) => {
    const bar = h("span", { class: "bar" });
    bar.style.width = `${at(one.score)}%`;
    const limit = told.threshold === null ? null : h("span", { class: "limit" });
    if (limit) place(limit, at(told.threshold));
    const passes = told.decision !== "uncertain" && told.threshold !== null && one.score >= told.threshold;
    return h("li", { "data-passes": String(passes) }, h("span", { class: "name" }, one.name),
      h("span", { class: "value" }, score(one.score)), h("span", { class: "track", "aria-hidden": "true" }, bar, limit));
  });
  const margin = told.margin === null ? null : h("p", { class: "soft" }, () => t("margin_second", { n: score(told.margin) }));
  return h("div", {}, h("h3", {}, () => t("candidates")), h("ol", { class: "candidates" }, rows), margin);
}

/** What the threshold was made for, and what was heard. */
function basis(told) {
  const heard = told.recordings || [told.recording];
  return h("details", {}, h("summary", {}, () => t("basis")),
    h("p", {}, () => origin(told)), error_rate(told),
    h("p", { class: "soft" }, () => t("basis_model", { model: told.model || "", domain: told.domain || t("unknown") })),
    heardTable(heard));
}

function origin(told) {
  const made = told.calibration || {};
  if (told.threshold_origin === "calibrated") {
    return t("origin_calibrated", {
      targets: number(made.num_targets), nontargets: number(made.num_nontargets), made_of: made.made_of,
      domain: made.domain || t("unknown"), point: made.operating_point,
    });
  }
  if (told.threshold_origin === "adapted") {
    return t("origin_adapted", { n: number(made.num_recordings || 0), domain: made.domain || t("unknown") });
  }
  return t(`origin_${told.threshold_origin}`);
}

function error_rate(told) {
  const made = told.calibration || {};
  if (told.threshold_origin === "calibrated" && made.num_false_accepts != null) {
    return h("p", {}, () => t("error_counts", {
      n: percent(made.num_false_accepts / made.num_nontargets), m: percent(made.num_misses / made.num_targets),
    }));
  }
  if (told.threshold_origin !== "adapted") return null;
  const [low, high] = made.false_accept_interval;
  return h("p", {}, () => t("false_accept", { n: percent(made.false_accept), low: percent(low), high: percent(high) }));
}

export function heardTable(heard) {
  const known = (value, make) => (value === null || value === undefined ? "–" : make(value));
  const row = (one, i) => h("tr", {}, h("th", { scope: "row" }, number(i + 1)),
    h("td", {}, () => known(one.speech_s, (n) => t("seconds", { n: number(n, 1) }))),
    h("td", {}, () => t("seconds", { n: number(one.duration_s, 1) })),
    h("td", {}, () => known(one.level_db, (n) => `${number(n)} dB`)),
    h("td", {}, () => known(one.bandwidth_hz, (n) => `${number(n / 1000, 1)} kHz`)));
  const heads = ["heard_number", "heard_speech", "heard_duration", "heard_level", "heard_band"];
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": () => t("heard") }, h("table", {}, h("caption", {}, () => t("heard")),
    h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, () => t(one))))), h("tbody", {}, heard.map(row))));
}
