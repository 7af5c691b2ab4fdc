// The image with its boxes as an overlay. Positions are percentages, so that the boxes scale with the image; lines and text do not.

import { classColour, css, textColourOn } from "../shared/colours.js";
import { at, element } from "../shared/dom.js";
import { placeCaptions } from "./captions.js";

export const percent = (score) => `${Math.round(score * 100)}%`;

/** Return the colours of a label as CSS variables. labels: all labels, those of the model first and in order. */
export function labelStyle(labels, label) {
  const colour = classColour(Math.max(labels.indexOf(label), 0));
  return { "--colour": css(colour), "--ink": css(textColourOn(colour)) };
}

/** Show an image. size: {width, height} of the upright image, or undefined while it is unknown. */
export function showImage(file, size) {
  const image = at("photo");
  if (image.getAttribute("src") !== file.url) image.src = file.url;
  image.alt = file.name;
  at("canvas").hidden = !file.upright && !size; // it is not known yet whether the browser can show it
  if (size) {
    at("canvas").style.setProperty("--w", size.width);
    at("canvas").style.setProperty("--h", size.height);
  }
}

/** Show the boxes. detections: the visible ones, best first; the index connects a box with its list entry. */
export function showBoxes(response, detections, labels) {
  const area = ({ box }) => (box.xmax - box.xmin) * (box.ymax - box.ymin);
  const largestFirst = detections.map((detection, index) => ({ detection, index }));
  largestFirst.sort((a, b) => area(b.detection) - area(a.detection)); // small boxes are on top, so that the pointer can reach them
  at("boxes").replaceChildren(...largestFirst.map(({ detection, index }) => boxElement(detection, index, response.image, labels)));
  placeCaptions(at("boxes"));
}

function boxElement({ label, score, box }, index, { width, height }, labels) {
  const style = {
    ...labelStyle(labels, label),
    left: `${(100 * box.xmin) / width}%`,
    top: `${(100 * box.ymin) / height}%`,
    width: `${(100 * (box.xmax - box.xmin)) / width}%`,
    height: `${(100 * (box.ymax - box.ymin)) / height}%`,
  };
  const caption = element("span", { className: "caption" }, `${label} ${percent(score)}`);
  return element("div", { className: "box", style, dataset: { index } }, caption);
}

/** Place the captions again whenever the image gets another size. */
export function listen() {
  new ResizeObserver(() => {
    placeCaptions(at("boxes"));
    placeCaptions(at("editor"));
  }).observe(at("canvas"));
}
