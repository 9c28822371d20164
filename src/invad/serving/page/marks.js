// What people say an image really is. The service keeps it; the page can take back what it did since it was opened.

import { deleteMark, exportMarks, getMarks, markedImage, predict, putMark, Refused } from "./api.js";
import { banner, changed, say, state } from "./state.js";
import { MARKS, plural, score, time } from "./words.js";

const $ = (id) => document.getElementById(id);

const EXPORT =
  "The export is a ZIP file with the images and lists of them, which invad calibrate and invad train read.";

export async function loadMarks() {
  if (!state.info.marks) return;
  const { marks } = await getMarks();
  state.marks = new Map(marks.map((mark) => [mark.id, mark]));
  changed();
}

export const markOf = (entry) => state.marks.get(entry?.result?.id)?.mark;

// One change after the other, in the order that keys were pressed in: an undo must know of the mark before it.
let last = Promise.resolve();
const inTurn =
  (change) =>
  (...values) =>
    (last = last.then(() => change(...values)));

// Mark an entry; the mark that it has already is taken away.
export const mark = inTurn(async (entry, kind) => {
  if (!entry?.result || !state.info.marks) return;
  const { id } = entry.result;
  const before = state.marks.get(id) ?? null;
  const after = before?.mark === kind ? null : { mark: kind, name: entry.name, class_name: entry.className || null };
  if (!(await change({ id, entry, seen: before, after }))) return;
  state.undo.push({ id, before, entry });
  say(after ? `${entry.name} marked ${MARKS[kind]}` : `${entry.name} is not marked any more`);
});

// Take back the last change, and return its entry.
export const undo = inTurn(async () => {
  const { id, before, entry } = state.undo.at(-1) ?? {};
  if (!entry || !(await change({ id, entry, seen: own.get(id), after: before }))) return null;
  state.undo.pop();
  say(`Taken back: ${entry.name} is ${before ? `marked ${MARKS[before.mark]}` : "not marked"}`);
  changed();
  return entry;
});

// Take a mark of the list away. Its image is deleted with it, so no undo brings that back.
const remove = inTurn(async (one) => {
  if (!(await change({ id: one.id, entry: one, seen: one, after: null }))) return;
  leaveUndo(one.id);
  say(`${one.name} is not marked any more`);
});

const leaveUndo = (id) => {
  state.undo = state.undo.filter((one) => one.id !== id);
};

const own = new Map(); // by the image's id: the mark, or null, that this page left there

// Have the service keep the mark `after`, or none, in the place of the one that was `seen`; false if it cannot, or if
// somebody else changed that meanwhile.
async function change({ id, entry, seen, after }) {
  try {
    await loadMarks();
    const now = state.marks.get(id);
    if (now?.marked_at !== seen?.marked_at) {
      leaveUndo(id);
      const done = now ? `marked it ${MARKS[now.mark]}` : "took it away";
      throw new Refused(`somebody else ${done} meanwhile. Look at it, then mark it again.`);
    }
    const kept = after ? await put(id, after, entry) : await removed(id);
    own.set(id, kept);
    if (kept) state.marks.set(id, kept);
    else state.marks.delete(id);
    changed();
    return true;
  } catch (error) {
    banner(`The mark of ${entry.name} is not changed: ${error.message}`, { seconds: 12 });
    say(`The mark is not changed: ${error.message}`);
    return false;
  }
}

async function put(id, { mark, name, class_name }, entry) {
  const body = { mark, name, class_name };
  try {
    return await putMark(id, body);
  } catch (error) {
    // The service keeps recent images only for a while; so it gets this one again.
    if (!(error instanceof Refused && error.status === 404)) throw error;
    await predict(entry.file, entry.name, { className: entry.className, map: "none" });
    return putMark(id, body);
  }
}

async function removed(id) {
  try {
    await deleteMark(id);
  } catch (error) {
    if (error.status !== 404) throw error; // somebody else was quicker
  }
  return null;
}

export function wireMarks() {
  $("marks-open").addEventListener("click", openMarks);
  $("export").addEventListener("click", download);
}

export async function openMarks() {
  if (!state.info?.marks) return;
  try {
    await loadMarks();
  } catch (error) {
    banner(error.message, { seconds: 12 });
    return;
  }
  list();
  if (!$("marks").open) $("marks").showModal();
}

function list() {
  const marks = [...state.marks.values()];
  const of = (kind) => marks.filter((one) => one.mark === kind).length;
  $("marks-text").textContent = marks.length
    ? `${plural(marks.length, "image")}: ${of("good")} really good, ${of("defective")} really defective. ${EXPORT}`
    : "No image is marked yet. Mark one with G (really good) or D (really defective).";
  $("export").disabled = !marks.length;
  seen.disconnect();
  $("marks-list").replaceChildren(...marks.map(row));
}

// Pictures are fetched when their row comes into view: there may be thousands of marks.
const seen = new IntersectionObserver((rows) => {
  for (const { isIntersecting, target } of rows) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    picture(target.dataset.id, target.querySelector("img"));
  }
});

function row(one) {
  const item = document.createElement("li");
  item.className = one.mark;
  item.innerHTML = '<img alt=""><div><b></b><span></span></div><button type="button">Remove</button>';
  item.querySelector("b").textContent = one.name;
  const said = one.decision ? `the model said ${one.decision}` : "the model did not decide";
  item.querySelector("span").textContent =
    `${MARKS[one.mark]}; ${said}, score ${score(one.score)}; ${time(one.marked_at)}`;
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Remove the mark of ${one.name}`);
  button.addEventListener("click", async () => {
    if (!confirm(`Remove the mark of ${one.name}, and its image from the service? No undo brings them back.`)) return;
    await remove(one);
    list();
  });
  item.dataset.id = one.id;
  seen.observe(item);
  return item;
}

// Fetched, not linked: an <img> would not send the token.
async function picture(id, image) {
  try {
    const address = URL.createObjectURL(await markedImage(id));
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.addEventListener("error", () => (image.hidden = true), { once: true });
    image.src = address;
  } catch {
    image.hidden = true; // the row says all that matters
  }
}

async function download() {
  try {
    const { blob, name } = await exportMarks();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`Exported as ${name}`);
  } catch (error) {
    banner(`The marks cannot be exported: ${error.message}`, { seconds: 12 });
  }
}
