// Highlights a box together with its list entry. A click keeps the highlight.

import { at } from "../shared/dom.js";

let pinned = null;

const indexOf = (event) => event.target.closest("[data-index]")?.dataset.index ?? null;

/** Remove the highlight, because the boxes have changed. */
export function clear() {
  pinned = null;
  highlight(null);
}

function highlight(index) {
  at("canvas").classList.toggle("choosing", index !== null);
  for (const node of document.querySelectorAll("[data-index]")) {
    node.classList.toggle("lit", node.dataset.index === index);
    if (node.matches("button")) node.ariaPressed = String(node.dataset.index === pinned);
  }
}

function pin(index) {
  pinned = pinned === index ? null : index;
  highlight(pinned);
}

export function listen() {
  for (const area of [at("boxes"), at("found")]) {
    area.addEventListener("pointerover", (event) => highlight(indexOf(event) ?? pinned));
    area.addEventListener("pointerleave", () => highlight(pinned));
    area.addEventListener("click", (event) => pin(indexOf(event)));
  }
  at("found").addEventListener("focusin", (event) => highlight(indexOf(event)));
  at("found").addEventListener("focusout", () => highlight(pinned));
  at("boxes").addEventListener("click", (event) => {
    at("found").querySelector(`[data-index="${indexOf(event)}"]`)?.scrollIntoView({ block: "nearest" });
  });
}
