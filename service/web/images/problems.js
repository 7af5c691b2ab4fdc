// Explain in plain words why an image has no result. The message of the service stays available below the explanation.

const READABLE = "Choose a JPEG, PNG, WebP, GIF, BMP or TIFF file.";

/** By HTTP status of POST /detect: what is wrong with the file, and what to do. */
const EXPLANATIONS = new Map([
  [400, ["is empty", READABLE]],
  [413, ["is too large", "The service accepts only smaller images. Reduce the image and add it again."]],
  [415, ["cannot be read as an image", READABLE]],
  [422, ["is damaged", "The file is incomplete or corrupt. Choose another copy of it."]],
]);

/**
 * Return {title, detail, answer} for a Problem.
 *
 * file: the image that the problem belongs to, or null. If there is one, its name is in the title.
 * answer: the message of the service, or "" if `detail` has it.
 */
export function explain(problem, file) {
  if (!file) return { title: problem.title, detail: problem.message, answer: "" };
  const [what, advice] = EXPLANATIONS.get(problem.status) ?? [];
  if (what) return { title: `${file.name} ${what}`, detail: advice, answer: `${problem.title}: ${problem.message}` };
  return { title: `${file.name}: ${problem.title}`, detail: problem.message, answer: "" };
}
