// The results as text: checkboxes for the labels, the list of boxes, and the timing.

import { at, element } from "../shared/dom.js";
import { countOf } from "../shared/text.js";
import { labelStyle, percent } from "./overlay.js";

const MAX_SUGGESTED = 5; // labels

/** Show a button for each detection, in the order of the boxes. */
export function showList(detections, labels) {
  at("found").replaceChildren(
    ...detections.map(({ label, score, box }, index) => {
      const size = `${Math.round(box.xmax - box.xmin)} × ${Math.round(box.ymax - box.ymin)} px`;
      return element(
        "li",
        {},
        element(
          "button",
          { type: "button", ariaPressed: "false", style: labelStyle(labels, label), dataset: { index } },
          element("span", { className: "swatch" }),
          element("span", { className: "name" }, label),
          element("span", { className: "soft" }, size),
          element("span", { className: "score" }, percent(score)),
        ),
      );
    }),
  );
}

/** Show the confidence that the model suggests for its labels, if it records any. Fine-tuning records that of the new labels. */
export function showSuggestion(model) {
  const texts = Object.entries(suggestedConfidence(model)).map(([label, value]) => `${label} ${percent(value)}`);
  const more = texts.length > MAX_SUGGESTED ? ` and ${texts.length - MAX_SUGGESTED} more` : "";
  at("suggestion").textContent = texts.length ? `The model suggests ${texts.slice(0, MAX_SUGGESTED).join(", ")}${more}.` : "";
}

function suggestedConfidence(model) {
  try {
    return JSON.parse(model.provenance.confidence ?? "{}");
  } catch {
    return {}; // the service reports the damaged record to clients that ask for confidence=auto
  }
}

/** Show a checkbox for each label that has boxes above the chosen confidence, with their number. Labels that are not ticked stay visible. */
export function showLabels(response, confidence, hidden, labels) {
  const counts = new Map(response.detections.map(({ label }) => [label, 0]));
  for (const { label, score } of response.detections) if (score > confidence) counts.set(label, counts.get(label) + 1);
  const key = JSON.stringify([response.model, ...counts.keys()]);
  if (at("labels").dataset.key !== key) {
    at("labels").dataset.key = key; // create checkboxes only for new labels, so that a checkbox keeps the focus
    at("label-boxes").replaceChildren(...[...counts.keys()].map((label) => chip(label, labels)));
  }
  for (const input of at("label-boxes").querySelectorAll("input")) {
    input.checked = !hidden.has(input.value);
    input.parentElement.hidden = !counts.get(input.value) && input.checked;
    input.parentElement.querySelector(".count").textContent = counts.get(input.value);
  }
  at("labels").hidden = !at("label-boxes").querySelector(".chip:not([hidden])");
}

function chip(label, labels) {
  const input = element("input", { type: "checkbox", value: label });
  return element(
    "label",
    { className: "chip", style: labelStyle(labels, label) },
    input,
    element("span", { className: "swatch" }),
    element("span", {}, label),
    element("span", { className: "count soft" }),
  );
}

/** Show the time of each stage as a bar. The rest of the total is waiting time. */
export function showTiming({ total, ...stages }) {
  const staged = Object.values(stages).reduce((sum, stage) => sum + stage, 0);
  const parts = Object.entries({ ...stages, other: Math.max(total - staged, 0) });
  at("timing").hidden = false;
  at("total").textContent = milliseconds(total);
  at("bar").replaceChildren(...parts.map(([, time], index) => element("span", { className: `stage-${index}`, style: { "flex-grow": time } })));
  at("stages").replaceChildren(
    ...parts.map(([name, time], index) =>
      element("div", {}, element("dt", {}, element("span", { className: `dot stage-${index}` }), name), element("dd", {}, milliseconds(time))),
    ),
  );
}

const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;

/** Summarise the boxes, such as "Found 3 objects: cat (2), person." */
export function summary(detections, response, confidence) {
  const above = response.detections.filter(({ score }) => score > confidence).length;
  if (!above && response.detections.length) return `No objects above ${percent(confidence)}; ${response.detections.length} below.`;
  if (!above) return "No objects found. The model knows only the labels at the top of this page.";
  const hidden = above - detections.length;
  if (!detections.length) return `Hidden: ${countOf(above, "box")}. Tick their labels to show them.`;
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  const found = [...counts].map(([label, count]) => (count > 1 ? `${label} (${count})` : label)).join(", ");
  return `Found ${countOf(detections.length, "object")}: ${found}.${hidden ? ` ${hidden} more hidden.` : ""}`;
}
