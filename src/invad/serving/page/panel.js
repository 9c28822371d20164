// What is said beside the picture: the decision, the score among the normal ones, the regions, the model.

import { drawChart } from "./chart.js";
import { shareBelow } from "./distribution.js";
import { axis, calibrated, decision, reference, thresholds } from "./model.js";
import { markOf } from "./marks.js";
import { state } from "./state.js";
import { bytes, comparison, DECISIONS, number, percent, pixels, plural, score } from "./words.js";

const $ = (id) => document.getElementById(id);
let listed = null; // the regions in the list
const LISTED = 30; // regions in the list; a broken model may find thousands

export function drawVerdict(entry) {
  const kind = entry?.error ? "error" : entry?.result ? (decision(entry, state.view) ?? "undecided") : "undecided";
  $("verdict").className = `card verdict ${entry ? kind : "none"}`;
  $("decision-icon").setAttribute("href", `#icon-${kind}`);
  $("decision").textContent = heading(entry, kind);
  $("score").textContent = entry?.result ? score(entry.result.score) : "";
  $("share").textContent = share(entry);
  $("file").textContent = entry ? fileText(entry) : "";
  const mark = markOf(entry);
  $("mark-row").hidden = !state.info.marks || !entry?.result;
  for (const one of ["good", "defective"]) {
    $(`mark-${one}`).setAttribute("aria-pressed", mark === one);
  }
  $("undo").disabled = !state.undo.length;
}

function heading(entry, kind) {
  if (!entry) return "No image yet";
  if (entry.error) return "Could not be inspected";
  if (!entry.result) return "Waiting";
  return DECISIONS[kind] ?? DECISIONS.null;
}

function share(entry) {
  if (!entry) return "The decision, the score and where the image is not normal appear here.";
  if (entry.error) return "No decision was made. Look at this part yourself.";
  if (!entry.result) return "It is on its way.";
  const count = reference(entry.info, entry.className)?.count;
  return comparison(entry.result.share_below, count) || "The model has no calibration to compare with.";
}

function fileText({ name, className, result, info }) {
  const parts = [name];
  if (result) parts.push(`${number(result.width)} × ${number(result.height)} pixels`);
  if (className) parts.push(`as ${className}`);
  if (info && info.checksum !== state.info.checksum) parts.push("scored by an earlier model");
  else if (info && info.state !== state.info.state) parts.push("decided by earlier thresholds");
  return parts.join(" · ");
}

export function drawScore(entry, others) {
  const { view } = state;
  const info = entry?.info ?? state.info;
  const className = entry?.className ?? state.className;
  const scores = others.map((one) => one.result.score);
  const range = axis(info, scores);
  const cut = thresholds(info, className, view)?.image ?? null;
  const own = calibrated(info, className)?.image ?? null;
  const normal = reference(info, className);
  const mark = (one) => ({ score: one.result.score, decision: decision(one, view) });
  drawChart($("chart"), {
    range,
    quantiles: normal?.quantiles,
    threshold: cut,
    inForce: own,
    one: entry?.result ? mark(entry) : null,
    others: others.filter((one) => one !== entry).map(mark),
  });
  const slider = $("threshold");
  // "any": the calibrated threshold lies on no grid. The arrow keys then move by a hundredth of the slider.
  Object.assign(slider, { disabled: false, step: "any", min: range[0], max: range[1] });
  slider.value = cut ?? range[1];
  slider.setAttribute("aria-valuetext", cut === null ? "no threshold" : score(cut));
  $("threshold-value").textContent = cut === null ? "no threshold" : score(cut);
  $("reset").disabled = view === null;
  $("threshold-text").textContent = thresholdText(info, cut, own, normal);
}

// What the threshold means, and whether it counts.
function thresholdText({ calibration, threshold }, cut, own, normal) {
  if (cut === null) {
    return "No threshold is known, so nothing is decided. Calibrate the model (invad calibrate), or try one out here.";
  }
  if (state.view === null) {
    if (!calibration) return "The threshold that the service was started with.";
    if (own !== threshold) return `Calibrated on ${plural(normal.count, "normal image")} of this part.`;
    const [low, high] = calibration.interval.map((share) => percent(share));
    const rate = percent(calibration.false_alarm_rate);
    // The service may have been started with another threshold than the calibration's; so it is said whose rate this is.
    return `At the calibration's threshold ${rate} of good images are expected to be called defective (${low} to ${high}).`;
  }
  const parts = [`Only a view: the service goes on deciding ${own === null ? "nothing" : `by ${score(own)}`}.`];
  if (normal) {
    const alarms = 1 - shareBelow(normal.quantiles, cut);
    const share = alarms >= 1 ? "All" : alarms > 0 ? `About ${percent(alarms, 0)}` : "None";
    parts.push(`${share} of the ${plural(normal.count, "normal image")} of the calibration would be called defective.`);
  }
  return parts.join(" ");
}

// The list of regions; pointing at one frames it in the picture.
export function drawRegions(entry, regions, highlight) {
  const none = !regions.length;
  $("regions-none").hidden = !none;
  const known = entry?.result && thresholds(entry.info, entry.className, state.view);
  $("regions-none").textContent = known ? "None: nothing reaches the threshold for regions." : "None.";
  if (listed === regions) return; // keep the focus where it is
  listed = regions;
  $("regions").replaceChildren(...regions.slice(0, LISTED).map((region, i) => item(region, i, highlight)));
  const more = regions.length - LISTED;
  $("regions-note").hidden = more <= 0;
  $("regions-note").textContent = `and ${number(more)} smaller ones`;
}

function item(region, index, highlight) {
  const element = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.region = index;
  button.innerHTML = "<b></b><span></span><span></span><strong></strong>";
  const [tag, size, area, peak] = button.children;
  tag.textContent = index + 1;
  size.textContent = `${number(region.width)} × ${number(region.height)} px`;
  area.textContent = `area ${number(region.area)}`;
  peak.textContent = `peak ${score(region.peak)}`;
  const place = `${region.width} by ${region.height} pixels at ${region.x}, ${region.y}`;
  button.setAttribute("aria-label", `Region ${index + 1}: ${place}; covers ${region.area}; peak ${score(region.peak)}`);
  for (const type of ["mouseenter", "focus", "click"]) button.addEventListener(type, () => highlight(index));
  for (const type of ["mouseleave", "blur"]) button.addEventListener(type, () => highlight(null));
  element.append(button);
  return element;
}

const colours = ([low, high]) => `from ${score(low)} (clear) to ${score(high)} (yellow)`;

export function drawModel() {
  const { info } = state;
  const { calibration, limits } = info;
  const rows = [
    ["Name", info.name],
    ["Checksum", info.checksum],
    ["Trained on", info.classes.join(", ") || "not known"],
    ["Threshold", info.threshold === null ? "none" : score(info.threshold)],
    ...Object.entries(info.thresholds).map(([name, cut]) => [`Threshold of ${name}`, score(cut)]),
    ["Colours", colours(info.scale)],
    ...Object.entries(info.scales).map(([name, scale]) => [`Colours of ${name}`, colours(scale)]),
    ["Looks at", `${info.image_size[1]} × ${info.image_size[0]} pixels`],
    ["Takes", `files up to ${bytes(limits.body_bytes)} and ${pixels(limits.pixels)}`],
    ["InvAD", info.version],
    ["Calibrated", calibration ? calibrationText(calibration) : "no"],
  ];
  $("model").replaceChildren(
    ...rows.map(([name, value]) => {
      const row = document.createElement("div");
      for (const [tag, text] of [
        ["dt", name],
        ["dd", value],
      ])
        row.append(Object.assign(document.createElement(tag), { textContent: text }));
      return row;
    }),
  );
}

function calibrationText({ count, method, wanted, false_alarm_rate, interval, confidence, images }) {
  const how = {
    "false-alarms": `for ${percent(wanted)} false alarms`,
    "f1-max": "for the best F1",
    recall: `for ${percent(wanted)} of the defects`,
  }[method];
  const rate = `${percent(false_alarm_rate)} of good images are expected to be called defective`;
  const sure = `with ${percent(confidence)} confidence between ${percent(interval[0])} and ${percent(interval[1])}`;
  // Where they came from is only said if it is words; the folders of the service's machine are nobody's business here.
  const origin = /[\\/]/.test(images) ? "" : ` (${images})`;
  return `${how}, from ${plural(count, "normal image")}${origin}; ${rate}, ${sure}`;
}
