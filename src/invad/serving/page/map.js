// The anomaly map as the service sends it: a grey PNG whose levels 0 to 255 stand for the model's scale, low to high.

import { heatTable } from "./colours.js";

const TABLE = heatTable();

// Base64 -> a PNG.
export function pngOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });
}

// Base64 PNG -> {levels, width, height}.
export async function readMap(base64) {
  const bitmap = await createImageBitmap(pngOf(base64), { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  return { levels: Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i]), width, height };
}

// Colour a map into a canvas, at the map's own size; the browser scales it smoothly.
export function paint(canvas, map) {
  canvas.width = map.width;
  canvas.height = map.height;
  const image = new ImageData(map.width, map.height);
  map.levels.forEach((level, i) => image.data.set(TABLE.subarray(4 * level, 4 * level + 4), 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The lowest level that counts as reaching a threshold. Rounding as the service does keeps every pixel that reaches it;
// below the scale nothing can be told apart from the ground, above it nothing from the top.
export function levelOf(threshold, [low, high]) {
  return Math.min(255, Math.max(1, Math.round((255 * (threshold - low)) / (high - low))));
}

// A line around all pixels of at least a level, as SVG path data in the map's pixels (marching squares, so that it runs
// smoothly between the pixels instead of in steps).
export function outline(map, level) {
  const { levels, width, height } = map;
  const cut = level - 0.5;
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : levels[y * width + x]);
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
  1: [["left", "top"]], 2: [["top", "right"]], 3: [["left", "right"]], 4: [["right", "bottom"]],
  5: [["top", "right"], ["bottom", "left"]], 6: [["top", "bottom"]], 7: [["left", "bottom"]],
  8: [["bottom", "left"]], 9: [["top", "bottom"]], 10: [["left", "top"], ["right", "bottom"]],
  11: [["right", "bottom"]], 12: [["left", "right"]], 13: [["top", "right"]], 14: [["left", "top"]],
};
