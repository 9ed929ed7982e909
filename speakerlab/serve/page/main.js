// The frame of the page: views by the part of the address behind #, language, API key.

import { api, key, setKey } from "./api.js";
import { attempt, faultLine } from "./choices.js";
import { field, h, icon, only } from "./dom.js";
import * as enrol from "./enrol.js";
import { LANGUAGES, apply, current, redraw, setLanguage, t } from "./i18n.js";
import * as identify from "./identify.js";
import * as people from "./people.js";
import { stopRecording } from "./recorder.js";
import * as review from "./review.js";
import * as thresholds from "./thresholds.js";
import * as verify from "./verify.js";

const VIEWS = { verify, identify, enrol, people, review, thresholds };
const built = {};
const links = {};
let shown = null;

function start() {
  const nav = document.getElementById("nav");
  nav.append(h("ul", {}, Object.keys(VIEWS).map((name) => {
    links[name] = h("a", { href: `#/${name}` }, icon(name), h("span", {}, () => t(`nav_${name}`)));
    return h("li", {}, links[name]);
  })));
  const skip = document.getElementById("skip");
  only(skip, () => t("skip"));
  skip.addEventListener("click", (event) => { // the address belongs to the views
    event.preventDefault();
    document.getElementById("main").focus();
  });
  foot();
  redraw(() => {
    nav.setAttribute("aria-label", t("nav"));
    title();
  });
  apply();
  window.addEventListener("hashchange", () => route(true));
  document.addEventListener("key-needed", askKey);
  route(false);
}

function foot() {
  const select = h("select", { "aria-label": () => t("language"), onchange: () => setLanguage(select.value) },
    Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, lang: code }, name)));
  select.value = current();
  const change = h("button", { type: "button", class: "bare", id: "key-change", hidden: !key(), onclick: askKey }, () => t("key_change"));
  only(document.getElementById("foot"), select, h("a", { href: "api.html" }, () => t("api_title")), change);
}

function title() {
  document.title = shown ? `${t(`nav_${shown}`)} – speakerlab` : "speakerlab";
}

async function route(moves) {
  const [, wanted, id] = location.hash.split("/");
  const name = Object.hasOwn(VIEWS, wanted || "") ? wanted : "verify";
  shown = name;
  const view = (built[name] ||= VIEWS[name].build());
  stopRecording();
  const place = document.getElementById("views");
  if (place.firstChild !== view.node) place.replaceChildren(view.node);
  for (const [one, link] of Object.entries(links)) {
    if (one === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  title();
  await view.show?.(id);
  if (moves) {
    window.scrollTo(0, 0);
    view.node.querySelector("h1")?.focus();
  }
}

/** The field for the API key, where the server wants one. */
function askKey() {
  const place = document.getElementById("key-place");
  if (place.firstChild) return;
  const fault = faultLine();
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const button = h("button", { class: "primary" }, () => t("key_use"));
  only(place, h("form", { class: "key", onsubmit: (event) => {
    event.preventDefault();
    attempt(button, fault, async () => {
      const before = key();
      setKey(input.value.trim());
      try {
        await api("GET", "v1/models");
      } catch (error) {
        if (error.status === 401) {
          setKey(before);
          throw new Error(t("key_wrong"));
        }
      }
      place.replaceChildren();
      document.getElementById("key-change").hidden = false;
      await route(true);
    });
  } }, h("h2", {}, () => t("key_title")), h("div", { class: "inline" }, field(() => t("key"), input, () => t("key_hint")), button), fault));
  input.focus();
  place.scrollIntoView();
}

start();
