// Recent images as a strip: one option of a list box each, moved along by the arrow keys.

import { paint } from "./map.js";
import { scaleOf } from "./model.js";
import { DECISIONS, MARKS, score } from "./words.js";

const THUMB = 160; // pixels of a thumbnail's longer side; shown at half of that, sharp on fine screens

let seen = null; // the entry that the strip was scrolled to

// Entries in the order of the strip. What failed comes first: nobody has looked at it.
export function ordered(entries, by) {
  const shown = entries.filter((entry) => entry.state === "done" || entry.state === "failed");
  if (by === "time") return shown.sort((a, b) => b.time - a.time);
  const rank = (entry) => (entry.state === "failed" ? Infinity : entry.result.score);
  return shown.sort((a, b) => (rank(b) === rank(a) ? b.time - a.time : rank(b) - rank(a)));
}

// Draw the strip, reusing the option of each entry.
export function drawStrip(element, { entries, selected, decisionOf, markOf }) {
  const options = entries.map((entry) => {
    entry.option ??= option(entry);
    dress(entry, entry === selected, decisionOf(entry), markOf(entry));
    return entry.option;
  });
  if (options.length && !entries.includes(selected)) options[0].tabIndex = 0; // one is always reached by Tab
  const focused = options.includes(document.activeElement) ? document.activeElement : null;
  if (options.some((one, i) => element.children[i] !== one) || element.children.length !== options.length) {
    element.replaceChildren(...options);
    focused?.focus({ preventScroll: true }); // moving an element takes its focus away
  }
  if (selected !== seen && selected?.option?.parentElement === element) {
    seen = selected;
    reveal(element, selected.option);
  }
}

// Scroll the strip, and only the strip, until an option is in it.
function reveal(strip, { offsetLeft, offsetWidth }) {
  const room = 24; // of a neighbour, to show that there is one
  const left = offsetLeft - strip.offsetLeft - room;
  const right = left + offsetWidth + 2 * room - strip.clientWidth;
  strip.scrollTo({ left: Math.min(left, Math.max(right, strip.scrollLeft)) });
}

function option(entry) {
  const element = document.createElement("div");
  element.className = "option";
  element.setAttribute("role", "option");
  element.dataset.key = entry.key;
  element.title = entry.name;
  const thumb = document.createElement("span");
  thumb.className = "thumb";
  if (entry.thumb) {
    const heat = document.createElement("canvas");
    heat.className = "heat";
    paint(heat, entry.map, scaleOf(entry.info, entry.className));
    thumb.append(entry.thumb, heat);
    const shape = Math.min(1, entry.result.width / entry.result.height);
    const flat = Math.min(1, entry.result.height / entry.result.width);
    for (const layer of thumb.children)
      Object.assign(layer.style, { width: `${100 * shape}%`, height: `${100 * flat}%` });
  } else thumb.textContent = entry.name;
  const text = document.createElement("span");
  text.className = "text";
  text.innerHTML = '<svg aria-hidden="true"><use/></svg><b></b>';
  const mark = document.createElement("span");
  mark.className = "mark";
  element.append(thumb, text, mark);
  return element;
}

// What changes: selection, decision, mark.
function dress(entry, selected, decision, mark) {
  const { option: element } = entry;
  const kind = entry.state === "failed" ? "error" : (decision ?? "undecided");
  element.classList.remove("good", "defective", "undecided", "error");
  element.classList.add(kind);
  element.setAttribute("aria-selected", selected);
  element.tabIndex = selected ? 0 : -1;
  element.querySelector("use").setAttribute("href", `#icon-${kind}`);
  element.querySelector("b").textContent = entry.result ? score(entry.result.score) : "error";
  element.querySelector(".mark").textContent = mark ? MARKS[mark] : "";
  const said = entry.result ? [DECISIONS[decision].toLowerCase(), `score ${score(entry.result.score)}`] : [entry.error];
  if (mark) said.push(`marked ${MARKS[mark]}`);
  element.setAttribute("aria-label", [entry.name, ...said].join(", "));
}

// A small canvas of a picture, from its file's pixels.
export async function thumbnail(source) {
  const bitmap = await createImageBitmap(source);
  const factor = Math.min(1, THUMB / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}
