// The page: what is chosen, and everything shown from it.

import * as camera from "./camera.js";
import { at, element } from "./dom.js";
import * as intake from "./intake.js";
import * as key from "./key.js";
import * as links from "./links.js";
import { inWords, showLabels, showList, showTiming } from "./lists.js";
import { Photo, chosen, queryFor } from "./photos.js";
import { percent, showBoxes, showPhoto } from "./picture.js";
import { Problem, models } from "./service.js";
import { showStrip } from "./strip.js";
import * as words from "./words.js";

const state = {
  models: [],
  model: null, // a name
  photos: [],
  current: null,
  confidence: at("confidence").valueAsNumber / 100,
  hidden: new Set(), // labels
  problem: null, // of the page, not of a photo
};

const labels = () => state.models.find((model) => model.name === state.model)?.labels ?? [];

// -- what is shown ---------------------------------------------------------------------------------------------------------------------

function show() {
  const photo = state.current;
  const said = photo?.answers.get(state.model);
  const problem = state.problem ?? (said instanceof Problem ? said : null);
  const answer = said instanceof Problem ? null : said;
  showProblem(problem);
  at("confidence-shown").textContent = percent(state.confidence);
  document.body.classList.toggle("busy", Boolean(photo));
  document.body.classList.toggle("answered", Boolean(answer) || (Boolean(photo) && !problem)); // room for what comes
  at("panel").hidden = !answer;
  at("waiting").hidden = Boolean(said);
  showStrip(state.photos, photo, state.model, choose);
  if (photo) showPhoto(photo, answer);
  if (answer) showAnswer(photo, answer);
  else at("boxes").replaceChildren();
}

function showAnswer(photo, answer) {
  const detections = chosen(answer, state.confidence, state.hidden);
  showBoxes(answer, detections, labels());
  showList(detections, labels());
  showLabels(answer, state.confidence, state.hidden, labels());
  showTiming(answer.timing_ms);
  words.showWords(photo, answer, detections, queryFor(answer, state.confidence, state.hidden));
  at("status").textContent = inWords(detections, answer, state.confidence);
  links.forget();
}

function showProblem(problem) {
  key.show(problem);
  document.body.classList.toggle("closed", problem?.status === 401 && !state.model);
  at("problem").hidden = !problem || problem.status === 401; // then it is asked for the key instead
  at("problem-title").textContent = problem?.title ?? "";
  at("problem-detail").textContent = problem?.message ?? "";
  at("again").hidden = problem?.lasting ?? true;
}

function showModels() {
  at("model").replaceChildren(...state.models.map(({ name }) => element("option", { value: name }, name)));
  at("model").value = state.model;
  const model = state.models.find(({ name }) => name === state.model);
  at("model-facts").textContent = model ? `${model.labels.length} labels, ${model.input_size} px` : "";
}

// -- what happens ----------------------------------------------------------------------------------------------------------------------

/** quiet: nobody asked for it, so nobody is told where it fails. */
async function loadModels({ quiet = false } = {}) {
  try {
    const found = await models();
    for (const { name, version } of found) forgetOthers(name, version);
    state.models = found;
    if (!quiet) state.problem = null;
    if (!found.length) state.problem = new Problem("There is no model yet", "The service waits for one in its folder of models.");
    if (!found.some(({ name }) => name === state.model)) state.model = found[0]?.name ?? null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (!quiet) state.problem = error;
  }
  showModels();
}

/** What other versions of that model said is not what it says now. */
function forgetOthers(name, version) {
  for (const { answers } of state.photos) {
    const said = answers.get(name);
    if (said && !(said instanceof Problem) && said.version !== version) answers.delete(name);
  }
}

async function refresh() {
  await loadModels({ quiet: true });
  show();
  await work();
}

function take(files, origin = null) {
  if (state.model) state.problem = null; // without a model its problem stays: the photo waits
  const photos = files.map((file) => new Photo(file, origin));
  state.photos.push(...photos);
  state.current = photos[0];
  show();
  work();
}

function choose(photo) {
  state.current = photo;
  show();
  work();
}

let working = false;

/** Ask about one photo after another, the one in view first: the service computes one at a time anyway. */
async function work() {
  if (working || !state.model) return;
  working = true;
  const open = () => [state.current, ...state.photos].find((photo) => photo && !photo.answers.has(state.model));
  for (let photo = open(); photo; photo = open()) {
    await photo.ask(state.model);
    const version = photo.answers.get(state.model)?.version;
    if (version && version !== state.models.find(({ name }) => name === state.model)?.version) await loadModels({ quiet: true });
    show();
  }
  working = false;
}

async function tryAgain() {
  state.current?.answers.delete(state.model);
  await loadModels();
  show();
  await work();
}

/** Whatever was refused for want of a key is asked again. */
async function useKey() {
  for (const { answers } of state.photos) {
    for (const [model, said] of answers) if (said.status === 401) answers.delete(model);
  }
  await loadModels();
  show();
  await work();
}

async function takeSample(path) {
  const url = new URL(path, document.baseURI);
  const blob = await (await fetch(url)).blob();
  take([new File([blob], path.split("/").pop(), { type: blob.type })], url.href);
}

function listen() {
  intake.listen(take, (title, detail) => {
    state.problem = new Problem(title, detail, { lasting: true });
    show();
  });
  camera.listen(take);
  key.listen(useKey);
  links.listen();
  words.listen();
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
    work();
  });
  at("again").addEventListener("click", tryAgain);
  addEventListener("focus", refresh); // models may have come and gone meanwhile
  at("download").addEventListener("click", () => {
    words.download(state.current, queryFor(state.current.answers.get(state.model), state.confidence, state.hidden));
  });
  for (const button of document.querySelectorAll("[data-sample]")) button.addEventListener("click", () => takeSample(button.dataset.sample));
}

listen();
await loadModels();
show();
work(); // what was dropped while the models were not known yet
