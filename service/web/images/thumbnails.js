// Thumbnails to choose from, if there are several images.

import { Problem } from "../shared/api.js";
import { at, element } from "../shared/dom.js";

const items = new Map();

/** Show the thumbnails if there are at least two images. choose(file) and remove(file) are called on a click. */
export function showThumbnails(files, current, model, { choose, remove }) {
  at("strip").hidden = files.length < 2;
  for (const [file, item] of items) {
    if (files.includes(file)) continue;
    item.remove();
    items.delete(file);
  }
  for (const file of files) {
    if (!items.has(file)) add(file, choose, remove);
    update(file, file === current, file.responses.get(model));
  }
}

function add(file, choose, remove) {
  const thumbnail = element(
    "button",
    { type: "button", title: file.name },
    element("img", { alt: "" }),
    element("span", { className: "name" }, file.name),
    element("span", { className: "mark" }),
  );
  thumbnail.addEventListener("click", () => choose(file));
  const cross = element("button", { type: "button", className: "remove", ariaLabel: `Remove ${file.name}`, title: "Remove" }, "×");
  cross.addEventListener("click", () => remove(file));
  const item = element("li", {}, thumbnail, cross);
  items.set(file, item);
  at("strip").append(item);
}

/** Scroll the thumbnails, but not the page, until this one is visible. */
function reveal(thumbnail) {
  const outer = at("strip").getBoundingClientRect();
  const inner = thumbnail.getBoundingClientRect();
  at("strip").scrollBy({
    left: Math.min(0, inner.left - outer.left) + Math.max(0, inner.right - outer.right),
    top: Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom),
  });
}

function update(file, isCurrent, response) {
  const thumbnail = items.get(file).firstChild;
  const [image, name, mark] = thumbnail.children;
  if (image.getAttribute("src") !== file.url) image.src = file.url;
  const state = file.correction?.included ? "corrected" : !response ? "waiting" : response instanceof Problem ? "refused" : "answered";
  image.hidden = !file.upright; // until then the browser may be unable to show it
  name.hidden = file.upright;
  mark.textContent = { waiting: "…", refused: "!", answered: "", corrected: "✓" }[state];
  const meaning = { waiting: "waiting", refused: "failed", answered: "ready", corrected: "corrected" }[state];
  thumbnail.ariaLabel = `${file.name}, ${meaning}`;
  if (isCurrent && thumbnail.ariaCurrent !== "true") reveal(thumbnail);
  thumbnail.ariaCurrent = String(isCurrent);
  thumbnail.className = `thumbnail ${state}`;
}
