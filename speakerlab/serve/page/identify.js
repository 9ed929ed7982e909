// Identify: which of the enrolled people speaks, if any; live while one speaks.

import { Answer } from "./answer.js";
import { api } from "./api.js";
import { GalleryChoice, attempt, faultLine, page, thresholdField } from "./choices.js";
import { h, only } from "./dom.js";
import { t } from "./i18n.js";
import { Recorder } from "./recorder.js";
import { own } from "./verify.js";

export function build() {
  const answer = new Answer();
  const fault = faultLine();
  const limit = thresholdField();
  const gallery = new GalleryChoice(() => t("identify_among"), () => t("everybody"));
  const button = h("button", { type: "button", class: "primary", onclick: () => attempt(button, fault, async () => {
    if (!recorder.take) throw new Error(t("recording_missing"));
    const query = { gallery: gallery.value, threshold: limit.value, top_k: 5 };
    answer.show(await api("POST", "v1/identify", { query, body: recorder.take.blob }));
  }) }, () => t("identify_button"));
  const recorder = new Recorder({
    label: () => t("recording"),
    hello: () => ({ ...(gallery.value ? { gallery: gallery.value } : {}), ...own(limit) }),
    onStart: () => { answer.clear(); only(fault); },
    onAnswer: (told) => answer.show(told, { live: true }),
    onTake: ({ answer: told }) => told && answer.show(told),
  });
  const node = page("identify_title", "identify_intro",
    h("div", { class: "stack" }, gallery.node, recorder.node, h("div", { class: "go" }, button), limit.node), fault, answer.node);
  return { node, show: () => gallery.fill().catch((error) => only(fault, error.message)) };
}
