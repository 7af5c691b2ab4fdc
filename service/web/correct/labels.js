// The labels that boxes can have: those of the model, and those that the user has typed on this page.

import { labels, state } from "../state.js";

let lastUsed = null;

/** Return all labels: those of the model in its order, then the others. */
export function knownLabels() {
  const typed = state.files.flatMap(({ correction }) => correction?.boxes.map(({ label }) => label) ?? []);
  return [...new Set([...labels(), ...typed])];
}

/** Return the label of a new box: the one that was used last. */
export const labelOfNewBox = () => lastUsed ?? labels()[0] ?? "object";

/** Return the known spelling of a label, such as cat for Cat: a data set must not have both. The next new box gets this label. */
export function useLabel(label) {
  const key = label.toLowerCase();
  lastUsed = knownLabels().find((known) => known.toLowerCase() === key) ?? label;
  return lastUsed;
}
