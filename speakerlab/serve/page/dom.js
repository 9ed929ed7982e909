// Elements without innerHTML: h("p", {class: "x"}, "text", () => t("key")). What others typed is text, always.
// A function as child or attribute is a text that follows the language.

import { follow } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (typeof value === "function") follow(node, value, (one, text) => one.setAttribute(name, text));
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  put(node, ...children);
  return node;
}

/** Append nodes, texts, or functions that make texts. */
export function put(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    if (typeof child === "function") {
      const text = document.createTextNode("");
      follow(text, child, (one, value) => { one.data = value; });
      node.append(text);
    } else node.append(child);
  }
  return node;
}

/** Put these children in place of what was there. */
export function only(node, ...children) {
  node.replaceChildren();
  return put(node, ...children);
}

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

let counter = 0;

/** An id that no other element has. */
export function fresh(stem) {
  counter += 1;
  return `${stem}-${counter}`;
}

/** A labelled field; `control` gets an id, `hint` describes it. */
export function field(label, control, hint = null) {
  control.id ||= fresh("field");
  const told = hint && h("p", { class: "hint", id: `${control.id}-hint` }, hint);
  if (told) control.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, told);
}

const ICONS = {
  verify: "M7 4v16M12 8v8M17 6v12M3 10v4M21 10v4",
  identify: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.5 15.5 21 21",
  enrol: "M12 15a4 4 0 0 0 4-4V7a4 4 0 0 0-8 0v4a4 4 0 0 0 4 4ZM5 11a7 7 0 0 0 14 0M12 18v3",
  people: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20a6.5 6.5 0 0 1 13 0M16 4.5a3.5 3.5 0 0 1 0 6M18 14a6 6 0 0 1 3.5 6",
  review: "M5 4h14v16H5zM9 9h6M9 13h3M13.5 16.5l1.5 1.5 3-3",
  thresholds: "M4 4v16h16M7 8c1 6 4 9 10 9M13 5v9",
  mic: "M12 15a4 4 0 0 0 4-4V7a4 4 0 0 0-8 0v4a4 4 0 0 0 4 4ZM5 11a7 7 0 0 0 14 0M12 18v3",
  stop: "M7 7h10v10H7z",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  close: "M6 6l12 12M18 6 6 18",
  same: "M5 12.5 10 17.5 19 7",
  different: "M6 6l12 12M18 6 6 18",
  uncertain: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18v.1",
};

export function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** Tell a screen reader, once. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
