// A box and its line in the list light up together; a press keeps them lit.

import { at } from "./dom.js";

let pinned = null;

const indexOf = (event) => event.target.closest("[data-index]")?.dataset.index ?? null;

/** Forget what was pinned: the boxes are others now. */
export function forget() {
  pinned = null;
  light(null);
}

function light(index) {
  at("canvas").classList.toggle("choosing", index !== null);
  for (const node of document.querySelectorAll("[data-index]")) {
    node.classList.toggle("lit", node.dataset.index === index);
    if (node.matches("button")) node.ariaPressed = String(node.dataset.index === pinned);
  }
}

function pin(index) {
  pinned = pinned === index ? null : index;
  light(pinned);
}

export function listen() {
  for (const area of [at("boxes"), at("found")]) {
    area.addEventListener("pointerover", (event) => light(indexOf(event) ?? pinned));
    area.addEventListener("pointerleave", () => light(pinned));
    area.addEventListener("click", (event) => pin(indexOf(event)));
  }
  at("found").addEventListener("focusin", (event) => light(indexOf(event)));
  at("found").addEventListener("focusout", () => light(pinned));
  at("boxes").addEventListener("click", (event) => {
    at("found").querySelector(`[data-index="${indexOf(event)}"]`)?.scrollIntoView({ block: "nearest" });
  });
}
