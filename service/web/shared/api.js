// Requests to the service. Addresses are relative to the page, so that it works behind a path prefix.

import * as apiKey from "./api_key.js";

/** Why a request failed. permanent: another try would fail too. status: the HTTP status, if there is one. */
export class Problem extends Error {
  constructor(title, detail, { permanent = false, status = null } = {}) {
    super(detail);
    this.title = title;
    this.status = status;
    this.permanent = permanent;
  }
}

/** Return the served models: name, labels, input_size, engine, ... */
export async function models() {
  return (await (await request("models")).json()).models;
}

/** Return the response for one image. query: parameters of POST /detect; an array is a repeated parameter. */
export async function detect(file, query) {
  return (await post(file, query)).json();
}

/** Return the upright image with its boxes drawn, as a blob. */
export async function annotated(file, query) {
  return (await post(file, { ...query, format: "image" })).blob();
}

/** Return the absolute URL of POST /detect with this query. */
export function detectUrl(query) {
  const url = new URL("detect", document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const item of [value].flat()) url.searchParams.append(name, item);
  }
  return url.href;
}

function post(file, query) {
  return request(detectUrl(query), { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
}

async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { ...options.headers, ...apiKey.headers() }, cache: "no-store" });
  } catch {
    throw new Problem("No response", "The service cannot be reached, or it closed the connection while it received the image. Check that it is running and that the image is not too large.");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  const retryAfter = response.headers.get("retry-after");
  const wait = retryAfter && /^\d+$/.test(retryAfter) ? ` Try again in ${retryAfter} s.` : "";
  const detail = (body.detail ?? "The service gave no reason.") + wait;
  const { status } = response;
  return new Problem(body.title ?? `Status ${status}`, detail, { permanent: status < 500 && status !== 404, status });
}
