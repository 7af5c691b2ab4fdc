// Download corrected images with their annotations. The archives are made in the browser; nothing is sent.

import { at, save } from "../shared/dom.js";
import { countOf } from "../shared/text.js";
import { state } from "../state.js";
import { datasetArchive, imageArchive } from "./export/dataset.js";

const ARCHIVE = "corrected.zip";

let message = "";

const includedFiles = () => state.files.filter(({ correction }) => correction?.included);

/** Show what the buttons would download. */
export function show(correction) {
  const { length } = includedFiles();
  at("include").checked = correction.included;
  at("download-set").disabled = !length;
  at("download-set").textContent = `Download data set (${countOf(length, "image")})`;
  at("archive-status").textContent = message;
}

export function listen(changed) {
  at("include").addEventListener("change", ({ target }) => {
    state.current.correction.included = target.checked;
    changed();
  });
  at("download-pair").addEventListener("click", ({ target }) => run(target, downloadPair));
  at("download-set").addEventListener("click", ({ target }) => run(target, downloadSet));
  addEventListener("beforeunload", (event) => {
    if (state.files.some(({ correction }) => correction && !correction.isSaved)) event.preventDefault(); // the browser asks the user
  });

  async function run(button, download) {
    button.disabled = true;
    message = "Preparing the archive…";
    changed();
    try {
      message = await download();
    } catch (error) {
      message = `The archive could not be made: ${error.message}`;
    }
    button.disabled = false;
    changed();
  }
}

async function downloadPair() {
  const file = state.current;
  const { blob, stem } = await imageArchive(file);
  save(blob, `${stem}.zip`);
  file.correction.isSaved = true;
  return `${stem}.zip has the image and its annotation.`;
}

async function downloadSet() {
  const files = includedFiles();
  const { blob, train, val } = await datasetArchive(files);
  save(blob, ARCHIVE);
  for (const { correction } of files) correction.isSaved = true;
  showCommands(val);
  if (val) return `${ARCHIVE}: ${countOf(train, "image")} for training, ${val} for validation.`;
  return `${ARCHIVE} has no validation set: that needs a second image with the same labels.`;
}

/** Show how to train on the archive. */
function showCommands(val) {
  at("commands").textContent = [
    `unzip ${ARCHIVE} -d corrected`,
    "boxwright data check corrected",
    `boxwright finetune corrected${val ? "" : " --val-set train"}`,
  ].join("\n");
  at("next-steps").hidden = false;
}
