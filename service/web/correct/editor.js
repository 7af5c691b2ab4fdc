// What a user can do with the boxes of the visible image, whether with a pointer, the keyboard or a button.

import { visibleDetections } from "../images/image_file.js";
import { countOf } from "../shared/text.js";
import { changed, responseOf, state } from "../state.js";
import { centred, moved, resized } from "./geometry.js";
import { labelOfNewBox, useLabel } from "./labels.js";
import * as view from "./view.js";

let drawing = false; // the Draw tool: a drag draws even on top of a box
let message = ""; // about the latest change, for screen readers and for sighted users

/** The Correction of the visible image, or null outside of Correct mode. */
export const current = () => (state.correcting ? (state.current?.correction ?? null) : null);

export const isDrawing = () => drawing;
export const lastMessage = () => message;

export function setDrawing(value) {
  drawing = value;
  report(value ? "Draw: drag over the image." : "");
}

/** Forget the message and the tool, because another image is visible. */
export function start() {
  drawing = false;
  message = "";
}

export function select(id) {
  if (current().selected === id) return;
  current().selected = id;
  report(id === null ? "" : `Selected: ${describe(id)}.`);
}

export function add(edges) {
  const id = current().add(edges, labelOfNewBox());
  drawing = false;
  report(`Added: ${describe(id)}.`);
}

/** Add a box in the centre, which needs no drag, and focus it. */
export function addCentred() {
  add(centred(current().size));
  view.focusBox(current().selected);
}

export function setEdges(id, edges, options) {
  current().update(id, edges, options);
  report(`${describe(id)}.`);
}

/** Move the selected box by pixels. held: the key is held down; one undo then reverts all its moves. */
export function move(dx, dy, { held }) {
  const box = selectedBox();
  if (box) setEdges(box.id, moved(box, dx, dy, current().size), { merge: held });
}

/** Move the right and the bottom edge of the selected box. */
export function stretch(dx, dy, { held }) {
  const box = selectedBox();
  if (box) setEdges(box.id, resized(box, "se", dx, dy, current().size), { merge: held });
}

export function relabel(id, label) {
  current().update(id, { label: useLabel(label) });
  report(`Label changed: ${describe(id)}.`);
}

export function removeSelected() {
  const box = selectedBox();
  if (!box) return;
  current().remove(box.id);
  report(`Deleted: ${box.label}. ${count()}`);
  view.focusBox(current().selected);
}

export function undo() {
  step("undo", "Undone");
}

export function redo() {
  step("redo", "Redone");
}

function step(direction, word) {
  const correction = current();
  if (!(direction === "undo" ? correction.canUndo : correction.canRedo)) return;
  const hadFocus = view.hasFocus();
  correction[direction]();
  report(`${word}. ${count()}`);
  if (hadFocus) view.focusBox(correction.selected);
}

/** Replace the boxes by the detections of the current model. */
export function reset() {
  const { current: file } = state;
  current().reset(detectionsOf(file));
  report(`Boxes replaced by the detections. ${count()}`);
}

/** Return the detections that Detect mode shows, or none if the image has no response yet. */
export function detectionsOf(file) {
  const response = responseOf(file);
  return response ? visibleDetections(response, file.confidence, file.hidden) : [];
}

export function count() {
  const { length } = current().boxes;
  return `${countOf(length, "box")}.`;
}

const selectedBox = () => current().find(current().selected);

function describe(id) {
  const { boxes } = current();
  const { label, xmin, ymin, xmax, ymax } = current().find(id);
  const number = boxes.findIndex((box) => box.id === id) + 1;
  return `${label}, box ${number} of ${boxes.length}, ${xmax - xmin} × ${ymax - ymin} px at ${xmin}, ${ymin}`;
}

function report(text) {
  message = text;
  changed();
}
