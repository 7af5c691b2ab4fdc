// The image with its boxes as an overlay. Positions are percentages, so that the boxes scale with the image; lines and text do not.

import { at, element } from "./dom.js";
import { classColour, css, textColourOn } from "./colours.js";

const LABEL_SPACE = 0.07; // fraction of the height that a label above its box needs
const RIGHT_PART = 0.65; // fraction of the width from which labels extend to the left

export const percent = (score) => `${Math.round(score * 100)}%`;

/** Return the colours of a label as CSS variables. labels: those of the model, in order. */
export function labelStyle(labels, label) {
  const colour = classColour(Math.max(labels.indexOf(label), 0));
  return { "--colour": css(colour), "--ink": css(textColourOn(colour)) };
}

export function showImage(file, response) {
  const image = at("photo");
  if (image.getAttribute("src") !== file.url) image.src = file.url;
  image.alt = file.name;
  at("canvas").hidden = !file.upright && !response; // it is not known yet whether the browser can show it
  if (response) {
    at("canvas").style.setProperty("--w", response.image.width);
    at("canvas").style.setProperty("--h", response.image.height);
  }
}

/** Show the boxes. detections: the visible ones, best first; the index connects a box with its list entry. */
export function showBoxes(response, detections, labels) {
  const area = ({ box }) => (box.xmax - box.xmin) * (box.ymax - box.ymin);
  const largestFirst = detections.map((detection, index) => ({ detection, index }));
  largestFirst.sort((a, b) => area(b.detection) - area(a.detection)); // small boxes are on top, so that the pointer can reach them
  at("boxes").replaceChildren(...largestFirst.map(({ detection, index }) => boxElement(detection, index, response.image, labels)));
}

function boxElement({ label, score, box }, index, { width, height }, labels) {
  const style = {
    ...labelStyle(labels, label),
    left: `${(100 * box.xmin) / width}%`,
    top: `${(100 * box.ymin) / height}%`,
    width: `${(100 * (box.xmax - box.xmin)) / width}%`,
    height: `${(100 * (box.ymax - box.ymin)) / height}%`,
  };
  const inside = box.ymin / height < LABEL_SPACE ? " inside" : "";
  const leftward = box.xmin / width > RIGHT_PART ? " leftward" : "";
  const plate = element("span", { className: `plate${inside}${leftward}` }, `${label} ${percent(score)}`);
  return element("div", { className: "box", style, dataset: { index } }, plate);
}
