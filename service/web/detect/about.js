// What this page is, and what the model can find.

import { at, element } from "../shared/dom.js";
import { labelStyle } from "./overlay.js";

const MAX_NAMED = 24; // labels in the sentence; the list below it has all of them

/** Show the sentence and the list. labels: those of the model, or [] without a model. */
export function showAbout(labels) {
  const sorted = labels.toSorted((a, b) => a.localeCompare(b));
  const rest = sorted.length - MAX_NAMED;
  const names = sorted.slice(0, MAX_NAMED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
  at("about-labels-line").textContent = labels.length ? ` It can find: ${names}.` : "";
  at("about-labels").replaceChildren(
    ...sorted.map((label) => element("li", { className: "chip", style: labelStyle(labels, label) }, element("span", { className: "swatch" }), label)),
  );
}
