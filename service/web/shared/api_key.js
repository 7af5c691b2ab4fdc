// The API key, if the service requires one. It is stored in this tab and sent to the service only. It never appears in a URL, a file or a curl command.

import { at } from "./dom.js";

const STORAGE_KEY = "boxwright-key";

let key = load();

/** Headers for each request to the service. */
export const headers = () => (key ? { "x-api-key": key } : {});

/** The same as curl options, with the key in a shell variable. */
export const curlOptions = () => (key ? '--header "X-API-Key: $BOXWRIGHT_API_KEY" ' : "");

/** Show the form for the key if `problem` is a missing or unknown key. */
export function show(problem) {
  const required = problem?.status === 401;
  const appears = required && at("key-form").hidden;
  at("key-form").hidden = !required;
  at("forget-key").hidden = !key;
  if (required) at("key-message").textContent = key ? "Unknown API key." : "This service requires an API key. Ask its operator for one.";
  if (appears) at("key").focus();
}

/** onChange() is called when a key is entered or forgotten. */
export function listen(onChange) {
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    store(at("key").value.trim());
    at("key").value = "";
    onChange();
  });
  at("forget-key").addEventListener("click", () => {
    store("");
    onChange();
  });
}

function load() {
  try {
    return sessionStorage.getItem(STORAGE_KEY) ?? "";
  } catch {
    return ""; // storage is blocked: the user enters the key on each visit
  }
}

function store(value) {
  key = value;
  try {
    sessionStorage.setItem(STORAGE_KEY, key);
  } catch {
    // storage is blocked: the key lasts for this visit
  }
}
