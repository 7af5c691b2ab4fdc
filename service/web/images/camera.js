// A dialog that takes a photo with the camera, or explains why there is no camera.

import { at } from "../shared/dom.js";

const REASONS = {
  NotAllowedError: "The browser denied this page access to the camera. You can change this in the address bar.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program is using the camera.",
};

let stream = null;
let photoCount = 0;

/** addFiles(files) is called with the photo. */
export function listen(addFiles) {
  const dialog = at("camera");
  at("open-camera").addEventListener("click", open);
  at("close-camera").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  at("shoot").addEventListener("click", async () => {
    addFiles([await shoot()]);
    dialog.close();
  });
}

async function open() {
  show("Waiting for the camera…", false);
  at("camera").showModal();
  if (!navigator.mediaDevices?.getUserMedia) {
    show("Browsers allow the camera only on pages from HTTPS or localhost. This page is neither.", false);
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    if (!at("camera").open) return stop(); // the dialog was closed in the meantime
    at("viewfinder").srcObject = stream;
    await at("viewfinder").play();
    show("", true);
  } catch (error) {
    show(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`, false);
  }
}

function show(message, ready) {
  at("camera-message").textContent = message;
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
  return new File([blob], `camera-${++photoCount}.jpg`, { type: "image/jpeg" });
}
