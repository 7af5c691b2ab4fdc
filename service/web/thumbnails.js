// Thumbnails to choose from, if there are several images.

import { at, element } from "./dom.js";
import { Problem } from "./api.js";

const buttons = new Map();

/** Show the thumbnails if there are at least two images. choose(file) is called on a click. */
export function showThumbnails(files, current, model, choose) {
  at("strip").hidden = files.length < 2;
  for (const file of files) {
    if (!buttons.has(file)) add(file, choose);
    update(file, file === current, file.responses.get(model));
  }
}

function add(file, choose) {
  const button = element(
    "button",
    { type: "button", title: file.name },
    element("img", { alt: "" }),
    element("span", { className: "name" }, file.name),
    element("span", { className: "mark" }),
  );
  button.addEventListener("click", () => choose(file));
  buttons.set(file, button);
  at("strip").append(element("li", {}, button));
}

function update(file, isCurrent, response) {
  const button = buttons.get(file);
  const [image, name, mark] = button.children;
  if (image.getAttribute("src") !== file.url) image.src = file.url;
  const state = !response ? "waiting" : response instanceof Problem ? "refused" : "answered";
  image.hidden = !file.upright; // until then the browser may be unable to show it
  name.hidden = file.upright;
  mark.textContent = { waiting: "…", refused: "!", answered: "" }[state];
  button.ariaLabel = `${file.name}, ${state}`;
  button.ariaCurrent = String(isCurrent);
  button.className = state;
}
