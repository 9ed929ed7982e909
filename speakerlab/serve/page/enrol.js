// Enrol: a name, one or several recordings, consent and galleries; the gates' findings in words.

import { heardTable } from "./answer.js";
import { api, model } from "./api.js";
import { Picker, attempt, faultLine, page } from "./choices.js";
import { announce, field, h, only, put } from "./dom.js";
import { number, t } from "./i18n.js";
import { Recorder, player } from "./recorder.js";

export function build() {
  const state = { takes: [], live: null, least: null };
  const fault = faultLine();
  const result = h("section", { class: "result", hidden: true, "aria-label": () => t("enrol_result") });
  const picker = new Picker(() => t("enrol_name"), () => t("enrol_name_hint"));
  const consent = consentFields();
  const galleries = h("div", { class: "checks" });
  const takes = h("div", { class: "takes" });
  const progress = h("div", { class: "progress" });
  const draw = () => drawTakes(state, takes, progress);
  const recorder = new Recorder({
    label: () => t("recording"), several: true, hello: () => ({}),
    onStart: () => { result.hidden = true; only(fault); },
    onAnswer: (told) => { state.live = told.speech_s; draw(); },
    onTake: (take) => { state.live = null; state.takes.push(take); draw(); },
  });
  const button = h("button", { type: "button", class: "primary", onclick: () => attempt(button, fault, async () => {
    const body = formOf(picker, state.takes);
    const joined = [...galleries.querySelectorAll("input:checked")].map((one) => one.value);
    const told = await api("POST", "v1/enrolments", { query: { name: picker.name, gallery: joined, ...consent.value() }, body });
    show(result, told);
    state.takes = [];
    picker.input.value = "";
    draw();
  }) }, () => t("enrol_button"));
  const script = h("blockquote", {}, () => t("enrol_read"));
  const node = page("enrol_title", "enrol_intro",
    h("div", { class: "stack" }, picker.node,
      h("div", {}, h("p", { class: "hint" }, () => t("enrol_read_hint")), script),
      recorder.node, progress, takes, galleries, consent.node, h("div", { class: "go" }, button)), fault, result);
  const show_ = async () => {
    await fillGalleries(galleries);
    state.least = (await model()).min_enrol_speech_s;
    draw();
  };
  return { node, show: () => show_().catch((error) => only(fault, error.message)) };
}

function formOf(picker, takes) {
  if (!picker.name) {
    picker.input.focus();
    throw new Error(t("enrol_name_missing"));
  }
  if (!takes.length) throw new Error(t("recording_missing"));
  const form = new FormData();
  takes.forEach((one, i) => form.append("audio", one.blob, `recording-${i + 1}`));
  return form;
}

function drawTakes(state, takes, progress) {
  takes.querySelectorAll("audio").forEach((one) => URL.revokeObjectURL(one.src));
  only(takes, state.takes.map((one) => player(one, () => {
    state.takes = state.takes.filter((other) => other !== one);
    drawTakes(state, takes, progress);
  })));
  const measured = state.takes.reduce((sum, one) => sum + (one.speech || 0), 0) + (state.live || 0);
  const files = state.takes.filter((one) => one.speech === null).length;
  const unmeasured = files ? h("span", {}, () => t("enrol_files", { n: number(files) })) : null;
  if (!state.least || !measured) return only(progress, unmeasured);
  const bar = h("span", { class: "bar" });
  bar.style.width = `${Math.min(100, (100 * measured) / state.least)}%`;
  progress.dataset.done = String(measured >= state.least);
  const values = { s: number(measured, 1), of: number(state.least, 1) };
  return only(progress, h("span", { class: "track" }, bar),
    h("span", {}, () => t(measured >= state.least ? "enrol_enough" : "enrol_speech", values)), unmeasured);
}

async function fillGalleries(node) {
  const checked = new Set([...node.querySelectorAll("input:checked")].map((one) => one.value));
  const names = Object.keys(await api("GET", "v1/galleries"));
  if (!names.length) return only(node);
  return only(node, h("fieldset", {}, h("legend", {}, () => t("enrol_galleries")), names.map((one) =>
    h("label", { class: "check" }, h("input", { type: "checkbox", value: one, checked: checked.has(one) }), h("span", {}, one)))));
}

function consentFields() {
  const reference = h("input", { type: "text", maxlength: 500, autocomplete: "off" });
  const start = h("input", { type: "date" });
  const end = h("input", { type: "date" });
  const seconds = (input, time) => (input.value ? new Date(`${input.value}T${time}`).getTime() / 1000 : "");
  const node = h("details", { class: "more" }, h("summary", {}, () => t("consent")),
    field(() => t("consent_reference"), reference, () => t("consent_hint")),
    h("div", { class: "two" }, field(() => t("consent_start"), start), field(() => t("consent_end"), end)));
  const value = () => (reference.value.trim() ? {
    consent: reference.value.trim(), consent_start_s: seconds(start, "00:00:00"), consent_end_s: seconds(end, "23:59:59"),
  } : {});
  return { node, value };
}

function show(result, told) {
  const isIn = told.state === "enrolled";
  const title = () => t(isIn ? "enrol_done" : "enrol_review", { name: told.name });
  result.hidden = false;
  result.dataset.state = told.state;
  only(result, h("h2", {}, title), h("p", {}, () => t("enrol_clips", { name: told.name, n: told.num_clips })));
  if (told.findings.length) {
    put(result, h("div", { class: "note" }, h("h3", {}, () => t("findings")), h("ul", { lang: "en" }, told.findings.map((one) => h("li", {}, one)))));
  }
  put(result, h("p", {}, h("a", { href: `#/people/${told.speaker_id}` }, () => t("enrol_see", { name: told.name })),
    isIn ? null : h("a", { href: "#/review" }, () => t("review_open"))), heardTable(told.recordings));
  announce(title());
}
