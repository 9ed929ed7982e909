// Fields that several views have: a person (with suggestions), a gallery, a threshold of one's own.

import { api } from "./api.js";
import { field, fresh, h, only } from "./dom.js";
import { t } from "./i18n.js";

const SUGGESTED = 200; // names at once; typing brings those that follow

/** A field for an enrolled person; await picker.person() -> {speaker_id, name}, or null. */
export class Picker {
  constructor(label, hint = null) {
    this.list = h("datalist", { id: fresh("people") });
    this.input = h("input", {
      type: "text", list: this.list.id, autocomplete: "off", spellcheck: "false", maxlength: 200,
      onfocus: () => this.suggest(), oninput: () => this.suggest(),
    });
    this.node = put_list(field(label, this.input, hint), this.list);
    this.known = new Map();
  }

  async suggest() {
    const typed = this.input.value.trim();
    const ticket = (this.ticket = (this.ticket || 0) + 1);
    const starts = new Set([typed, typed.charAt(0).toUpperCase() + typed.slice(1)]);
    const pages = await Promise.all([...starts].map((start) =>
      api("GET", "v1/speakers", { query: { after: justBefore(start), limit: SUGGESTED } }).catch(() => [])));
    const found = pages.flat();
    found.forEach((one) => this.known.set(one.name, one));
    if (ticket === this.ticket) only(this.list, [...new Set(found.map((one) => one.name))].map((name) => h("option", { value: name })));
  }

  get name() {
    return this.input.value.trim().normalize("NFC");
  }

  /** The speaker of exactly this name. */
  async person() {
    if (!this.name) return null;
    await this.suggest();
    return this.known.get(this.name) || null;
  }
}

/** The text after which `start` comes next, in the order of names: that of code points. */
function justBefore(start) {
  const letters = [...start];
  if (!letters.length) return "";
  const last = letters.pop().codePointAt(0) - 1;
  return letters.join("") + String.fromCodePoint(last === 0xdfff ? 0xd7ff : last, 0x10ffff);
}

function put_list(node, list) {
  node.append(list);
  return node;
}

/** A choice among galleries, with one entry for no gallery; `fill()` reads them again. */
export class GalleryChoice {
  constructor(label, none) {
    this.none = none;
    this.select = h("select");
    this.node = field(label, this.select);
    only(this.select, h("option", { value: "" }, none));
  }

  async fill() {
    const chosen = this.select.value;
    const found = await api("GET", "v1/galleries");
    this.names = Object.keys(found);
    only(this.select, h("option", { value: "" }, this.none),
      this.names.map((one) => h("option", { value: one }, `${one} (${found[one]})`)));
    this.select.value = this.names.includes(chosen) ? chosen : "";
    return found;
  }

  get value() {
    return this.select.value;
  }
}

const kept = new Set();

/** Every threshold field of the page shows the same one. */
export function setThreshold(value) {
  sessionStorage.setItem("threshold", value);
  for (const one of kept) {
    if (one === document.activeElement) continue;
    one.value = value;
    one.closest("details").open = value !== "";
  }
}

export function thresholdField() {
  const input = h("input", {
    type: "number", step: "any", inputmode: "decimal", oninput: () => setThreshold(input.value),
  });
  input.value = sessionStorage.getItem("threshold") || "";
  kept.add(input);
  const node = h("details", { class: "more" }, h("summary", {}, () => t("own_threshold")),
    field(() => t("threshold"), input, () => t("own_threshold_hint")));
  node.open = Boolean(input.value);
  return { node, get value() { return input.value; } };
}

/** Run `work` from a button: busy meanwhile, and its error as one line in `fault`. */
export async function attempt(button, fault, work) {
  if (button.getAttribute("aria-disabled") === "true") return null;
  button.setAttribute("aria-disabled", "true");
  only(fault);
  try {
    return await work();
  } catch (error) {
    only(fault, error.message);
    return null;
  } finally {
    button.setAttribute("aria-disabled", "false");
  }
}

export function faultLine() {
  return h("p", { class: "fault", role: "alert" });
}

/** A title, what the view is for, and its parts. */
export function page(title, intro, ...parts) {
  return h("article", {}, h("h1", { tabindex: "-1" }, () => t(title)), h("p", { class: "intro" }, () => t(intro)), parts);
}
