// The language of the page: t("verify_title"), t("clips", {n: 3}); texts live in texts.js alone.
// A text node or attribute made by dom.js follows when setLanguage("zh") is called.

import { TEXTS } from "./texts.js";

export const LANGUAGES = { en: "English", zh: "中文" };
const NAMES = Object.keys(LANGUAGES);
const spoken = new Set();
const redrawn = new Set();
let language = chosen();

function chosen() {
  const kept = localStorage.getItem("language");
  const wanted = [kept, ...navigator.languages].map((one) => (one || "").slice(0, 2).toLowerCase());
  return wanted.find((one) => NAMES.includes(one)) || "en";
}

export function current() {
  return language;
}

/** The text of a key; {n} is replaced, {n:clip|clips} takes the form that the number needs. */
export function t(key, values = {}) {
  const found = TEXTS[key];
  if (!found) throw new Error(`no text ${key}`);
  return found[NAMES.indexOf(language)].replace(/\{(\w+)(?::([^|}]*)\|([^}]*))?\}/g, (_, name, one, other) => {
    if (one === undefined) return String(values[name]);
    return new Intl.PluralRules(language).select(Number(values[name])) === "one" ? one : other;
  });
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value).replace("-", "−");
}

/** A score or threshold, with a true minus. */
export function score(value) {
  return value.toFixed(3).replace("-", "−");
}

export function percent(share, digits = 2) {
  return new Intl.NumberFormat(language, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(share);
}

export function date(seconds) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(seconds * 1000));
}

/** Keep `set(text)` right in whatever language; `owner` is the node that it writes to. */
export function follow(owner, make, set) {
  spoken.add({ owner: new WeakRef(owner), make, set });
  set(owner, make());
}

/** Call `draw` after each change of language. */
export function redraw(draw) {
  redrawn.add(draw);
}

export function setLanguage(wanted) {
  language = NAMES.includes(wanted) ? wanted : "en";
  localStorage.setItem("language", language);
  apply();
}

export function apply() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const one of spoken) {
    const owner = one.owner.deref();
    if (owner) one.set(owner, one.make());
    else spoken.delete(one);
  }
  for (const draw of redrawn) draw();
}
