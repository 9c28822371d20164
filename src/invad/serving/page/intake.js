// Ways for images to come in: dropped (folders too), chosen, pasted.

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
  document.addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) show(++depth > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) show(--depth > 0);
  });
  // Without both of these the browser would leave the page and open the file.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    show(false);
    if (carriesFiles(event)) take(await dropped(event.dataTransfer));
  });
}

// All files of a drop, in the order of their names; of folders only what may be an image.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = await Promise.all(entries.map((entry) => walk(entry, !entry.isDirectory)));
  return files.flat().sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

async function walk(entry, named) {
  if (entry.isFile) {
    if (!named && !KINDS.test(entry.name)) return [];
    return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map((one) => walk(one, false)))).flat();
}

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
