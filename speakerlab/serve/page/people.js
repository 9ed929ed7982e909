// People: the list in pages, galleries, and one person with clips, name and erasure.

import { api, path } from "./api.js";
import { GalleryChoice, attempt, faultLine, page } from "./choices.js";
import { confirmed } from "./confirm.js";
import { announce, field, fresh, h, only, put } from "./dom.js";
import { date, number, t } from "./i18n.js";

const PAGE = 25;

export function build() {
  const inside = h("div");
  const show = (id) => {
    const place = h("div"); // a late answer fills a place that is gone
    only(inside, place);
    return id ? one_person(place, id) : everybody(place);
  };
  return { node: inside, show };
}

async function everybody(inside) {
  const fault = faultLine();
  const list = h("ul", { class: "list" });
  const more = h("button", { type: "button", class: "quiet", hidden: true }, () => t("more"));
  const choice = new GalleryChoice(() => t("people_of"), () => t("everybody"));
  const remove = h("button", { type: "button", class: "quiet danger-text", hidden: true }, () => t("gallery_remove"));
  let last = "";
  let ticket = 0; // a later choice makes an earlier answer void
  const load = async () => {
    const own = (ticket += 1);
    const found = await api("GET", "v1/speakers", { query: { gallery: choice.value, after: last, limit: PAGE + 1 } });
    if (own !== ticket) return;
    const shown = found.slice(0, PAGE);
    put(list, shown.map((one) => row(one, choice.value, fault)));
    more.hidden = found.length <= PAGE;
    if (shown.length) last = shown.at(-1).name;
    if (!list.children.length) put(list, h("li", { class: "empty" }, h("p", {}, () => t(choice.value ? "gallery_empty" : "people_empty")),
      choice.value ? null : h("a", { class: "button primary", href: "#/enrol" }, () => t("enrol_first"))));
  };
  const restart = () => {
    last = "";
    remove.hidden = !choice.value;
    only(list);
    return load();
  };
  const again = async (work) => {
    only(fault);
    await work().catch((error) => only(fault, error.message));
  };
  more.addEventListener("click", () => again(async () => {
    const before = list.children.length;
    await load();
    list.children[before]?.querySelector("a")?.focus();
  }));
  choice.select.addEventListener("change", () => again(restart));
  remove.addEventListener("click", () => attempt(remove, fault, async () => {
    const name = choice.value;
    if (!await confirmed({ title: () => t("gallery_remove_title", { name }), text: () => t("gallery_remove_text"), action: () => t("gallery_remove") })) return;
    await api("DELETE", path("v1", "galleries", name));
    await choice.fill();
    await restart();
    choice.select.focus();
  }));
  const make = newGallery(fault, async (name) => {
    await choice.fill();
    choice.select.value = name;
    await restart();
  });
  only(inside, page("people_title", "people_intro",
    h("div", { class: "toolbar" }, choice.node, remove, make), fault, list, h("div", {}, more)));
  await again(async () => {
    await choice.fill();
    await restart();
  });
}

function newGallery(fault, then) {
  const input = h("input", { type: "text", maxlength: 200, required: true, autocomplete: "off" });
  const button = h("button", { class: "quiet" }, () => t("gallery_make"));
  const form = h("form", { class: "inline", onsubmit: (event) => {
    event.preventDefault();
    attempt(button, fault, async () => {
      const name = input.value.trim().normalize("NFC");
      await api("PUT", path("v1", "galleries", name));
      input.value = "";
      announce(t("gallery_made", { name }));
      await then(name);
    });
  } }, field(() => t("gallery_new"), input), button);
  return form;
}

function row(one, gallery, fault) {
  const waiting = one.num_review ? h("span", { class: "tag uncertain" }, () => t("waiting", { n: one.num_review })) : null;
  const node = h("li", {}, h("a", { class: "name", href: `#/people/${one.speaker_id}` }, one.name),
    h("span", { class: "soft" }, () => t("clips", { n: one.num_clips })), waiting);
  if (gallery) {
    const leave = h("button", { type: "button", class: "bare", "aria-label": () => t("gallery_leave_of", { name: one.name }), onclick: () => attempt(leave, fault, async () => {
      await api("DELETE", path("v1", "galleries", gallery, "speakers", one.speaker_id));
      const next = (node.nextElementSibling || node.previousElementSibling)?.querySelector("a");
      node.remove();
      announce(t("gallery_left", { name: one.name, gallery }));
      next?.focus();
    }) }, () => t("gallery_leave"));
    put(node, leave);
  }
  return node;
}

async function one_person(inside, id) {
  const fault = faultLine();
  let person;
  try {
    person = await api("GET", path("v1", "speakers", id));
  } catch (error) {
    only(fault, error.message);
    only(inside, h("article", {}, back(), h("h1", { tabindex: "-1" }, () => t("people_title")), fault));
    return;
  }
  const title = h("h1", { tabindex: "-1", class: "person" }, person.name);
  const clips = h("ul", { class: "list" });
  const load = async () => {
    const found = await api("GET", path("v1", "speakers", id, "clips"));
    only(clips, found.length ? found.map((one) => clip(one, fault, load)) : h("li", { class: "empty" }, () => t("clips_none")));
  };
  const galleries = await join(person, fault);
  only(inside, h("article", {}, back(), title, h("p", { class: "intro" }, () => t("person_added", { date: date(person.added_s) })), fault,
    h("section", {}, h("h2", {}, () => t("clips_title")), clips),
    h("section", { class: "stack" }, h("h2", {}, () => t("person_change")), rename(person, title, fault), galleries),
    h("section", { class: "last" }, h("h2", {}, () => t("erase_title")), h("p", {}, () => t("erase_intro")), erasure(person, inside, fault))));
  await load().catch((error) => only(fault, error.message));
}

function back() {
  return h("p", { class: "back" }, h("a", { href: "#/people" }, "← ", () => t("people_title")));
}

function clip(one, fault, load) {
  const withdraw = h("button", { type: "button", class: "bare", onclick: () => attempt(withdraw, fault, async () => {
    if (!await confirmed({ title: () => t("withdraw_title"), text: () => t("withdraw_text"), action: () => t("withdraw") })) return;
    await api("DELETE", path("v1", "clips", one.clip_id));
    announce(t("withdrawn"));
    await load();
  }) }, () => t("withdraw"));
  return h("li", { "data-state": one.state }, h("div", { class: "grow" },
    h("div", {}, h("span", { class: `tag ${one.state}` }, () => t(`state_${one.state}`)), " ", h("span", {}, () => date(one.added_s))),
    h("div", { class: "soft" }, clipFacts(one)), reasonsOf(one)),
  one.state === "withdrawn" ? null : withdraw);
}

/** Seconds of speech, and the consent. */
export function clipFacts(one) {
  return () => [
    one.speech_s === null ? null : t("take_speech", { s: number(one.speech_s, 1) }),
    one.consent === null ? t("consent_none") : t("consent_of", { reference: one.consent }),
    one.consent_end_s === null ? null : t("consent_until", { date: date(one.consent_end_s) }),
  ].filter(Boolean).join(" · ");
}

/** Why a clip waits, and what was found in its recording: the server's words. */
export function reasonsOf(one) {
  const texts = [...new Set([...one.review, ...one.flags])];
  return texts.length ? h("ul", { lang: "en", class: "reasons" }, texts.map((text) => h("li", {}, text))) : null;
}

function rename(person, title, fault) {
  const input = h("input", { type: "text", maxlength: 200, required: true, autocomplete: "off", value: person.name });
  const button = h("button", { class: "quiet" }, () => t("rename"));
  return h("form", { class: "inline", onsubmit: (event) => {
    event.preventDefault();
    attempt(button, fault, async () => {
      Object.assign(person, await api("PATCH", path("v1", "speakers", person.speaker_id), { json: { name: input.value } }));
      only(title, person.name);
      announce(t("renamed", { name: person.name }));
    });
  } }, field(() => t("name"), input), button);
}

async function join(person, fault) {
  const choice = new GalleryChoice(() => t("gallery"), () => t("choose"));
  const there = await choice.fill().catch(() => ({}));
  if (!Object.keys(there).length) return null;
  const button = (make, method) => {
    const one = h("button", { type: "button", class: "quiet", onclick: () => attempt(one, fault, async () => {
      if (!choice.value) return choice.select.focus();
      const gallery = choice.value;
      if (method === "POST") await api("POST", path("v1", "galleries", gallery, "speakers"), { json: { speaker_ids: [person.speaker_id] } });
      else await api("DELETE", path("v1", "galleries", gallery, "speakers", person.speaker_id));
      await choice.fill();
      only(done, () => t(method === "POST" ? "gallery_joined" : "gallery_left", { name: person.name, gallery }));
      return null;
    }) }, make);
    return one;
  };
  const done = h("p", { class: "hint", role: "status" });
  return h("div", {}, h("div", { class: "inline" }, choice.node, button(() => t("gallery_join"), "POST"), button(() => t("gallery_leave"), "DELETE")), done);
}

function erasure(person, inside, fault) {
  const button = h("button", { type: "button", class: "danger", onclick: () => attempt(button, fault, async () => {
    const asked = { title: () => t("erase_ask", { name: person.name }), text: () => t("erase_text"), action: () => t("erase") };
    if (!await confirmed(asked)) return;
    receipt(inside, person, await api("DELETE", path("v1", "speakers", person.speaker_id)));
  }) }, () => t("erase"));
  return button;
}

function receipt(inside, person, told) {
  const text = JSON.stringify(told, null, 2);
  const link = h("a", { class: "button quiet", download: `receipt-${told.receipt}.json` }, () => t("receipt_save"));
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const title = h("h1", { tabindex: "-1" }, () => t("erased", { name: person.name }));
  const left = Object.values(told.found_afterwards).reduce((sum, one) => sum + one, 0) + Number(told.in_index);
  const label = fresh("receipt");
  only(inside, h("article", {}, back(), title,
    h("p", { class: "intro" }, () => t(left ? "receipt_left" : "receipt_gone", { clips: told.removed.clips, galleries: told.removed.galleries })),
    h("section", {}, h("h2", { id: label }, () => t("receipt")), h("p", {}, () => t("receipt_number"), " ", h("code", {}, told.receipt)),
      h("p", { lang: "en", class: "soft" }, told.not_reached ? () => t("receipt_not_reached", { what: told.not_reached }) : null),
      h("pre", { tabindex: "0", role: "region", "aria-labelledby": label }, text), link)));
  title.focus();
  announce(t("erased", { name: person.name }));
}
