// Regions of a map at a threshold that somebody is trying out; those at the calibrated one come from the service.
// The same rules as there: 8 neighbours, boxes rounded outwards to whole pixels of the image, highest peak first.

import { codeOf, valueOf } from "./map.js";

// Args: the map; the lowest value inside; the image's width and height.
export function findRegions(map, threshold, size) {
  const { codes, width, height } = map;
  const lowest = codeOf(threshold);
  const seen = new Uint8Array(codes.length);
  const found = [];
  for (let start = 0; start < codes.length; start++) {
    if (codes[start] >= lowest && !seen[start]) found.push(fill(start));
  }
  return found.sort((a, b) => b.peak - a.peak);

  function fill(start) {
    const stack = [start];
    seen[start] = 1;
    let [left, top, right, bottom, count, peak] = [width, height, 0, 0, 0, 0];
    while (stack.length) {
      const i = stack.pop();
      const [x, y] = [i % width, Math.floor(i / width)];
      count++;
      peak = Math.max(peak, codes[i]);
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          const j = v * width + u;
          if (codes[j] >= lowest && !seen[j]) {
            seen[j] = 1;
            stack.push(j);
          }
        }
      }
    }
    const x = Math.floor((left * size.width) / width);
    const y = Math.floor((top * size.height) / height);
    return {
      x,
      y,
      width: Math.ceil((right * size.width) / width) - x,
      height: Math.ceil((bottom * size.height) / height) - y,
      area: Math.max(1, Math.round((count * size.width * size.height) / (width * height))),
      peak: valueOf(peak),
    };
  }
}
