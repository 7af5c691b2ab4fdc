// The state of the page. Modules change it and call `changed`; main.js then shows it.

import { Problem } from "./shared/api.js";

export const state = {
  models: [],
  model: null, // name of the chosen model
  files: [], // ImageFile
  current: null, // the visible ImageFile
  correcting: false, // the mode: Correct, or Detect
  problem: null, // of the page, not of an image
};

let render = () => {};

/** Call this function after each change. */
export function onChange(listener) {
  render = listener;
}

export const changed = () => render();

export const currentModel = () => state.models.find(({ name }) => name === state.model);

export const labels = () => currentModel()?.labels ?? [];

/** Return what the current model answered for this image: a response, a Problem, or undefined. */
export const resultOf = (file) => file?.responses.get(state.model);

/** Return the response of the current model for this image, or null. */
export function responseOf(file) {
  const result = resultOf(file);
  return result && !(result instanceof Problem) ? result : null;
}
