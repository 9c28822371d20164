// Ways for images to come in: dropped (folders too), chosen, pasted.

import { banner } from "./state.js";
import { plural } from "./words.js";

const KINDS = /\.(bmp|jpe?g|png|tiff?|webp)$/i;

// Call `take(files)` for all that comes in; `busy()` says whether a dialog is open, which then has the page.
export function listen(take, { input, overlay, busy }) {
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that choosing the same file again is noticed
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].map(named);
    if (files.length && !busy()) take(files);
  });
  let depth = 0; // dragenter and dragleave come for every element on the way
  const show = (on) => {
    overlay.hidden = !on;
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  // Without cancelling these the browser would leave the page and open the file, and a drop on an element that was
  // reached a moment ago, by the pointer or because the page moved below it, would be refused.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    if (carriesFiles(event)) show(++depth > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) show(--depth > 0);
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    if (!carriesFiles(event)) return;
    const { files, lost } = await dropped(event.dataTransfer);
    take(files);
    const said = lost ? [`${plural(lost, "file or folder", "files or folders")} could not be read.`] : [];
    if (!files.length) said.push("No images were found: BMP, JPEG, PNG, TIFF or WebP files are taken.");
    if (said.length) banner(said.join(" "), { seconds: 12 });
  });
}

const LOST = null; // in the place of a file or folder that cannot be read

// All files of a drop, in the order of their names, of folders only what may be an image; and how many could not be read.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return { files: [...transfer.files], lost: 0 };
  const found = await collect(entries);
  const files = found.filter((file) => file !== LOST);
  files.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  return { files, lost: found.length - files.length };
}

const collect = async (entries) =>
  (await Promise.all(entries.map((entry) => (entry.isFile ? fileOf(entry) : walk(entry))))).flat();

const fileOf = (entry) => new Promise((resolve) => entry.file(resolve, () => resolve(LOST)));

async function walk(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve(LOST))); // a hundred at a time
    if (some === LOST) return [LOST, ...(await collect(found.filter(isWanted)))];
    if (!some.length) return collect(found.filter(isWanted));
    found.push(...some);
  }
}

// Hidden files are no images: macOS writes a ._000.png beside 000.png.
const isWanted = ({ name, isDirectory }) => !name.startsWith(".") && (isDirectory || KINDS.test(name));

// Pasted pictures are all called image.png; the time tells them apart.
function named(file) {
  return file.name === "image.png" ? new File([file], `pasted ${stamp()}.png`, { type: file.type }) : file;
}

// The local time as it may stand in a file's name.
export function stamp(date = new Date()) {
  const two = (value) => String(value).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day} ${two(date.getHours())}.${two(date.getMinutes())}.${two(date.getSeconds())}`;
}
