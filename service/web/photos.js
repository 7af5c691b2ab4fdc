// A photo, and what has been answered to it. Each is asked about once for a model; slider and labels then choose from the answer.

import { Problem, detect, drawn } from "./service.js";

export const LOWEST = 0.05; // the least confidence that is asked for, where the slider ends
const MANY = 100; // what the service answers at most, if not asked for more
const MOST = 1000;
const NOTHING = 1; // no score is more than this: the photo comes back without a box

export class Photo {
  /** origin: its address, for a sample. */
  constructor(file, origin = null) {
    this.file = file;
    this.origin = origin;
    this.name = file.name;
    this.url = URL.createObjectURL(file);
    this.upright = false; // whether `url` shows the picture that the boxes are for
    this.answers = new Map(); // by model: the answer, or the Problem
  }

  /** Ask the service what that model sees in it. Never throws: a problem is an answer. */
  async ask(model) {
    this.answers.set(model, await this.#answer(model));
  }

  async #answer(model) {
    try {
      const answer = await detect(this.file, { model, confidence: LOWEST, max_detections: MOST });
      if (!this.upright) await this.#makeUpright(model, answer.image);
      return answer;
    } catch (error) {
      return error instanceof Problem ? error : new Problem("Something went wrong on this page", String(error));
    }
  }

  /** What the browser cannot show, would show in motion or turned otherwise, is had from the service as it sees it. */
  async #makeUpright(model, { width, height }) {
    const shown = await sizeOf(this.url);
    const moves = this.file.type === "image/gif";
    if (moves || shown?.width !== width || shown?.height !== height) {
      const blob = await drawn(this.file, { model, confidence: NOTHING });
      URL.revokeObjectURL(this.url);
      this.url = URL.createObjectURL(blob);
    }
    this.upright = true;
  }
}

/** The detections over that confidence whose labels are not hidden. */
export function chosen(answer, confidence, hidden) {
  return answer.detections.filter((detection) => detection.score > confidence && !hidden.has(detection.label));
}

/** The query that makes the service answer just what is shown; null where every label is hidden. */
export function queryFor(answer, confidence, hidden) {
  const labels = [...new Set(answer.detections.map((detection) => detection.label))];
  const left = labels.filter((label) => !hidden.has(label));
  if (labels.length && !left.length) return null;
  return {
    model: answer.model,
    confidence,
    ...(left.length < labels.length ? { classes: left } : {}),
    ...(answer.detections.length > MANY ? { max_detections: MOST } : {}),
  };
}

async function sizeOf(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null; // a format that this browser does not know
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}
