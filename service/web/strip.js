// Several photos: a row of small ones to choose from.

import { at, element } from "./dom.js";
import { Problem } from "./service.js";

const buttons = new Map();

/** choose(photo) is called when one is pressed. Hidden while there is but one. */
export function showStrip(photos, current, model, choose) {
  at("strip").hidden = photos.length < 2;
  for (const photo of photos) {
    if (!buttons.has(photo)) add(photo, choose);
    update(photo, photo === current, photo.answers.get(model));
  }
}

function add(photo, choose) {
  const button = element(
    "button",
    { type: "button", title: photo.name },
    element("img", { alt: "" }),
    element("span", { className: "name" }, photo.name),
    element("span", { className: "mark" }),
  );
  button.addEventListener("click", () => choose(photo));
  buttons.set(photo, button);
  at("strip").append(element("li", {}, button));
}

function update(photo, isCurrent, answer) {
  const button = buttons.get(photo);
  const [image, name, mark] = button.children;
  if (image.getAttribute("src") !== photo.url) image.src = photo.url;
  const state = !answer ? "waiting" : answer instanceof Problem ? "refused" : "answered";
  image.hidden = !photo.upright; // until then it may be something that no browser shows
  name.hidden = photo.upright;
  mark.textContent = { waiting: "…", refused: "!", answered: "" }[state];
  button.ariaLabel = `${photo.name}, ${state}`;
  button.ariaCurrent = String(isCurrent);
  button.className = state;
}
