// Requests in the background: the list of models, and one image after another.

import { Problem, models } from "../shared/api.js";
import { changed, currentModel, state } from "../state.js";

/** Load the list of models. quiet: a background refresh, whose failure is not shown. */
export async function loadModels({ quiet = false } = {}) {
  try {
    const loaded = await models();
    for (const { name, version } of loaded) dropOutdatedResponses(name, version);
    state.models = loaded;
    if (!quiet) state.problem = null;
    if (!loaded.length) state.problem = new Problem("No model is loaded", "Add one to the model folder with 'boxwright models add', then try again.");
    if (!currentModel()) state.model = loaded[0]?.name ?? null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (!quiet) state.problem = error;
  }
  changed();
}

/** Drop the responses of other versions of this model. */
function dropOutdatedResponses(name, version) {
  for (const { responses } of state.files) {
    const response = responses.get(name);
    if (response && !(response instanceof Problem) && response.version !== version) responses.delete(name);
  }
}

let working = false;

/** Process one image after another, the visible one first. */
export async function processFiles() {
  if (working || !state.model) return;
  working = true;
  const next = () => [state.current, ...state.files].find((file) => file && !file.responses.has(state.model));
  for (let file = next(); file; file = next()) {
    await file.detect(state.model);
    const version = file.responses.get(state.model)?.version;
    if (version && version !== currentModel()?.version) await loadModels({ quiet: true });
    changed();
  }
  working = false;
}

export async function refresh() {
  await loadModels({ quiet: true });
  await processFiles();
}

export async function tryAgain() {
  state.current?.responses.delete(state.model);
  await loadModels();
  await processFiles();
}

/** Repeat the requests that were refused because of the key. */
export async function retryWithKey() {
  for (const { responses } of state.files) {
    for (const [model, response] of responses) if (response.status === 401) responses.delete(model);
  }
  await loadModels();
  await processFiles();
}
