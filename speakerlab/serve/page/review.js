// Review: clips that a gate stopped, with its reasons; a person accepts or withdraws them.

import { api, path } from "./api.js";
import { attempt, faultLine, page } from "./choices.js";
import { announce, h, only } from "./dom.js";
import { date, t } from "./i18n.js";
import { clipFacts, reasonsOf } from "./people.js";

export function build() {
  const fault = faultLine();
  const list = h("ul", { class: "list" });
  const node = page("review_title", "review_intro", fault, list);
  const load = async () => {
    const found = await api("GET", "v1/review", { query: { limit: 200 } });
    const ids = [...new Set(found.map((one) => one.speaker_id))];
    const people = await Promise.all(ids.map((id) => api("GET", path("v1", "speakers", id)).catch(() => null)));
    const names = new Map(ids.map((id, i) => [id, people[i]?.name || id]));
    only(list, found.length ? found.map((one) => waiting(one, names.get(one.speaker_id), fault, list))
      : h("li", { class: "empty" }, () => t("review_empty")));
  };
  return { node, show: () => load().catch((error) => only(fault, error.message)) };
}

function waiting(one, name, fault, list) {
  const act = (text, kind, work, done) => {
    const button = h("button", { type: "button", class: kind, "aria-label": () => `${t(text)}: ${name}`, onclick: () => attempt(button, fault, async () => {
      await work();
      const next = (row.nextElementSibling || row.previousElementSibling)?.querySelector("button");
      row.remove();
      if (!list.children.length) only(list, h("li", { class: "empty" }, () => t("review_empty")));
      (next || list.closest("article").querySelector("h1")).focus();
      announce(t(done, { name }));
    }) }, () => t(text));
    return button;
  };
  const row = h("li", { class: "waiting" }, h("div", { class: "grow" },
    h("a", { class: "name", href: `#/people/${one.speaker_id}` }, name),
    h("div", { class: "soft" }, () => `${date(one.added_s)} · `, clipFacts(one)), reasonsOf(one)),
  h("div", { class: "row" },
    act("accept", "quiet", () => api("POST", path("v1", "review", one.clip_id, "accept")), "accepted"),
    act("withdraw", "bare", () => api("DELETE", path("v1", "clips", one.clip_id)), "withdrawn")));
  return row;
}
