// Image files that are dropped, pasted or chosen.

import { at } from "../shared/dom.js";

/** addFiles(files) is called with the files; reportProblem(title, detail) if something other than a file is dropped. */
export function listen(addFiles, reportProblem) {
  at("files").addEventListener("change", (event) => {
    addFiles([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) addFiles(files.map(rename));
  });
  listenToDrops(addFiles, reportProblem);
}

function listenToDrops(addFiles, reportProblem) {
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
    if (files.length) addFiles(files);
    else reportProblem("No file", "You dropped something that is not a file. Save the photo first, then drop the file.");
  });
}

let pasteCount = 0;

/** Give a pasted image a unique name: browsers call each one image.png. */
function rename(file) {
  const extension = file.name.includes(".") ? file.name.split(".").pop() : "png";
  return /^image\.\w+$/.test(file.name) || !file.name ? new File([file], `pasted-${++pasteCount}.${extension}`, { type: file.type }) : file;
}
