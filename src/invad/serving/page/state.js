// All that the page knows. Whoever changes something calls `changed`; the page is drawn again at the next frame.

import { tally } from "./tally.js";

export const state = {
  info: null, // the answer of /info; null until it came
  infos: new Map(), // the answers of /info so far, by their `state`: images scored by an earlier model go by its own
  entries: [], // images given to the page, in the order they came; see work.js
  left: tally(), // what came of images that made place for newer ones
  selected: null, // the entry in the viewer
  className: "", // the part that new images show; "" for unknown
  view: null, // a threshold somebody is trying out; null: the calibrated one
  outlines: true,
  opacity: 0.6,
  heatmap: true,
  sort: "score",
  marks: new Map(), // by the image's id, as the service keeps them
  undo: [], // {id, entry, before}: the mark, or null, before it was changed here, the latest last
};

let draw = () => {};
let due = false;

export function onChange(render) {
  draw = render;
}

export function changed() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
}

// Say something to those who do not see the page. Cleared first, so that the same words are said again.
export function say(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  requestAnimationFrame(() => {
    live.textContent = text;
  });
}

let bannerTimer = null;

// Show a sentence on top of the page; "" takes it away. With `seconds` it goes by itself.
export function banner(text, { bad = true, seconds = 0 } = {}) {
  const element = document.getElementById("banner");
  clearTimeout(bannerTimer);
  element.textContent = text;
  element.hidden = !text;
  element.classList.toggle("bad", bad);
  if (seconds) bannerTimer = setTimeout(() => banner(""), 1000 * seconds);
}
