// The response for use elsewhere: JSON, a curl command, and the image with its boxes.

import { at, copy, save } from "../shared/dom.js";
import * as apiKey from "../shared/api_key.js";
import { Problem, annotated, detectUrl } from "../shared/api.js";

/** Quote text as one word of a POSIX shell. */
function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Show the response as JSON and the request as a curl command. query: the result of `queryFor`. */
export function showExport(file, response, detections, query) {
  setText(at("json"), JSON.stringify({ ...response, detections }, null, 2));
  setText(at("curl"), query ? curlCommand(file, query) : "Every label is hidden.");
  at("download").disabled = !query;
}

/** Replace a text. Also clear the message "Copied.", which refers to the previous text. */
function setText(node, text) {
  if (node.textContent === text) return;
  node.textContent = text;
  showCopied(null, "");
}

/** Show a message next to this button, and clear the messages of all others. */
function showCopied(button, message) {
  for (const other of document.querySelectorAll("[data-copy]")) other.nextElementSibling.textContent = other === button ? message : "";
}

function curlCommand(file, query) {
  const command = `curl ${apiKey.curlOptions()}--data-binary ${quote(`@${file.name}`)} ${quote(detectUrl(query))}`;
  return file.origin ? `curl --silent --remote-name ${quote(file.origin)} && ${command}` : command;
}

export function listen() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      showCopied(button, await copy(at(button.dataset.copy)));
    });
  }
}

/** Download the image with boxes, drawn by the service, as NAME.boxes.jpg. It is a PNG if a side is too long for JPEG. */
export async function download(file, query) {
  at("downloaded").textContent = "Drawing…";
  try {
    const blob = await annotated(file.file, query);
    const extension = blob.type === "image/png" ? "png" : "jpg";
    save(blob, `${file.name.replace(/\.\w+$/, "")}.boxes.${extension}`);
    at("downloaded").textContent = "";
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    at("downloaded").textContent = error.message;
  }
}
