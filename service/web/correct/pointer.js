// Draw, move and resize boxes with a mouse, a finger or a pen. A drag becomes one change when the pointer is released.

import { at } from "../shared/dom.js";
import { changed } from "../state.js";
import * as editor from "./editor.js";
import { boxBetween, moved, resized } from "./geometry.js";
import * as panel from "./panel.js";
import * as view from "./view.js";

const MIN_DRAG = 4; // CSS pixels; a shorter movement is a click

let gesture = null;

export function listen() {
  const surface = at("editor");
  surface.addEventListener("mousedown", (event) => event.preventDefault()); // `finish` sets the focus
  surface.addEventListener("pointerdown", begin);
  surface.addEventListener("pointermove", (event) => {
    if (event.pointerId === gesture?.pointerId) drag(event);
  });
  surface.addEventListener("pointerup", (event) => {
    if (event.pointerId === gesture?.pointerId) finish();
  });
  surface.addEventListener("pointercancel", cancel); // the browser took the touch for a zoom
}

/** Abandon the current drag. Returns whether there was one. */
export function cancel() {
  if (!gesture) return false;
  gesture = null;
  view.endPreview();
  changed();
  return true;
}

function begin(event) {
  if (gesture || !event.isPrimary || event.button !== 0) return;
  const correction = editor.current();
  const start = view.toImage(event, correction.size);
  gesture = { ...actionAt(event.target, correction, start), start, correction, pointerId: event.pointerId, x: event.clientX, y: event.clientY };
  at("editor").setPointerCapture(event.pointerId);
}

/** Return {id, edgesAt}. id: the box that a drag from this element changes, or null for a new box. edgesAt(point): its edges when the pointer is there. */
function actionAt(target, correction, start) {
  const { size } = correction;
  const { handle } = target.dataset;
  if (handle) {
    const box = correction.find(correction.selected);
    return { id: box.id, edgesAt: ({ x, y }) => resized(box, handle, x - start.x, y - start.y, size) };
  }
  const node = editor.isDrawing() ? null : target.closest("[data-box]");
  if (!node) return { id: null, edgesAt: (point) => boxBetween(start, point, size) };
  const box = correction.find(Number(node.dataset.box));
  editor.select(box.id);
  return { id: box.id, edgesAt: ({ x, y }) => moved(box, x - start.x, y - start.y, size) };
}

function drag(event) {
  const isDrag = gesture.edges || Math.hypot(event.clientX - gesture.x, event.clientY - gesture.y) >= MIN_DRAG;
  if (!isDrag || gesture.correction !== editor.current()) return;
  gesture.edges = gesture.edgesAt(view.toImage(event, gesture.correction.size));
  view.preview(gesture.id, gesture.edges, gesture.correction.size);
}

function finish() {
  const { id, edges, correction } = gesture;
  gesture = null;
  view.endPreview();
  if (correction !== editor.current()) return; // another image is visible now
  if (!edges) {
    editor.select(id);
    view.focusBox(id);
  } else if (id === null) {
    editor.add(edges);
    panel.focusLabel();
  } else {
    editor.setEdges(id, edges);
    view.focusBox(id);
  }
}
