// The routes of the server, drawn from its own /openapi.json; descriptions are English.

import { api, address } from "./api.js";
import { h, only } from "./dom.js";
import { apply, t } from "./i18n.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

async function start() {
  const main = document.getElementById("main");
  apply();
  document.title = `${t("api_title")} – speakerlab`;
  let told;
  try {
    told = await api("GET", "openapi.json");
  } catch (error) {
    only(main, h("h1", {}, () => t("api_title")), h("p", { class: "fault", role: "alert" }, error.message));
    return;
  }
  const groups = new Map();
  for (const [where, item] of Object.entries(told.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const tag = item[method].tags?.[0] || "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(where, method, item[method], told));
    }
  }
  only(main, h("p", { class: "back" }, h("a", { href: "./" }, "← speakerlab")),
    h("h1", {}, () => t("api_title")),
    h("p", { class: "intro" }, () => t("api_intro", { version: told.info.version })),
    h("p", {}, h("a", { href: address("openapi.json").href }, "openapi.json")),
    h("p", {}, () => t("api_live")),
    [...groups].map(([tag, routes]) => h("section", { lang: "en" }, h("h2", {}, tag), routes)));
}

function route(where, method, told, all) {
  const [first, ...rest] = (told.description || told.summary || "").split("\n\n");
  return h("details", { class: "route" },
    h("summary", {}, h("code", { class: `method ${method}` }, method.toUpperCase()), h("code", {}, where), h("span", { class: "soft" }, first)),
    rest.map((one) => h("p", {}, one)), parameters(told.parameters || [], all), body(told.requestBody, all), answers(told.responses, all));
}

function resolved(schema, all) {
  if (!schema?.$ref) return schema || {};
  return schema.$ref.slice(2).split("/").reduce((found, part) => found[part], all);
}

/** A schema in few words: "number or null", "list of NamedScore". */
function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items) || "anything"}`;
  if (schema.format === "binary") return "file";
  return schema.type || "anything";
}

function table(caption, rows) {
  if (!rows.length) return null;
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": caption }, h("table", { class: "left" }, h("caption", {}, caption),
    h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, name)), cells.map((one) => h("td", {}, one)))))));
}

function parameters(list, all) {
  return table("Parameters", list.map((one) => resolved(one, all)).map((one) => [
    one.name, one.in, kind(one.schema) + (one.required ? ", required" : ""), one.description || one.schema?.description || "",
  ]));
}

function fields(schema, all) {
  const known = resolved(schema, all);
  const properties = Object.entries(known.properties || {});
  return properties.map(([name, one]) => [name, kind(one), one.description || ""]);
}

function body(told, all) {
  const content = Object.entries(told?.content || {});
  if (!content.length) return null;
  const [form] = content;
  return [h("p", {}, "Body: ", content.map(([type], i) => [i ? ", " : "", h("code", {}, type)])), table("Fields of the body", fields(form[1].schema, all))];
}

function answers(responses, all) {
  return Object.entries(responses || {}).map(([status, one]) => {
    const schema = one.content?.["application/json"]?.schema;
    if (!status.startsWith("2")) return null;
    const shape = schema?.type === "array" ? schema.items : schema;
    return [h("p", {}, "Answer ", h("code", {}, status), schema ? `: ${kind(schema)}` : ""), table("Fields of the answer", fields(shape, all))];
  }).concat(h("p", { class: "soft" }, "Failures: ", Object.keys(responses || {}).filter((one) => !one.startsWith("2")).join(", ")));
}

start();
