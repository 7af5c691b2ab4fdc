// Parts of messages.

/** Return "1 image" or "2 images". */
export const countOf = (number, noun) => `${number} ${noun}${number === 1 ? "" : noun.endsWith("x") ? "es" : "s"}`;
