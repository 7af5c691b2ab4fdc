// The corrected boxes of one image, with their history.

import { wholePixels } from "./geometry.js";
import { History } from "./history.js";

let lastId = 0;

export class Correction {
  #history;

  /** size: {width, height} of the upright image. detections: the boxes to start from. */
  constructor(size, detections) {
    this.size = size;
    this.selected = null; // id of a box
    this.included = true; // whether the archive of all images has this one
    this.isSaved = true; // whether every change has been downloaded
    this.#history = new History(this.#fromDetections(detections));
  }

  /** The boxes as [{id, label, xmin, ymin, xmax, ymax}]. An id is never reused. */
  get boxes() {
    return this.#history.present;
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  find(id) {
    return this.boxes.find((box) => box.id === id);
  }

  /** Add a box and select it. Returns its id. */
  add(edges, label) {
    const id = ++lastId;
    this.#change([...this.boxes, { id, label, ...edges }]);
    this.selected = id;
    return id;
  }

  /** Change edges or the label of a box. merge: see History. */
  update(id, changes, { merge = false } = {}) {
    const before = this.find(id);
    if (Object.entries(changes).every(([name, value]) => before[name] === value)) return;
    this.#change(this.boxes.map((box) => (box.id === id ? { ...box, ...changes } : box)), { merge });
  }

  /** Remove a box and select the next one. */
  remove(id) {
    const index = this.boxes.findIndex((box) => box.id === id);
    this.#change(this.boxes.filter((box) => box.id !== id));
    this.selected = (this.boxes[index] ?? this.boxes.at(-1))?.id ?? null;
  }

  /** Replace all boxes by the detections. */
  reset(detections) {
    this.#change(this.#fromDetections(detections));
    this.selected = null;
  }

  undo() {
    this.#history.undo();
    this.#afterUndoOrRedo();
  }

  redo() {
    this.#history.redo();
    this.#afterUndoOrRedo();
  }

  #afterUndoOrRedo() {
    this.isSaved = false;
    if (!this.find(this.selected)) this.selected = null;
  }

  #change(boxes, options) {
    this.#history.push(boxes, options);
    this.isSaved = false;
  }

  #fromDetections(detections) {
    return detections.map(({ label, box }) => ({ id: ++lastId, label, ...wholePixels(box, this.size) }));
  }
}
