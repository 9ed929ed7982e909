// The HTTP API: await api("GET", "v1/speakers", {query: {limit: 50}}). Errors carry the server's one line.
// The key lives in sessionStorage and goes into a header, never into an address.

import { t } from "./i18n.js";

const ROOT = new URL("..", document.baseURI);

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function key() {
  return sessionStorage.getItem("key") || "";
}

export function setKey(value) {
  if (value) sessionStorage.setItem("key", value);
  else sessionStorage.removeItem("key");
}

/** A path of segments, each of them data: path("v1", "clips", id). */
export function path(...segments) {
  return segments.map(encodeURIComponent).join("/");
}

export function address(where, query = {}) {
  const url = new URL(where, ROOT);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

export function socketAddress() {
  const url = address("v1/live");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

export async function api(method, where, { query, json, body } = {}) {
  const headers = {};
  if (key()) headers.Authorization = `Bearer ${key()}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(where, query), {
      method, headers, body: json === undefined ? body : JSON.stringify(json), cache: "no-store",
    });
  } catch {
    throw new ApiError(0, "network", t("error_network"));
  }
  if (response.status === 204) return null;
  const told = await response.json().catch(() => ({}));
  if (response.ok) return told;
  if (response.status === 401) document.dispatchEvent(new CustomEvent("key-needed"));
  throw new ApiError(response.status, told.error || "http", told.message || t("error_status", { n: response.status }));
}

let described = null;

/** The model and the server's limits; read once. */
export function model() {
  described ||= api("GET", "v1/models").then((all) => all[0]).catch((error) => {
    described = null;
    throw error;
  });
  return described;
}
