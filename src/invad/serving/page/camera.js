// The camera: a preview in a dialog, and pictures taken from it. It is on only while the dialog is open.

import { stamp } from "./intake.js";

const $ = (id) => document.getElementById(id);
let stream = null;
let turns = 0; // ends of what was on or asked for; what began before the last one is over

// Wire the dialog; `take([file])` gets each picture.
export function wireCamera(take) {
  const dialog = $("camera");
  $("camera-open").addEventListener("click", openCamera);
  dialog.addEventListener("close", stop);
  $("shoot").addEventListener("click", async () => take([await shoot()]));
  $("devices").addEventListener("change", () => start($("devices").value));
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target instanceof HTMLSelectElement || event.target instanceof HTMLButtonElement)
      return;
    event.preventDefault();
    $("shoot").click();
  });
}

export function openCamera() {
  $("camera").showModal();
  start();
}

async function start(device) {
  stop();
  const turn = turns;
  $("camera-text").textContent = "Asking for the camera …";
  // Browsers hide it from pages that came over plain http from elsewhere.
  if (!navigator.mediaDevices) {
    $("camera-text").textContent =
      "The browser gives a page the camera only over https, or from this machine itself (localhost).";
    return;
  }
  const video = $("video");
  try {
    const wanted = device ? { deviceId: { exact: device } } : { facingMode: "environment" };
    const found = await navigator.mediaDevices.getUserMedia({
      video: { ...wanted, width: { ideal: 1920 }, height: { ideal: 1080 } },
    });
    if (turn !== turns) return turnOff(found); // closed while the browser was asking, and perhaps open again
    stream = found;
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
  } catch (error) {
    if (turn === turns) $("camera-text").textContent = reason(error);
    return;
  }
  if (turn !== turns) return;
  $("shoot").disabled = false;
  $("shoot").focus();
  $("camera-text").textContent =
    `${video.videoWidth} × ${video.videoHeight} pixels. Nothing is sent before you take a picture.`;
  await listDevices();
}

function reason(error) {
  if (error.name === "NotAllowedError")
    return "The camera was refused. Allow it for this page in the browser's address bar, and open this again.";
  if (error.name === "NotFoundError" || error.name === "OverconstrainedError")
    return "There is no camera. Connect one, and open this again.";
  if (error.name === "NotReadableError")
    return "The camera is there, but another program uses it. Close that, and open this again.";
  return `The camera cannot be opened: ${error.message}`;
}

// More than one camera: let the person choose.
async function listDevices() {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
  const current = stream?.getVideoTracks()[0]?.getSettings().deviceId;
  $("devices-label").hidden = cameras.length < 2;
  $("devices").replaceChildren(
    ...cameras.map(
      (one, i) => new Option(one.label || `Camera ${i + 1}`, one.deviceId, false, one.deviceId === current),
    ),
  );
}

// The picture as a PNG: a lossy one would show the model the compression too.
async function shoot() {
  const video = $("video");
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  $("camera-text").textContent =
    `Taken at ${new Date().toLocaleTimeString()}; it is being scored. Take another, or close.`;
  return new File([blob], `camera ${stamp()}.png`, { type: "image/png" });
}

function turnOff(some) {
  for (const track of some.getTracks()) track.stop();
}

function stop() {
  turns++;
  if (stream) turnOff(stream);
  stream = null;
  $("video").srcObject = null;
  $("video").hidden = true;
  $("shoot").disabled = true;
}
