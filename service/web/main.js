// The page: shows the state, and connects the events.

import * as correct from "./correct/mode.js";
import { showAbout } from "./detect/about.js";
import * as exporting from "./detect/export.js";
import * as highlight from "./detect/highlight.js";
import * as overlay from "./detect/overlay.js";
import { showLabels, showList, showSuggestion, showTiming, summary } from "./detect/results.js";
import * as camera from "./images/camera.js";
import { ImageFile, queryFor, visibleDetections } from "./images/image_file.js";
import * as imageInput from "./images/image_input.js";
import { explain } from "./images/problems.js";
import { loadModels, processFiles, refresh, retryWithKey, tryAgain } from "./images/processing.js";
import { showThumbnails } from "./images/thumbnails.js";
import { Problem } from "./shared/api.js";
import * as apiKey from "./shared/api_key.js";
import { at, element } from "./shared/dom.js";
import { countOf } from "./shared/text.js";
import { changed, currentModel, labels, onChange, responseOf, resultOf, state } from "./state.js";

// -- rendering ---------------------------------------------------------------------------------------------------------------------

function show() {
  const file = state.current;
  const result = resultOf(file);
  const response = responseOf(file);
  const problem = state.problem ?? (result instanceof Problem ? result : null);
  showModels();
  showProblem(problem, state.problem ? null : file);
  document.body.classList.toggle("correcting", state.correcting);
  document.body.classList.toggle("has-image", Boolean(file));
  document.body.classList.toggle("answered", Boolean(response) || (Boolean(file) && !problem)); // reserve space for the response
  at("stage").hidden = !file;
  at("waiting").hidden = Boolean(result);
  if (file) showStage(file, response);
  const correcting = correct.show();
  showThumbnails(state.files, file, state.model, { choose, remove });
  at("panel").hidden = !response || correcting;
  if (response && !correcting) showResponse(file, response);
  else at("boxes").replaceChildren();
  if (!response && !correcting) at("status").textContent = "";
}

function showStage(file, response) {
  overlay.showImage(file, response?.image ?? file.correction?.size);
  at("file-name").textContent = file.name;
  at("mode-detect").ariaPressed = String(!state.correcting);
  at("mode-correct").ariaPressed = String(state.correcting);
  at("mode-correct").disabled = !state.correcting && !correct.isPossible(file);
}

function showResponse(file, response) {
  const { confidence, hidden } = file;
  const detections = visibleDetections(response, confidence, hidden);
  at("confidence").value = Math.round(100 * confidence);
  at("confidence-shown").textContent = overlay.percent(confidence);
  overlay.showBoxes(response, detections, labels());
  showSuggestion(currentModel());
  showList(detections, labels());
  showLabels(response, confidence, hidden, labels());
  showTiming(response.timing_ms);
  exporting.showExport(file, response, detections, queryFor(response, confidence, hidden));
  at("status").textContent = summary(detections, response, confidence);
  highlight.clear();
}

function showProblem(problem, file) {
  apiKey.show(problem);
  document.body.classList.toggle("closed", problem?.status === 401 && !state.model);
  at("problem").hidden = !problem || problem.status === 401; // the form for the key is shown instead
  const { title, detail, answer } = problem ? explain(problem, file) : {};
  at("problem-title").textContent = title ?? "";
  at("problem-detail").textContent = detail ?? "";
  at("problem-answer").textContent = answer ?? "";
  at("problem-more").hidden = !answer;
  at("again").hidden = problem?.permanent ?? true;
}

let shownModels = null; // the list of models and the choice, as the page shows them

function showModels() {
  const { models, model } = state;
  if (shownModels?.models === models && shownModels.model === model) return; // a change would close an open drop-down list
  shownModels = { models, model };
  at("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  at("model").value = model;
  const chosen = currentModel();
  at("model-facts").textContent = chosen ? `${countOf(chosen.labels.length, "label")}, ${chosen.input_size} px` : "";
  showAbout(labels());
}

// -- events ----------------------------------------------------------------------------------------------------------------------

function addFiles(files, origin = null) {
  if (state.model) state.problem = null; // without a model, the problem stays visible, and the image waits
  const added = files.map((file) => new ImageFile(file, origin));
  state.files.push(...added);
  choose(added[0]);
  const { top } = at("stage").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) at("stage").scrollIntoView(); // on a small screen the button is below the result
}

function choose(file) {
  state.current = file;
  changed();
  processFiles();
}

/** Remove an image from the page, and show its neighbour. */
function remove(file) {
  const isUnsaved = file.correction && !file.correction.isSaved;
  if (isUnsaved && !confirm(`Remove ${file.name} and its corrections?`)) return;
  const index = state.files.indexOf(file);
  state.files.splice(index, 1);
  if (state.current === file) state.current = state.files[index] ?? state.files.at(-1) ?? null;
  if (!state.current) state.correcting = false;
  URL.revokeObjectURL(file.url);
  changed();
  (state.files.length > 1 ? at("strip").querySelector("[aria-current=true]") : at(state.current ? "remove" : "files")).focus();
}

function setMode(correcting) {
  state.correcting = correcting;
  changed();
}

async function addSample(path) {
  const url = new URL(path, document.baseURI);
  const blob = await (await fetch(url)).blob();
  addFiles([new File([blob], path.split("/").pop(), { type: blob.type })], url.href);
}

function listen() {
  imageInput.listen(addFiles, (title, detail) => {
    state.problem = new Problem(title, detail, { permanent: true });
    changed();
  });
  camera.listen(addFiles);
  apiKey.listen(retryWithKey);
  overlay.listen();
  highlight.listen();
  exporting.listen();
  correct.listen(choose);
  at("mode-detect").addEventListener("click", () => setMode(false));
  at("mode-correct").addEventListener("click", () => setMode(true));
  at("remove").addEventListener("click", () => remove(state.current));
  at("confidence").addEventListener("input", (event) => {
    state.current.confidence = event.target.valueAsNumber / 100;
    changed();
  });
  at("label-boxes").addEventListener("change", ({ target }) => {
    state.current.hidden[target.checked ? "delete" : "add"](target.value);
    changed();
  });
  at("model").addEventListener("change", (event) => {
    state.model = event.target.value;
    changed();
    processFiles();
  });
  at("again").addEventListener("click", tryAgain);
  addEventListener("focus", refresh); // the models may have changed in the meantime
  at("download").addEventListener("click", () => {
    const { confidence, hidden } = state.current;
    exporting.download(state.current, queryFor(responseOf(state.current), confidence, hidden));
  });
  for (const button of document.querySelectorAll("[data-sample]")) button.addEventListener("click", () => addSample(button.dataset.sample));
}

onChange(show);
listen();
await loadModels();
processFiles(); // files that were dropped while the models were loading
