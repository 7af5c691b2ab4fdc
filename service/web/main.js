// The state of the page, and everything that is shown from it.

import * as camera from "./camera.js";
import { at, element } from "./dom.js";
import * as imageInput from "./image_input.js";
import * as apiKey from "./api_key.js";
import * as highlight from "./highlight.js";
import { showLabels, showList, showTiming, summary } from "./results.js";
import { ImageFile, queryFor, visibleDetections } from "./images.js";
import { percent, showBoxes, showImage } from "./overlay.js";
import { Problem, models } from "./api.js";
import { showThumbnails } from "./thumbnails.js";
import * as exporting from "./export.js";

const state = {
  models: [],
  model: null, // name of the chosen model
  files: [],
  current: null,
  confidence: at("confidence").valueAsNumber / 100,
  hidden: new Set(), // labels
  problem: null, // of the page, not of an image
};

const labels = () => state.models.find((model) => model.name === state.model)?.labels ?? [];

// -- rendering ---------------------------------------------------------------------------------------------------------------------

function show() {
  const file = state.current;
  const result = file?.responses.get(state.model);
  const problem = state.problem ?? (result instanceof Problem ? result : null);
  const response = result instanceof Problem ? null : result;
  showProblem(problem);
  at("confidence-shown").textContent = percent(state.confidence);
  document.body.classList.toggle("busy", Boolean(file));
  document.body.classList.toggle("answered", Boolean(response) || (Boolean(file) && !problem)); // reserve space for the response
  at("panel").hidden = !response;
  at("waiting").hidden = Boolean(result);
  showThumbnails(state.files, file, state.model, choose);
  if (file) showImage(file, response);
  if (response) showResponse(file, response);
  else at("boxes").replaceChildren();
}

function showResponse(file, response) {
  const detections = visibleDetections(response, state.confidence, state.hidden);
  showBoxes(response, detections, labels());
  showList(detections, labels());
  showLabels(response, state.confidence, state.hidden, labels());
  showTiming(response.timing_ms);
  exporting.showExport(file, response, detections, queryFor(response, state.confidence, state.hidden));
  at("status").textContent = summary(detections, response, state.confidence);
  highlight.clear();
}

function showProblem(problem) {
  apiKey.show(problem);
  document.body.classList.toggle("closed", problem?.status === 401 && !state.model);
  at("problem").hidden = !problem || problem.status === 401; // the form for the key is shown instead
  at("problem-title").textContent = problem?.title ?? "";
  at("problem-detail").textContent = problem?.message ?? "";
  at("again").hidden = problem?.permanent ?? true;
}

function showModels() {
  at("model").replaceChildren(...state.models.map(({ name }) => element("option", { value: name }, name)));
  at("model").value = state.model;
  const model = state.models.find(({ name }) => name === state.model);
  at("model-facts").textContent = model ? `${model.labels.length} labels, ${model.input_size} px` : "";
}

// -- events ----------------------------------------------------------------------------------------------------------------------

/** Load the list of models. quiet: a background refresh, whose failure is not shown. */
async function loadModels({ quiet = false } = {}) {
  try {
    const loaded = await models();
    for (const { name, version } of loaded) dropOutdatedResponses(name, version);
    state.models = loaded;
    if (!quiet) state.problem = null;
    if (!loaded.length) state.problem = new Problem("No model is loaded", "The service waits for a model in its model folder.");
    if (!loaded.some(({ name }) => name === state.model)) state.model = loaded[0]?.name ?? null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (!quiet) state.problem = error;
  }
  showModels();
}

/** Drop the responses of other versions of this model. */
function dropOutdatedResponses(name, version) {
  for (const { responses } of state.files) {
    const response = responses.get(name);
    if (response && !(response instanceof Problem) && response.version !== version) responses.delete(name);
  }
}

async function refresh() {
  await loadModels({ quiet: true });
  show();
  await processFiles();
}

function addFiles(files, origin = null) {
  if (state.model) state.problem = null; // without a model its problem stays visible, and the image waits
  const added = files.map((file) => new ImageFile(file, origin));
  state.files.push(...added);
  state.current = added[0];
  show();
  processFiles();
}

function choose(file) {
  state.current = file;
  show();
  processFiles();
}

let working = false;

/** Process one image after another, the visible one first. */
async function processFiles() {
  if (working || !state.model) return;
  working = true;
  const next = () => [state.current, ...state.files].find((file) => file && !file.responses.has(state.model));
  for (let file = next(); file; file = next()) {
    await file.detect(state.model);
    const version = file.responses.get(state.model)?.version;
    if (version && version !== state.models.find(({ name }) => name === state.model)?.version) await loadModels({ quiet: true });
    show();
  }
  working = false;
}

async function tryAgain() {
  state.current?.responses.delete(state.model);
  await loadModels();
  show();
  await processFiles();
}

/** Repeat the requests that were refused because of the key. */
async function retryWithKey() {
  for (const { responses } of state.files) {
    for (const [model, response] of responses) if (response.status === 401) responses.delete(model);
  }
  await loadModels();
  show();
  await processFiles();
}

async function addSample(path) {
  const url = new URL(path, document.baseURI);
  const blob = await (await fetch(url)).blob();
  addFiles([new File([blob], path.split("/").pop(), { type: blob.type })], url.href);
}

function listen() {
  imageInput.listen(addFiles, (title, detail) => {
    state.problem = new Problem(title, detail, { permanent: true });
    show();
  });
  camera.listen(addFiles);
  apiKey.listen(retryWithKey);
  highlight.listen();
  exporting.listen();
  at("confidence").addEventListener("input", (event) => {
    state.confidence = event.target.valueAsNumber / 100;
    show();
  });
  at("label-boxes").addEventListener("change", ({ target }) => {
    if (target.checked) state.hidden.delete(target.value);
    else state.hidden.add(target.value);
    show();
  });
  at("model").addEventListener("change", (event) => {
    state.model = event.target.value;
    showModels();
    show();
    processFiles();
  });
  at("again").addEventListener("click", tryAgain);
  addEventListener("focus", refresh); // the models may have changed in the meantime
  at("download").addEventListener("click", () => {
    exporting.download(state.current, queryFor(state.current.responses.get(state.model), state.confidence, state.hidden));
  });
  for (const button of document.querySelectorAll("[data-sample]")) button.addEventListener("click", () => addSample(button.dataset.sample));
}

listen();
await loadModels();
show();
processFiles(); // files that were dropped while the models were loading
