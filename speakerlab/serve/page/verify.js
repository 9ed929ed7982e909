// Verify: a recording against an enrolled person, live while one speaks; or two recordings with each other.

import { Answer } from "./answer.js";
import { api } from "./api.js";
import { Picker, attempt, faultLine, page, thresholdField } from "./choices.js";
import { fresh, h, only } from "./dom.js";
import { t } from "./i18n.js";
import { Recorder } from "./recorder.js";

export function build() {
  const answer = new Answer();
  const fault = faultLine();
  const limit = thresholdField();
  const person = against_person(answer, fault, limit);
  const pair = two_recordings(answer, fault, limit);
  const name = fresh("mode");
  const parts = { person, pair };
  const choose = (mode) => {
    for (const [one, part] of Object.entries(parts)) part.hidden = one !== mode;
    answer.clear();
    only(fault);
  };
  const option = (mode) => h("label", {}, h("input", { type: "radio", name, value: mode, checked: mode === "person", onchange: () => choose(mode) }),
    h("span", {}, () => t(`verify_${mode}`)));
  const node = page("verify_title", "verify_intro",
    h("fieldset", { class: "switch" }, h("legend", {}, () => t("verify_with")), option("person"), option("pair")),
    h("div", { class: "stack" }, person, pair, limit.node), fault, answer.node);
  choose("person");
  return { node };
}

function against_person(answer, fault, limit) {
  const picker = new Picker(() => t("person"), () => t("person_hint"));
  const require = async () => {
    const chosen = await picker.person();
    if (!chosen) {
      picker.input.focus();
      throw new Error(t(picker.name ? "person_unknown" : "person_missing", { name: picker.name }));
    }
    return chosen;
  };
  const button = h("button", { type: "button", class: "primary", onclick: () => attempt(button, fault, async () => {
    const one = await require();
    if (!recorder.take) throw new Error(t("recording_missing"));
    answer.show(await api("POST", "v1/verify", { query: { speaker_id: one.speaker_id, threshold: limit.value }, body: recorder.take.blob }));
  }) }, () => t("verify_button"));
  const recorder = new Recorder({
    label: () => t("recording"),
    hello: async () => { // nobody chosen: it is recorded all the same
      const chosen = await picker.person();
      return chosen && { speaker_id: chosen.speaker_id, ...own(limit) };
    },
    onStart: () => { answer.clear(); only(fault); },
    onAnswer: (told) => answer.show(told, { live: true }),
    onTake: ({ answer: told }) => told && answer.show(told),
  });
  return h("div", { class: "stack" }, picker.node, recorder.node, h("div", { class: "go" }, button));
}

function two_recordings(answer, fault, limit) {
  const onStart = () => { answer.clear(); only(fault); };
  const [first, second] = ["first", "second"].map((one) => new Recorder({ label: () => t(`recording_${one}`), onStart }));
  const button = h("button", { type: "button", class: "primary", onclick: () => attempt(button, fault, async () => {
    if (!first.take || !second.take) throw new Error(t("recordings_missing"));
    const form = new FormData();
    form.append("first", first.take.blob, "first");
    form.append("second", second.take.blob, "second");
    answer.show(await api("POST", "v1/verify", { query: { threshold: limit.value }, body: form }));
  }) }, () => t("verify_button"));
  return h("div", { class: "stack" }, h("div", { class: "two" }, first.node, second.node), h("div", { class: "go" }, button));
}

/** The threshold for the first message of a live session. */
export function own(limit) {
  return limit.value === "" ? {} : { threshold: Number(limit.value) };
}
