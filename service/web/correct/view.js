// The boxes on the image in Correct mode. Each is a button, so that Tab reaches it. The selected box has handles.

import { labelStyle } from "../detect/overlay.js";
import { placeCaptions } from "../detect/captions.js";
import { at, element } from "../shared/dom.js";
import { area } from "./geometry.js";

const SMALL = 44; // CSS pixels; the handles of a smaller box are outside of it, so that it can still be grabbed

const nodes = new Map(); // by id of the box

/** Show the boxes of a correction. Elements are kept, so that the focused box keeps the focus. */
export function showBoxes({ boxes, selected, size }, labels) {
  for (const [id, node] of nodes) {
    if (boxes.some((box) => box.id === id)) continue;
    node.remove();
    nodes.delete(id);
  }
  const largestFirst = boxes.toSorted((a, b) => area(b) - area(a)); // small boxes are on top, so that the pointer can reach them
  for (const [index, box] of boxes.entries()) {
    const node = nodes.get(box.id) ?? create(box.id);
    if (at("editor").children[index] !== node) at("editor").insertBefore(node, at("editor").children[index]);
    node.ariaLabel = `${box.label}, box ${index + 1} of ${boxes.length}`;
    node.ariaPressed = String(box.id === selected);
    node.classList.toggle("selected", box.id === selected);
    node.firstChild.textContent = box.label;
    for (const [name, value] of Object.entries({ ...labelStyle(labels, box.label), "z-index": largestFirst.indexOf(box) })) {
      node.style.setProperty(name, value);
    }
    place(node, box, size);
  }
  showHandles(boxes.find(({ id }) => id === selected), size);
  placeCaptions(at("editor"));
}

function create(id) {
  const node = element("button", { type: "button", className: "box", dataset: { box: id } }, element("span", { className: "caption" }));
  nodes.set(id, node);
  return node;
}

/** Show where a box would be after the current drag. id: null for a new box. */
export function preview(id, edges, size) {
  at("draft").hidden = id !== null;
  place(id === null ? at("draft") : nodes.get(id), edges, size);
  if (id !== null) showHandles(edges, size);
}

export function endPreview() {
  at("draft").hidden = true;
}

function showHandles(edges, size) {
  at("handles").hidden = !edges;
  if (!edges) return;
  place(at("handles"), edges, size);
  const { offsetWidth, offsetHeight } = at("handles");
  at("handles").classList.toggle("small", Math.min(offsetWidth, offsetHeight) < SMALL);
}

function place(node, { xmin, ymin, xmax, ymax }, { width, height }) {
  node.style.setProperty("left", `${(100 * xmin) / width}%`);
  node.style.setProperty("top", `${(100 * ymin) / height}%`);
  node.style.setProperty("width", `${(100 * (xmax - xmin)) / width}%`);
  node.style.setProperty("height", `${(100 * (ymax - ymin)) / height}%`);
}

/** Return the position of a pointer event in image pixels. */
export function toImage({ clientX, clientY }, { width, height }) {
  const frame = at("editor").getBoundingClientRect();
  return { x: ((clientX - frame.left) * width) / frame.width, y: ((clientY - frame.top) * height) / frame.height };
}

/** Focus a box, or the image if there is no such box. */
export function focusBox(id) {
  (nodes.get(id) ?? at("editor")).focus({ preventScroll: true });
}

export const hasFocus = () => at("editor").contains(document.activeElement);
