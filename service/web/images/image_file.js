// An image and its responses. Each model gets the image once; the slider and the labels filter its response.

import { Problem, annotated, detect } from "../shared/api.js";

const MIN_CONFIDENCE = 0.05; // requested from the service; the lower end of the slider
const DEFAULT_CONFIDENCE = 0.25; // default of the service
const DEFAULT_MAX_DETECTIONS = 100; // default of the service
const MAX_DETECTIONS = 1000;
const NO_BOXES = 1; // a confidence that no score exceeds: the image comes back without boxes

export class ImageFile {
  /** origin: the address of a sample image. */
  constructor(file, origin = null) {
    this.file = file;
    this.origin = origin;
    this.name = file.name;
    this.url = URL.createObjectURL(file);
    this.upright = false; // whether `url` shows the image that the boxes refer to
    this.confidence = DEFAULT_CONFIDENCE; // boxes below it are not shown
    this.hidden = new Set(); // labels that are not shown
    this.correction = null; // a Correction once the image was opened in Correct mode
    this.responses = new Map(); // by model: the response, or a Problem
  }

  /** Detect objects with this model. Never throws: a Problem counts as a response. */
  async detect(model) {
    this.responses.set(model, await this.#response(model));
  }

  async #response(model) {
    try {
      const response = await detect(this.file, { model, confidence: MIN_CONFIDENCE, max_detections: MAX_DETECTIONS });
      if (!this.upright) await this.#makeUpright(model, response.image);
      return response;
    } catch (error) {
      return error instanceof Problem ? error : new Problem("Something went wrong on this page", String(error));
    }
  }

  /** Get the image from the service if the browser cannot show it, animates it, or orients it differently. */
  async #makeUpright(model, { width, height }) {
    const size = await sizeOf(this.url);
    const isAnimated = this.file.type === "image/gif";
    if (isAnimated || size?.width !== width || size?.height !== height) {
      const blob = await annotated(this.file, { model, confidence: NO_BOXES });
      URL.revokeObjectURL(this.url);
      this.url = URL.createObjectURL(blob);
    }
    this.upright = true;
  }
}

/** Return the detections above this confidence whose labels are not hidden. */
export function visibleDetections(response, confidence, hidden) {
  return response.detections.filter((detection) => detection.score > confidence && !hidden.has(detection.label));
}

/** Return the query for exactly the visible boxes, or null if every label is hidden. */
export function queryFor(response, confidence, hidden) {
  const labels = [...new Set(response.detections.map((detection) => detection.label))];
  const visible = labels.filter((label) => !hidden.has(label));
  if (labels.length && !visible.length) return null;
  return {
    model: response.model,
    confidence,
    ...(visible.length < labels.length ? { classes: visible } : {}),
    ...(response.detections.length > DEFAULT_MAX_DETECTIONS ? { max_detections: MAX_DETECTIONS } : {}),
  };
}

async function sizeOf(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null; // a format that this browser does not support
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}
