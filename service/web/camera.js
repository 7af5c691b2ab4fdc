// One picture from the camera, in a dialog. Where there is no camera it says so.

import { at } from "./dom.js";

const REASONS = {
  NotAllowedError: "The browser was told not to give the camera to this page. Its address bar can change that.",
  NotFoundError: "There is no camera on this device.",
  NotReadableError: "The camera is in use by another program.",
};

let stream = null;
let taken = 0;

/** take(files) is called with the picture. */
export function listen(take) {
  const dialog = at("camera");
  at("open-camera").addEventListener("click", open);
  at("close-camera").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  at("shoot").addEventListener("click", async () => {
    take([await shoot()]);
    dialog.close();
  });
}

async function open() {
  show("Waiting for the camera…", false);
  at("camera").showModal();
  if (!navigator.mediaDevices?.getUserMedia) {
    show("The browser gives the camera only to pages over HTTPS or on localhost, and this is neither.", false);
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    if (!at("camera").open) return stop(); // it was closed meanwhile
    at("viewfinder").srcObject = stream;
    await at("viewfinder").play();
    show("", true);
  } catch (error) {
    show(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`, false);
  }
}

function show(words, ready) {
  at("camera-words").textContent = words;
  at("viewfinder").hidden = !ready;
  at("shoot").hidden = !ready;
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("viewfinder").srcObject = null;
}

async function shoot() {
  const video = at("viewfinder");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], `camera-${++taken}.jpg`, { type: "image/jpeg" });
}
