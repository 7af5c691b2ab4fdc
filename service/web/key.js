// The key, where the service wants one. It stays in this tab and goes to the service only: into no address, file or curl line.

import { at } from "./dom.js";

const PLACE = "boxwright-key";

let key = kept();

/** What every request to the service carries. */
export const headers = () => (key ? { "x-api-key": key } : {});

/** The same for a shell that has the key in a variable. */
export const words = () => (key ? '--header "X-API-Key: $BOXWRIGHT_API_KEY" ' : "");

/** Ask for a key where `problem` is that there is none, or a wrong one. */
export function show(problem) {
  const wanted = problem?.status === 401;
  const appears = wanted && at("key-form").hidden;
  at("key-form").hidden = !wanted;
  at("forget-key").hidden = !key;
  if (wanted) at("key-words").textContent = key ? "This key is not known here." : "This service wants a key. Whoever runs it gives you one.";
  if (appears) at("key").focus();
}

/** changed() is called with every key that is entered, and when it is forgotten. */
export function listen(changed) {
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keep(at("key").value.trim());
    at("key").value = "";
    changed();
  });
  at("forget-key").addEventListener("click", () => {
    keep("");
    changed();
  });
}

function kept() {
  try {
    return sessionStorage.getItem(PLACE) ?? "";
  } catch {
    return ""; // storage is forbidden here: it is asked for with every visit
  }
}

function keep(value) {
  key = value;
  try {
    sessionStorage.setItem(PLACE, key);
  } catch {
    // storage is forbidden here: it holds for this visit
  }
}
