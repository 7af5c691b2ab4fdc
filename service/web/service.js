// The service, asked by fetch. Addresses are relative to the page, so that it works behind a prefix too.

import * as key from "./key.js";

/** Why there is no answer, in words; lasting: asking again would bring the same. status: of HTTP, if it came to that. */
export class Problem extends Error {
  constructor(title, detail, { lasting = false, status = null } = {}) {
    super(detail);
    this.title = title;
    this.status = status;
    this.lasting = lasting;
  }
}

/** What is being served: name, labels, input_size, engine, ... */
export async function models() {
  return (await (await ask("models")).json()).models;
}

/** The answer to one photo. query: of POST /detect; an array is a parameter that is repeated. */
export async function detect(photo, query) {
  return (await post(photo, query)).json();
}

/** The photo, upright, with its boxes drawn, as a blob. */
export async function drawn(photo, query) {
  return (await post(photo, { ...query, format: "image" })).blob();
}

/** The address of POST /detect with that query, for whoever asks from elsewhere. */
export function address(query) {
  const url = new URL("detect", document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) url.searchParams.append(name, one);
  }
  return url.href;
}

function post(photo, query) {
  return ask(address(query), { method: "POST", body: photo, headers: { "content-type": "application/octet-stream" } });
}

async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { ...options.headers, ...key.headers() }, cache: "no-store" });
  } catch {
    throw new Problem("No answer", "the service cannot be reached, or hung up before it had read the photo. Is it running, and the photo not too large?");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const words = await response.json().catch(() => ({}));
  const again = response.headers.get("retry-after");
  const wait = again && /^\d+$/.test(again) ? ` It asks to try again in ${again} s.` : "";
  const detail = (words.detail ?? "the service says no more than that.") + wait;
  const { status } = response;
  return new Problem(words.title ?? `Status ${status}`, detail, { lasting: status < 500 && status !== 404, status });
}
