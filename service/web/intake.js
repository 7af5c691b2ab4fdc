// Photos on their way in: dropped, pasted or chosen.

import { at } from "./dom.js";

/** take(files) is called with each bundle; complain(title, words) where what came is no file. */
export function listen(take, complain) {
  at("files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same file may be chosen again
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) take(files.map(named));
  });
  listenToDrops(take, complain);
}

function listenToDrops(take, complain) {
  const mark = (over) => document.body.classList.toggle("over", over);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
    else complain("No file", "what was dropped is no file. Save the photo first, then drop it.");
  });
}

let pasted = 0;

/** Browsers call every pasted picture image.png. */
function named(file) {
  const ending = file.name.includes(".") ? file.name.split(".").pop() : "png";
  return /^image\.\w+$/.test(file.name) || !file.name ? new File([file], `pasted-${++pasted}.${ending}`, { type: file.type }) : file;
}
