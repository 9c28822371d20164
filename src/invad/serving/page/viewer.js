// The picture: photo, heatmap, outlines and numbered regions, one above the other, and nothing drawn twice.
//
// The heatmap is a canvas of the map's own size; CSS lays it over the photo and sets its opacity, so the slider costs
// nothing. Outlines are SVG, so they stay sharp at any zoom.

import { codeOf, outline, paint } from "./map.js";

const $ = (id) => document.getElementById(id);
const TAGGED = 30; // regions with a number in the picture, as many as the list has
let shown = null; // the entry in the picture
let drawn = null; // the threshold and the regions that are drawn

// Show an entry with its regions at a threshold for pixels, or the empty desk.
export function showPicture(entry, regions, pixelThreshold, scale) {
  const ready = Boolean(entry?.result);
  $("picture").hidden = !ready;
  $("zoom").disabled = !ready;
  $("empty").hidden = Boolean(entry);
  $("failure").hidden = !entry || ready;
  if (entry && !ready) {
    $("failure-text").textContent = entry.error ?? `${entry.name} is on its way …`;
    $("retry").hidden = entry.state !== "failed";
  }
  if (entry !== shown) {
    if (ready) load(entry, scale);
    shown = ready ? entry : null;
    drawn = null;
    zoom(false);
  }
  if (!ready) return;
  if (drawn?.pixelThreshold === pixelThreshold && drawn.regions === regions) return;
  drawn = { pixelThreshold, regions };
  const code = regions.length ? Math.max(1, codeOf(pixelThreshold)) : Infinity;
  const path = regions.length ? outline(entry.map, code) : "";
  for (const line of $("outline").children) line.setAttribute("d", path);
  $("boxes").replaceChildren(...regions.slice(0, TAGGED).map((region, i) => box(region, i, entry, code)));
}

function load(entry, scale) {
  const { width, height } = entry.result;
  const image = $("image");
  image.src = entry.picture;
  image.alt = entry.name;
  $("picture").style.setProperty("--aspect", width / height);
  paint($("heat"), entry.map, scale);
  $("outline").setAttribute("viewBox", `0 0 ${entry.map.width} ${entry.map.height}`);
}

// A region's number on top of it; its frame shows only while somebody points at it.
function box(region, index, { result: { width, height }, map }, code) {
  const element = document.createElement("div");
  element.className = "box";
  element.dataset.region = index;
  const place = {
    left: region.x / width,
    top: region.y / height,
    width: region.width / width,
    height: region.height / height,
  };
  for (const [side, share] of Object.entries(place)) element.style[side] = `${100 * share}%`;
  const tag = document.createElement("b");
  tag.textContent = index + 1;
  tag.style.left = `${100 * topOf(map, code, region.x / width, region.y / height, region.width / width)}%`;
  element.append(tag);
  return element;
}

// Where along the upper side of its frame a region touches it, as a share of that side.
function topOf(map, code, x, y, share) {
  const row = Math.min(map.height - 1, Math.floor(y * map.height + 1e-6)) * map.width;
  const [from, to] = [Math.floor(x * map.width + 1e-6), Math.ceil((x + share) * map.width - 1e-6)];
  const inside = [];
  for (let i = from; i < to; i++) if (map.codes[row + i] >= code) inside.push(i);
  return inside.length ? ((inside[0] + inside.at(-1) + 1) / 2 - from) / (to - from) : 0.5;
}

// Frame one region, in the picture and in the list; null: none.
export function highlight(index) {
  for (const element of document.querySelectorAll("[data-region]")) {
    element.classList.toggle("on", element.dataset.region === String(index));
  }
  const frame = $("boxes").querySelector(".on");
  if (frame && isZoomed()) centre(frame.offsetLeft + frame.offsetWidth / 2, frame.offsetTop + frame.offsetHeight / 2);
}

export const isZoomed = () => $("stage").classList.contains("zoomed");

// Enlarge the picture within its frame, about a point (shares of width and height), or not.
export function zoom(on, [x, y] = [0.5, 0.5]) {
  const stage = $("stage");
  stage.classList.toggle("zoomed", on);
  $("zoom").setAttribute("aria-pressed", on);
  if (!on) {
    stage.removeAttribute("tabindex");
    return;
  }
  stage.tabIndex = 0; // so that the arrow keys can move the picture
  const { offsetWidth, offsetHeight } = $("picture");
  centre(x * offsetWidth, y * offsetHeight);
}

// Scroll a place of the zoomed picture, in pixels of the screen, to the middle.
function centre(x, y) {
  const stage = $("stage");
  stage.scrollTo(x - stage.clientWidth / 2, y - stage.clientHeight / 2);
}

// Where in the picture a pointer is, as shares of its width and height.
export function placeOf(event) {
  const frame = $("picture").getBoundingClientRect();
  return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
}
