// The anomaly map as the service sends it: a grey PNG whose 256 levels, here called codes, stand for the values of the
// model's scale, from its low end to its high end.

import { heatTable } from "./colours.js";

const TABLE = heatTable();
const TOP = 255;

// The code that stands for a value. A threshold keeps every pixel that reaches it, since the service rounds alike;
// below the scale nothing can be told from the ground, above it nothing from the top.
export function codeOf({ scale: [low, high] }, value) {
  return Math.min(TOP, Math.max(1, Math.round((TOP * (value - low)) / (high - low))));
}

export function valueOf({ scale: [low, high] }, code) {
  return low + (code / TOP) * (high - low);
}

// Base64 -> a PNG.
export function pngOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });
}

// Base64 PNG -> {codes, width, height, scale}.
export async function readMap(base64, scale) {
  const bitmap = await createImageBitmap(pngOf(base64), { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  return { codes: Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i]), width, height, scale };
}

// Colour a map into a canvas, at the map's own size; the browser enlarges it smoothly.
export function paint(canvas, map) {
  canvas.width = map.width;
  canvas.height = map.height;
  const image = new ImageData(map.width, map.height);
  map.codes.forEach((code, i) => image.data.set(TABLE.subarray(4 * code, 4 * code + 4), 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// A line around all pixels of at least a code, as SVG path data in the map's pixels (marching squares, so that it runs
// smoothly between the pixels instead of in steps).
export function outline(map, code) {
  const { codes, width, height } = map;
  const cut = code - 0.5;
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : codes[y * width + x]);
  const parts = [];
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const inside = (a > cut) + 2 * (b > cut) + 4 * (c > cut) + 8 * (d > cut);
      if (inside === 0 || inside === 15) continue;
      const between = (from, to) => (cut - from) / (to - from);
      const edges = {
        top: () => [x + between(a, b), y],
        right: () => [x + 1, y + between(b, c)],
        bottom: () => [x + between(d, c), y + 1],
        left: () => [x, y + between(a, d)],
      };
      for (const [one, other] of LINES[inside]) parts.push(`M${point(edges[one]())}L${point(edges[other]())}`);
    }
  }
  return parts.join("");

  // Values sit in the middle of their pixels; what lies outside the map is drawn on its border.
  function point([x, y]) {
    return `${clip(x + 0.5, width)} ${clip(y + 0.5, height)}`;
  }
}

const clip = (v, most) => Math.round(100 * Math.min(most, Math.max(0, v))) / 100;

// Which edges of a cell a line joins, by the corners inside: 1 top left, 2 top right, 4 bottom right, 8 bottom left.
// In 5 and 10 the corners inside touch diagonally; they are joined, as regions are (8 neighbours).
const LINES = {
  1: [["left", "top"]],
  2: [["top", "right"]],
  3: [["left", "right"]],
  4: [["right", "bottom"]],
  5: [
    ["top", "right"],
    ["bottom", "left"],
  ],
  6: [["top", "bottom"]],
  7: [["left", "bottom"]],
  8: [["bottom", "left"]],
  9: [["top", "bottom"]],
  10: [
    ["left", "top"],
    ["right", "bottom"],
  ],
  11: [["right", "bottom"]],
  12: [["left", "right"]],
  13: [["top", "right"]],
  14: [["left", "top"]],
};
