// The photo with its boxes over it. They are placed in per cent, so that they scale with it; lines and letters do not.

import { at, element } from "./dom.js";
import { classColour, css, inkOn } from "./palette.js";

const LABEL_ROOM = 0.07; // of the photo's height, to put a label above its box
const RIGHT_PART = 0.65; // of its width, from where labels grow to the left

export const percent = (score) => `${Math.round(score * 100)}%`;

/** Colour and ink of a label, for a style; labels: the model's, in order. */
export function paint(labels, label) {
  const colour = classColour(Math.max(labels.indexOf(label), 0));
  return { "--colour": css(colour), "--ink": css(inkOn(colour)) };
}

export function showPhoto(photo, answer) {
  const image = at("photo");
  if (image.getAttribute("src") !== photo.url) image.src = photo.url;
  image.alt = photo.name;
  at("canvas").hidden = !photo.upright && !answer; // not known yet whether it can be shown
  if (answer) {
    at("canvas").style.setProperty("--w", answer.image.width);
    at("canvas").style.setProperty("--h", answer.image.height);
  }
}

/** detections: those to show, best first, each with the number by which list and box know each other. */
export function showBoxes(answer, detections, labels) {
  const area = ({ box }) => (box.xmax - box.xmin) * (box.ymax - box.ymin);
  const largestFirst = detections.map((detection, index) => ({ detection, index }));
  largestFirst.sort((a, b) => area(b.detection) - area(a.detection)); // small boxes lie on top, else none could point at them
  at("boxes").replaceChildren(...largestFirst.map(({ detection, index }) => boxOf(detection, index, answer.image, labels)));
}

function boxOf({ label, score, box }, index, { width, height }, labels) {
  const style = {
    ...paint(labels, label),
    left: `${(100 * box.xmin) / width}%`,
    top: `${(100 * box.ymin) / height}%`,
    width: `${(100 * (box.xmax - box.xmin)) / width}%`,
    height: `${(100 * (box.ymax - box.ymin)) / height}%`,
  };
  const inside = box.ymin / height < LABEL_ROOM ? " inside" : "";
  const leftwards = box.xmin / width > RIGHT_PART ? " leftwards" : "";
  const plate = element("span", { className: `plate${inside}${leftwards}` }, `${label} ${percent(score)}`);
  return element("div", { className: "box", style, dataset: { index } }, plate);
}
