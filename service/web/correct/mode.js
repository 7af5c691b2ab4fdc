// Correct mode: the boxes of the visible image become editable.

import { at } from "../shared/dom.js";
import { changed, responseOf, state } from "../state.js";
import { Correction } from "./correction.js";
import * as downloads from "./downloads.js";
import * as editor from "./editor.js";
import * as keyboard from "./keyboard.js";
import { knownLabels } from "./labels.js";
import * as panel from "./panel.js";
import * as pointer from "./pointer.js";
import * as view from "./view.js";

let shown = null; // the image that the editor shows

/** Return whether the boxes of this image can be corrected: the size of the image must be known. */
export const isPossible = (file) => Boolean(file?.correction ?? responseOf(file));

/** Show the editor for the visible image, or hide it. Returns whether it is visible. */
export function show() {
  const file = state.current;
  const isVisible = state.correcting && isPossible(file);
  at("editor").hidden = !isVisible;
  at("correct-panel").hidden = !isVisible;
  if (!isVisible) {
    shown = null;
    return false;
  }
  file.correction ??= new Correction(responseOf(file).image, editor.detectionsOf(file));
  if (shown !== file) editor.start();
  shown = file;
  view.showBoxes(file.correction, knownLabels());
  panel.show(file.correction);
  downloads.show(file.correction);
  at("status").textContent = editor.lastMessage() || `${editor.count()} Select a box, or drag over the image to draw one.`;
  return true;
}

/** choose(file) makes another image visible. */
export function listen(choose) {
  pointer.listen();
  keyboard.listen(choose);
  panel.listen();
  downloads.listen(changed);
}
