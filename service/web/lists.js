// What was found, in words: the labels to choose from, the boxes, the time it took.

import { at, element } from "./dom.js";
import { paint, percent } from "./picture.js";

/** A button for each detection, in the same order as the boxes. */
export function showList(detections, labels) {
  at("found").replaceChildren(
    ...detections.map(({ label, score, box }, index) => {
      const size = `${Math.round(box.xmax - box.xmin)} × ${Math.round(box.ymax - box.ymin)} px`;
      return element(
        "li",
        {},
        element(
          "button",
          { type: "button", ariaPressed: "false", style: paint(labels, label), dataset: { index } },
          element("span", { className: "swatch" }),
          element("span", { className: "name" }, label),
          element("span", { className: "soft" }, size),
          element("span", { className: "score" }, percent(score)),
        ),
      );
    }),
  );
}

/** A checkbox for each label that there is at the lowest confidence, with how many are over the chosen one. */
export function showLabels(answer, confidence, hidden, labels) {
  const counts = new Map(answer.detections.map(({ label }) => [label, 0]));
  for (const { label, score } of answer.detections) if (score > confidence) counts.set(label, counts.get(label) + 1);
  const key = JSON.stringify([answer.model, ...counts.keys()]);
  at("labels").hidden = !counts.size;
  if (at("labels").dataset.key !== key) {
    at("labels").dataset.key = key; // only then made anew: a checkbox that is used must stay the same one
    at("label-boxes").replaceChildren(...[...counts.keys()].map((label) => chip(label, labels)));
  }
  for (const input of at("label-boxes").querySelectorAll("input")) {
    input.checked = !hidden.has(input.value);
    input.parentElement.querySelector(".count").textContent = counts.get(input.value);
  }
}

function chip(label, labels) {
  const input = element("input", { type: "checkbox", value: label });
  return element(
    "label",
    { className: "chip", style: paint(labels, label) },
    input,
    element("span", { className: "swatch" }),
    element("span", {}, label),
    element("span", { className: "count soft" }),
  );
}

/** Where the time went, to scale; what no stage tells of is waiting. */
export function showTiming({ total, ...stages }) {
  const spent = Object.values(stages).reduce((sum, stage) => sum + stage, 0);
  const parts = Object.entries({ ...stages, other: Math.max(total - spent, 0) });
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

/** "2 cats" would need grammar; "cat 2, person 1" does not. */
export function inWords(detections, answer, confidence) {
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  if (counts.size) return `Found: ${[...counts].map(([label, count]) => `${label} ${count}`).join(", ")}.`;
  const over = answer.detections.filter(({ score }) => score > confidence).length;
  if (over) return `Nothing shown: the labels of ${over} are not ticked.`;
  return answer.detections.length ? `Nothing over this confidence; ${answer.detections.length} below.` : "Nothing found.";
}
