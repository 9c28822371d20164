// The normal scores as a hill, the threshold as a line through it, and each image as a mark below it.

import { histogram, ticks } from "./distribution.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HILL, FOOT, HEIGHT] = [400, 84, 100, 118];
const BINS = 48;

// Draw into an element. `one` is what is looked at, or null; `others` the scores of the strip; all may be empty.
export function drawChart(element, { range, quantiles, threshold, inForce, one, others }) {
  const [from, to] = range;
  const x = (value) => (WIDTH * (value - from)) / (to - from);
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words() });
  if (quantiles) svg.append(node("path", { class: "hill", d: hill(quantiles, from, to) }));
  svg.append(node("path", { class: "axis", d: `M0 ${HILL}H${WIDTH}` }));
  for (const { at, text } of ticks(from, to, 5)) {
    svg.append(node("path", { class: "axis", d: `M${x(at)} ${HILL}v4` }), label(x(at), HEIGHT - 4, text));
  }
  for (const { score, decision } of others) {
    svg.append(node("path", { class: `other ${decision ?? "undecided"}`, d: `M${x(score)} ${HILL + 5}v9` }));
  }
  if (inForce !== null && inForce !== threshold) {
    svg.append(node("path", { class: "cut in-force", d: `M${x(inForce)} 14V${HILL}` }));
    if (Math.abs(x(inForce) - x(threshold)) > 64) svg.append(label(x(inForce), 10, "in force"));
  }
  if (threshold !== null)
    svg.append(node("path", { class: "cut", d: `M${x(threshold)} 14V${HILL}` }), label(x(threshold), 10, "threshold"));
  if (one) {
    const at = x(one.score);
    svg.append(node("path", { class: `one ${one.decision ?? "undecided"}`, d: `M${at} ${HILL - 1}l-6.5 -11h13z` }));
    svg.append(
      node("path", { class: `stem ${one.decision ?? "undecided"}`, d: `M${at} ${HILL - 10}V34` }),
      label(at, 31, "this image", "this"),
    );
  }
  element.replaceChildren(svg);

  function words() {
    const parts = [`Scores from ${from.toFixed(2)} to ${to.toFixed(2)}`];
    if (quantiles) parts.push(`normal images from ${quantiles[0].toFixed(3)} to ${quantiles.at(-1).toFixed(3)}`);
    if (threshold !== null) parts.push(`threshold ${threshold.toFixed(3)}`);
    if (one) parts.push(`this image ${one.score.toFixed(3)}`);
    return parts.join(", ");
  }
}

// A smoothed histogram: each bin with half of its neighbours, so that twenty images do not look like a comb.
function hill(quantiles, from, to) {
  const shares = histogram(quantiles, from, to, BINS);
  const soft = shares.map((share, i) => ((shares[i - 1] ?? 0) + 2 * share + (shares[i + 1] ?? 0)) / 4);
  const top = Math.max(...soft);
  const points = soft.map((share, i) => `${((i + 0.5) * WIDTH) / BINS} ${HILL - (HILL - 36) * (share / top)}`);
  return `M0 ${HILL}L${points.join("L")}L${WIDTH} ${HILL}z`;
}

// Text about a place, moved so far that it stays inside the drawing.
function label(x, y, text, name = "") {
  const half = 3.1 * text.length;
  const element = node("text", {
    x: Math.min(WIDTH - half, Math.max(half, x)),
    y,
    class: name,
    "text-anchor": "middle",
  });
  element.textContent = text;
  return element;
}

function node(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
