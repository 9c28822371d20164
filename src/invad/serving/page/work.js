// From a file to an entry of the strip: sent, answered, its map read and its thumbnail made.

import { Away, Busy, predict, Refused, Unauthorised } from "./api.js";
import { pngOf, readMap } from "./map.js";
import { calibrated, takes } from "./model.js";
import { changed, say, state } from "./state.js";
import { thumbnail } from "./strip.js";
import { count, inWords, outcome, total } from "./tally.js";
import { bytes, DECISIONS, partGone, plural, score } from "./words.js";

const MOST = 300; // entries kept
const MEMORY = 2 ** 27; // bytes that their maps may take
const ENVELOPE = 2048; // bytes around a file in a request, at most
let given = 0; // entries so far

// A new entry: what is known of one image. `state` goes from waiting to done or failed.
export function entryOf(file) {
  return {
    key: `image-${++given}`,
    name: file.name,
    file,
    className: state.className,
    state: "waiting",
    time: 0,
    error: null, // a sentence, if it failed
    result: null, // the service's answer
    info: null, // /info of the model that gave it, which may have been replaced since
    map: null,
    picture: null, // an address to show the photo by
    made: false, // whether that photo is a small one that the service made
    thumb: null,
  };
}

// Score one image. Throws what the queue can do something about: busy, away, no token.
// refresh(): asks for /info again, when another model answers than the one known, or decides otherwise, or refuses the
// entry's part.
export async function work(entry, signal, refresh) {
  const { limits } = state.info;
  try {
    if (entry.file.size + ENVELOPE > limits.body_bytes) {
      throw new Refused(
        `${entry.name} has ${bytes(entry.file.size)}; the service takes at most ${bytes(limits.body_bytes)}.`,
      );
    }
    const { result, info } = await ask(entry, signal, refresh);
    entry.map = await readMap(result.map);
    await show(entry, signal);
    Object.assign(entry, { result: { ...result, map: null }, info, state: "done" }); // the map has been read
  } catch (caught) {
    const error = caught.status === 422 && entry.className ? await explained(caught, entry, refresh) : caught;
    if (signal.aborted || error instanceof Busy || error instanceof Unauthorised) throw error;
    // To the browser a file that cannot be read looks like a service that cannot be reached.
    if (error instanceof Away && (await isReadable(entry.file))) throw error;
    const text = error instanceof Away ? `${entry.name} is gone or was changed since it was given.` : error.message;
    Object.assign(entry, { state: "failed", error: text });
  }
  entry.time = Date.now();
}

// What the service says of an entry, and the /info that this goes by.
async function ask({ file, name, className }, signal, refresh) {
  const answer = await predict(file, name, { className, signal });
  if (answer.result.error) throw new Refused(answer.result.error);
  const info = await infoOf(answer, className, refresh);
  if (!info) throw new Busy("The model was replaced before the page knew of it.", 1);
  return { result: answer.result, info };
}

// The /info that an answer goes by, of an earlier model, too; none of one that the page never heard of.
async function infoOf({ model, by, result }, className, refresh) {
  if (by) {
    if (by !== state.info.state) await refresh();
    return state.infos.get(by);
  }
  // Services of before do not say what they go by.
  const { checksum } = state.info;
  const stale = model !== checksum || result.threshold !== (calibrated(state.info, className)?.image ?? null);
  return stale ? refresh() : state.info;
}

// A refusal, or what lies behind it: a model that does not know the entry's part.
async function explained(refusal, { className }, refresh) {
  try {
    if (takes(await refresh(), className)) return refusal;
    return new Refused(`${partGone(className)} Choose the part again, then try again.`);
  } catch (error) {
    return error;
  }
}

// Whether a file is still there, as it was given.
async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

// A photo that the browser can show, and its thumbnail. For the kinds it cannot (TIFF), the service's own picture.
async function show(entry, signal) {
  let source = entry.file;
  try {
    entry.thumb = await thumbnail(source);
  } catch {
    const { result } = await predict(entry.file, entry.name, { className: entry.className, map: "image", signal });
    if (result.error) throw new Refused(result.error);
    source = pngOf(result.map);
    entry.thumb = await thumbnail(source);
    entry.made = true;
  }
  entry.picture = URL.createObjectURL(source);
}

// Take entries out of the page, and free what they hold; an undo may still know of them.
export function forget(entries) {
  const gone = new Set(entries);
  for (const entry of gone) {
    if (entry.picture) URL.revokeObjectURL(entry.picture);
    Object.assign(entry, { map: null, picture: null, thumb: null, option: null, tried: null });
  }
  state.entries = state.entries.filter((entry) => !gone.has(entry));
  if (gone.has(state.selected)) state.selected = state.entries.findLast((entry) => entry.state !== "waiting") ?? null;
  changed();
}

// Keep the page's memory bounded, and count what leaves. The one in the viewer stays.
export function trim() {
  const [height, width] = state.info.image_size;
  const most = Math.min(MOST, Math.floor(MEMORY / (2 * height * width)));
  const finished = state.entries.filter((entry) => entry.state !== "waiting" && entry !== state.selected);
  const gone = leaving(finished, most);
  if (!gone.length) return;
  count(state.left, gone);
  forget(gone);
}

// Which of too many entries leave: the latest third stays, of the others the good ones go first, and the oldest of those.
export function leaving(entries, most) {
  if (entries.length <= most) return [];
  const older = entries.toSorted((a, b) => a.time - b.time).slice(0, entries.length - Math.floor(most / 3));
  return older.sort((a, b) => LEAVE.indexOf(outcome(a)) - LEAVE.indexOf(outcome(b))).slice(0, entries.length - most);
}
const LEAVE = ["good", "undecided", "defective", "failed"];

// Say what came of a round: of one image in full, of many in numbers.
export function report(numbers, { name, error, result }) {
  const images = total(numbers);
  if (images > 1) return say(`${plural(images, "image")}: ${inWords(numbers)}`);
  if (error) return say(`${name}: ${error}`);
  const decision = DECISIONS[result.decision].toLowerCase();
  say(`${name}: ${decision}, score ${score(result.score)}, ${plural(result.regions.length, "region")}`);
}
