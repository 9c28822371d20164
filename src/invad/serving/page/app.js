// The inspection page: what comes in goes to the service, what comes back is shown; all is drawn from `state`.

import { Away, getInfo, hasToken, setToken, Unauthorised } from "./api.js";
import { openCamera, wireCamera } from "./camera.js";
import { evenColours } from "./colours.js";
import { listen } from "./intake.js";
import { keysOn, setKeys, wireKeys } from "./keys.js";
import { loadMarks, mark, markOf, openMarks, undo, wireMarks } from "./marks.js";
import { decision, scaleOf, takes, thresholds } from "./model.js";
import { drawModel, drawRegions, drawScore, drawVerdict } from "./panel.js";
import { Queue } from "./queue.js";
import { findRegions } from "./regions.js";
import { banner, changed, onChange, say, state } from "./state.js";
import { drawStrip, ordered } from "./strip.js";
import { count, inWords, tally, total } from "./tally.js";
import { highlight, isZoomed, placeOf, showPicture, zoom } from "./viewer.js";
import { partGone, plural, score } from "./words.js";
import { entryOf, forget, report, trim, work } from "./work.js";

const $ = (id) => document.getElementById(id);
const queue = new Queue({ work: step, onChange: changed, onLocked: askToken });
let round = tally(); // what came of images since the queue was last empty
let follow = null; // the entry to look at as soon as it is there: the first of what was given last

// ---- images in ----

function take(files) {
  if (!files.length) return;
  const entries = files.map(entryOf);
  state.entries.push(...entries);
  follow = entries[0];
  state.selected ??= entries[0];
  if (tokenWanted) banner("The images wait until the token is given.");
  send(entries);
}

function send(entries) {
  if (queue.idle) round = tally();
  queue.add(entries);
}

async function step(entry, signal) {
  await work(entry, signal, refresh);
  count(round, [entry]);
  if (follow === entry) select(entry);
  trim();
  changed();
  if (queue.waiting.length === 0 && queue.active.size === 1) report(round, entry);
}

// ---- service ----

async function connect() {
  try {
    await learn();
    await loadMarks();
  } catch (error) {
    if (error instanceof Unauthorised) return askToken(error);
    banner(`${error.message} Trying again …`);
    setTimeout(connect, error instanceof Away ? 2000 : 10_000);
    return;
  }
  banner("");
  queue.width = Math.min(3, state.info.limits.queue);
  begin();
  queue.resume();
}

let asked = 0;

// Ask what the service goes by.
async function learn() {
  const turn = ++asked;
  const info = await getInfo();
  state.infos.set(info.state, info);
  if (turn === asked) state.info = info; // the answer to the latest question counts
  return info;
}

// The service took another model, or another calibration.
async function refresh() {
  const info = await learn();
  if (!takes(state.info, state.className)) banner(`${partGone(state.className)} Choose it again.`, { seconds: 12 });
  begin();
  return info;
}

// What follows from /info and changes only with it.
function begin() {
  const { info } = state;
  document.title = `${info.name} · InvAD inspection`;
  $("model-chip").textContent = `${info.name} · ${info.checksum.slice(0, 8)}`;
  $("marks-open").hidden = !info.marks;
  $("part-label").hidden = !info.class_names.length;
  $("part").replaceChildren(new Option("not known", ""), ...info.class_names.map((name) => new Option(name, name)));
  if (!info.class_names.includes(state.className)) state.className = "";
  $("part").value = state.className;
  drawModel();
  changed();
}

let tokenWanted = false; // from the question until somebody answers it

function askToken(error) {
  queue.locked = tokenWanted = true;
  if (hasToken()) $("token-text").textContent = `The token was not taken: ${error.message}`;
  showToken();
}

// Without a token nothing works; so the dialog comes back when it is closed, which no page can keep browsers from.
function showToken() {
  if (tokenWanted && !$("token").open) $("token").showModal();
}

// ---- drawing ----

function select(entry) {
  follow = null; // what a person chose stays
  state.selected = entry;
  changed();
}

// The regions to show for an entry: the service's, or those at the threshold being tried out.
function regionsOf(entry) {
  if (!entry?.result) return NONE;
  if (state.view === null) return entry.result.regions;
  const cut = thresholds(entry.info, entry.className, state.view).pixel;
  if (entry.result.score < cut) return NONE; // the score is the map's maximum
  if (entry.tried?.cut !== cut) entry.tried = { cut, regions: findRegions(entry.map, cut, entry.result) };
  return entry.tried.regions;
}
const NONE = [];

function draw() {
  if (!state.info) return;
  const { selected, view } = state;
  const shown = ordered(state.entries, state.sort);
  const info = selected?.info ?? state.info;
  const className = selected?.className ?? state.className;
  const cuts = thresholds(info, className, view);
  const regions = regionsOf(selected);
  showPicture(selected, regions, cuts?.pixel ?? null, scaleOf(info, className));
  drawVerdict(selected);
  drawScore(
    selected,
    shown.filter((entry) => entry.result),
  );
  drawRegions(selected, regions, highlight);
  drawStrip($("strip"), { entries: shown, selected, decisionOf: (entry) => decision(entry, view), markOf });
  drawLegend(info, className, cuts?.pixel ?? null);
  drawCounts(shown);
  drawProgress();
  const root = document.documentElement;
  root.style.setProperty("--heat", state.heatmap ? state.opacity : 0);
  root.classList.toggle("no-outlines", !state.outlines);
  $("opacity-value").textContent = state.heatmap ? `${Math.round(100 * state.opacity)} %` : "off";
  $("marks-count").textContent = state.marks.size;
  $("viewer-note").hidden = !selected?.made;
}

function drawLegend(info, className, cut) {
  const [low, high] = scaleOf(info, className);
  $("legend-low").textContent = `≤ ${score(low)}`;
  $("legend-high").textContent = `≥ ${score(high)}`;
  $("legend-cut").hidden = cut === null;
  if (cut !== null) $("legend-cut").style.left = `${100 * Math.min(1, Math.max(0, (cut - low) / (high - low)))}%`;
  const parts = [className in info.scales ? `The colours of ${className}` : "The same colours for all images"];
  if (cut !== null) parts.push(`outlines at ${score(cut)}`);
  $("legend-text").textContent = parts.join("; ");
}

function drawCounts(shown) {
  const said = shown.length ? [inWords(count(tally(), shown, state.view))] : [];
  if (said.length && state.view !== null) said.push(`at ${score(state.view)}, only a view`);
  $("recent-counts").textContent = said.join(", ");
  const gone = total(state.left);
  $("left").hidden = !gone;
  $("left").textContent = `${plural(gone, "older image")} left the strip: ${inWords(state.left)}.`;
  $("strip-empty").hidden = shown.length > 0;
  $("clear").disabled = !shown.length;
}

let told = null; // the trouble that was said aloud: its countdown is only to be seen

function drawProgress() {
  if (queue.trouble !== told) {
    told = queue.trouble;
    if (told) say(`${told.text}; the images wait`);
  }
  $("progress-row").hidden = queue.idle;
  if (queue.idle) return;
  $("progress").max = queue.total;
  $("progress").value = queue.finished;
  const left = queue.trouble && Math.max(0, Math.ceil((queue.trouble.until - Date.now()) / 1000));
  $("progress-text").textContent = queue.trouble
    ? `${queue.trouble.text}; trying again in ${left} s. ${queue.waiting.length} waiting, none is lost.`
    : `Scoring: ${queue.finished} of ${queue.total}`;
}

// The heatmap's colours as the pictures have them: over grey, with their opacity.
function paintLegend() {
  const context = $("legend").getContext("2d");
  evenColours(256).forEach(([red, green, blue], level) => {
    context.fillStyle = `rgb(${red} ${green} ${blue} / ${1 - (1 - level / 255) ** 4})`;
    context.fillRect(level, 0, 1, 1);
  });
}

// ---- commands ----

function move(by, { end = false } = {}) {
  const shown = ordered(state.entries, state.sort);
  if (!shown.length) return;
  const now = shown.indexOf(state.selected);
  const next = end ? (by < 0 ? 0 : shown.length - 1) : Math.min(shown.length - 1, Math.max(0, now + by));
  select(shown[next]);
  if ($("strip").contains(document.activeElement))
    requestAnimationFrame(() => shown[next].option.focus({ preventScroll: true }));
}

async function undoMark() {
  const entry = await undo();
  if (entry && state.entries.includes(entry)) select(entry);
}

function resetThreshold() {
  if (state.view === null) return;
  state.view = null;
  say("Threshold reset to the one in force");
  changed();
}

function sortBy(by) {
  state.sort = by;
  $("sort").value = by;
  changed();
}

function toggleOutlines() {
  state.outlines = !state.outlines;
  $("outlines").checked = state.outlines;
  changed();
}

function toggleHeatmap() {
  state.heatmap = !state.heatmap;
  changed();
}

function retry() {
  const entry = state.selected;
  if (!takes(state.info, entry.className)) entry.className = state.className;
  Object.assign(entry, { state: "waiting", error: null, option: null });
  send([entry]);
}

function clear() {
  state.left = tally();
  forget(ordered(state.entries, "time"));
}

function stop() {
  forget(queue.stop());
  changed();
}

function wire() {
  listen(take, { input: $("files"), overlay: $("drop"), busy: () => Boolean(document.querySelector("dialog[open]")) });
  wireCamera(take);
  wireMarks();
  const click = (id, action) => $(id).addEventListener("click", action);
  click("choose", () => $("files").click());
  click("stop", stop);
  click("retry", retry);
  click("help-open", () => $("help").showModal());
  click("mark-good", () => mark(state.selected, "good"));
  click("mark-defective", () => mark(state.selected, "defective"));
  click("undo", undoMark);
  click("reset", resetThreshold);
  click("clear", clear);
  click("zoom", () => zoom(!isZoomed()));
  $("picture").addEventListener("dblclick", (event) => zoom(!isZoomed(), placeOf(event)));
  $("strip").addEventListener("click", (event) => {
    const key = event.target.closest("[data-key]")?.dataset.key;
    if (key) select(state.entries.find((entry) => entry.key === key));
  });
  $("threshold").addEventListener("input", () => {
    state.view = Number($("threshold").value);
    changed();
  });
  $("opacity").addEventListener("input", () => {
    state.opacity = Number($("opacity").value) / 100;
    state.heatmap = true;
    changed();
  });
  $("outlines").addEventListener("change", toggleOutlines);
  $("sort").addEventListener("change", () => sortBy($("sort").value));
  $("part").addEventListener("change", () => {
    state.className = $("part").value;
    changed();
  });
  $("keys-on").checked = keysOn();
  $("keys-on").addEventListener("change", () => setKeys($("keys-on").checked));
  $("token-form").addEventListener("submit", () => {
    tokenWanted = false;
    setToken($("token-input").value);
    $("token-input").value = "";
    connect();
  });
  $("token").addEventListener("close", showToken);
  wireKeys({
    o: () => $("files").click(),
    c: openCamera,
    g: () => mark(state.selected, "good"),
    d: () => mark(state.selected, "defective"),
    u: undoMark,
    h: toggleHeatmap,
    l: toggleOutlines,
    z: () => state.selected?.result && zoom(!isZoomed()),
    s: () => sortBy(state.sort === "score" ? "time" : "score"),
    r: resetThreshold,
    m: openMarks,
    "?": () => $("help").showModal(),
    ArrowLeft: () => move(-1),
    ArrowRight: () => move(1),
  });
  $("strip").addEventListener("keydown", (event) => {
    if (event.key === "Home") move(-1, { end: true });
    else if (event.key === "End") move(1, { end: true });
    else return;
    event.preventDefault();
  });
  // Closing the page loses the strip; marks are safe. Only ask while images are on their way.
  window.addEventListener("beforeunload", (event) => {
    if (!queue.idle) event.preventDefault();
  });
}

onChange(draw);
wire();
paintLegend();
connect();
