// The panel of Correct mode: tools, the label of the selected box, and the list of boxes.

import { labelStyle } from "../detect/overlay.js";
import { at, element } from "../shared/dom.js";
import * as editor from "./editor.js";
import { knownLabels } from "./labels.js";
import * as view from "./view.js";
import { cleanText } from "./export/voc_xml.js";

let labelled = null; // the box whose label is in the input field
let pointerType = "mouse";

/** Show the state of a correction. */
export function show(correction) {
  const box = correction.find(correction.selected);
  at("tool-draw").ariaPressed = String(editor.isDrawing());
  at("editor").classList.toggle("drawing", editor.isDrawing());
  at("tool-delete").disabled = !box;
  at("tool-undo").disabled = !correction.canUndo;
  at("tool-redo").disabled = !correction.canRedo;
  at("label").disabled = !box;
  if (labelled?.id !== box?.id || labelled?.label !== box?.label) at("label").value = box?.label ?? ""; // keeps what is being typed
  labelled = box;
  const known = knownLabels();
  showSuggestions(known);
  showList(correction, known);
}

function showSuggestions(known) {
  const shown = [...at("known-labels").children].map(({ value }) => value);
  if (shown.join("\n") === known.join("\n")) return; // a change would close an open drop-down list
  at("known-labels").replaceChildren(...known.map((label) => element("option", { value: label })));
}

function showList({ boxes, selected }, labels) {
  const focused = document.activeElement?.dataset.entry;
  at("entries").replaceChildren(...boxes.map((box, index) => element("li", {}, entry(box, index, box.id === selected, labels))));
  if (focused) at("entries").querySelector(`[data-entry="${focused}"]`)?.focus();
}

function entry({ id, label, xmin, ymin, xmax, ymax }, index, isSelected, labels) {
  return element(
    "button",
    { type: "button", ariaPressed: String(isSelected), style: labelStyle(labels, label), dataset: { entry: id } },
    element("span", { className: "swatch" }),
    element("span", { className: "name" }, `${index + 1}. ${label}`),
    element("span", { className: "soft" }, `${xmax - xmin} × ${ymax - ymin} px`),
  );
}

/** Let the user type a label for the selected box. A tap on the image does not open the on-screen keyboard. */
export function focusLabel() {
  if (at("label").disabled) return;
  if (pointerType === "touch") {
    view.focusBox(editor.current().selected);
    return;
  }
  at("label").focus({ preventScroll: true });
  at("label").select();
}

/** Give the box the label that was typed. An empty one is ignored. */
function commitLabel() {
  const label = cleanText(at("label").value);
  const box = labelled && editor.current()?.find(labelled.id);
  if (!box) return;
  if (label && label !== box.label) editor.relabel(box.id, label);
  else at("label").value = box.label;
}

export function listen() {
  at("tool-draw").addEventListener("click", () => editor.setDrawing(!editor.isDrawing()));
  at("tool-new").addEventListener("click", editor.addCentred);
  at("tool-delete").addEventListener("click", editor.removeSelected);
  at("tool-undo").addEventListener("click", editor.undo);
  at("tool-redo").addEventListener("click", editor.redo);
  at("tool-reset").addEventListener("click", editor.reset);
  at("label").addEventListener("change", commitLabel);
  at("label").addEventListener("keydown", onLabelKey);
  at("entries").addEventListener("click", ({ target }) => {
    const id = target.closest("[data-entry]")?.dataset.entry;
    if (!id) return;
    editor.select(Number(id));
    view.focusBox(Number(id)); // so that the keys change this box
  });
  addEventListener("pointerdown", onPointerDown, { capture: true });
  addEventListener("keydown", () => (pointerType = "keyboard"), { capture: true });
}

function onPointerDown(event) {
  pointerType = event.pointerType;
  if (event.target !== at("label")) at("label").blur(); // what was typed belongs to the box that is still selected
}

function onLabelKey(event) {
  if (event.key === "Escape") at("label").value = labelled.label;
  else if (event.key === "Enter") commitLabel();
  else return;
  event.preventDefault();
  view.focusBox(labelled?.id);
}
