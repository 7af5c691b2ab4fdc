// The answer as a program would have it: JSON, the curl line, the drawn photo.

import { at, copy, save } from "./dom.js";
import * as key from "./key.js";
import { Problem, address, drawn } from "./service.js";

/** A word for a POSIX shell, whatever is in it. */
export function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** query: that of `queryFor`. */
export function showWords(photo, answer, detections, query) {
  at("json").textContent = JSON.stringify({ ...answer, detections }, null, 2);
  at("curl").textContent = query ? curlLine(photo, query) : "Every label is hidden: there is nothing to ask for.";
  at("download").disabled = !query;
}

function curlLine(photo, query) {
  const line = `curl ${key.words()}--data-binary ${quoted(`@${photo.name}`)} ${quoted(address(query))}`;
  return photo.origin ? `curl --silent --remote-name ${quoted(photo.origin)} && ${line}` : line;
}

export function listen() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      at("copied").textContent = await copy(at(button.dataset.copy));
    });
  }
}

/** Have the service draw the boxes, and offer the picture as NAME.boxes.jpg. */
export async function download(photo, query) {
  at("downloaded").textContent = "Drawing…";
  try {
    const blob = await drawn(photo.file, query);
    const ending = blob.type === "image/png" ? "png" : "jpg";
    save(blob, `${photo.name.replace(/\.\w+$/, "")}.boxes.${ending}`);
    at("downloaded").textContent = "";
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    at("downloaded").textContent = error.message;
  }
}
