// The anomaly map as the service sends it: a PNG whose red and green bytes are a number from 0 to 65535, here called a
// code, that stands for a value from 0 to 2.

import { heatTable } from "./colours.js";

const TABLE = heatTable();
const [LARGEST, TOP] = [2, 65535];

export const codeOf = (value) => Math.round((TOP / LARGEST) * value);
export const valueOf = (code) => (LARGEST / TOP) * code;

// Base64 -> a PNG.
export function pngOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });
}

// Base64 PNG -> {codes, width, height}.
export async function readMap(base64) {
  const bitmap = await createImageBitmap(pngOf(base64), { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const code = (_, i) => 256 * pixels[4 * i] + pixels[4 * i + 1];
  return { codes: Uint16Array.from({ length: width * height }, code), width, height };
}

// Colour a map into a canvas, at the map's own size, clear at the scale's low end and full at its high end; the browser
// enlarges it smoothly.
export function paint(canvas, map, [low, high]) {
  canvas.width = map.width;
  canvas.height = map.height;
  const image = new ImageData(map.width, map.height);
  const [from, step] = [codeOf(low), 255 / (codeOf(high) - codeOf(low))];
  map.codes.forEach((code, i) => {
    const level = Math.min(255, Math.max(0, Math.round((code - from) * step)));
    image.data.set(TABLE.subarray(4 * level, 4 * level + 4), 4 * i);
  });
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
