// Shortcuts of Correct mode. Those without Ctrl work only while the focus is on the image, so that they disturb no other input.

import { at } from "../shared/dom.js";
import { state } from "../state.js";
import * as editor from "./editor.js";
import * as panel from "./panel.js";
import * as pointer from "./pointer.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const NEIGHBOURS = { PageUp: -1, PageDown: 1 };
const HELD_STEPS = 50; // number of steps in which a held key crosses the shorter side of the image

/** choose(file) makes another image visible. */
export function listen(choose) {
  at("editor").addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) handle(event, () => onKey(event));
  });
  at("editor").addEventListener("focusin", ({ target }) => {
    if (target.dataset.box) editor.select(Number(target.dataset.box));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key in NEIGHBOURS && ownsPageKeys(event)) handle(event, () => showNeighbour(NEIGHBOURS[event.key], choose));
  });
  document.addEventListener("keydown", (event) => {
    const isText = event.target === at("label"); // which has its own undo
    if (editor.current() && !isText && (event.ctrlKey || event.metaKey) && !event.altKey) handle(event, () => onControlKey(event));
  });
}

/** Run an action. If it returns true, the browser does nothing else with the key. */
function handle(event, action) {
  if (action()) event.preventDefault();
}

/** Whether a key scrolls through the images instead of the page. While the next image is being processed, there is no editor to focus. */
function ownsPageKeys({ target, ctrlKey, metaKey, altKey }) {
  if (!state.correcting || ctrlKey || metaKey || altKey) return false;
  return at("editor").hidden ? target === document.body : at("editor").contains(target);
}

function showNeighbour(offset, choose) {
  const file = state.files[state.files.indexOf(state.current) + offset];
  if (file) {
    choose(file);
    at("editor").focus({ preventScroll: true });
  }
  return true;
}

function onKey({ key, shiftKey, repeat }) {
  if (key in ARROWS) return onArrow(ARROWS[key], shiftKey, repeat);
  const actions = {
    Delete: editor.removeSelected,
    Backspace: editor.removeSelected,
    Enter: panel.focusLabel,
    F2: panel.focusLabel,
    n: editor.addCentred,
    d: () => editor.setDrawing(!editor.isDrawing()),
    Escape: onEscape,
  };
  const action = actions[key.length === 1 ? key.toLowerCase() : key];
  action?.();
  return Boolean(action);
}

function onArrow([x, y], shiftKey, held) {
  if (editor.current().selected === null) return false; // the page scrolls
  const { width, height } = editor.current().size;
  const step = held ? Math.max(1, Math.round(Math.min(width, height) / HELD_STEPS)) : 1;
  (shiftKey ? editor.stretch : editor.move)(x * step, y * step, { held });
  return true;
}

function onEscape() {
  if (pointer.cancel()) return;
  if (editor.isDrawing()) editor.setDrawing(false);
  else {
    editor.select(null);
    at("editor").focus({ preventScroll: true });
  }
}

function onControlKey({ key, shiftKey }) {
  const letter = key.toLowerCase();
  if (letter === "z") (shiftKey ? editor.redo : editor.undo)();
  else if (letter === "y") editor.redo();
  else return false;
  return true;
}
