// The heatmap's colours: violet, red, orange, yellow, ever lighter, so that they also work in grey.
//
// "Perceptually even" is meant literally: the path through Oklab is walked at constant speed, so that equal steps of
// the map look like equal steps of colour and no edge appears that the map does not have.

const PATH = [
  [0.33, 0.17, 292],
  [0.47, 0.21, 335],
  [0.62, 0.2, 385],
  [0.78, 0.16, 425],
  [0.94, 0.16, 466],
];
const FINE = 1024;

// The colours for 256 levels of a map: RGBA, four bytes each. Level 0 is transparent; opacity rises early, so that
// weak findings are seen.
export function heatTable() {
  const table = new Uint8ClampedArray(256 * 4);
  evenColours(256).forEach((rgb, level) => {
    table.set(rgb, 4 * level);
    table[4 * level + 3] = Math.round(255 * (1 - (1 - level / 255) ** 4));
  });
  return table;
}

// `count` colours as [red, green, blue], evenly spaced along the path.
export function evenColours(count) {
  const points = Array.from({ length: FINE + 1 }, (_, i) => oklab(i / FINE));
  const walked = [0];
  for (let i = 1; i <= FINE; i++)
    walked.push(walked[i - 1] + Math.hypot(...points[i].map((v, k) => v - points[i - 1][k])));
  let i = 0;
  return Array.from({ length: count }, (_, step) => {
    const goal = (walked[FINE] * step) / (count - 1);
    while (i < FINE && walked[i + 1] < goal) i++;
    return toRgb(points[Math.min(i + 1, FINE)]);
  });
}

function oklab(at) {
  const place = at * (PATH.length - 1);
  const from = Math.min(Math.floor(place), PATH.length - 2);
  const [light, chroma, hue] = PATH[from].map((v, k) => v + (place - from) * (PATH[from + 1][k] - v));
  const angle = (hue * Math.PI) / 180;
  return [light, chroma * Math.cos(angle), chroma * Math.sin(angle)];
}

// Oklab to sRGB in bytes (Ottosson 2020; IEC 61966-2-1).
function toRgb([light, a, b]) {
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => {
    const c = Math.min(1, Math.max(0, v));
    return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
  });
}
