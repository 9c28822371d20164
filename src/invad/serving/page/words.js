// Numbers and sentences as people read them.

export const number = (value) => value.toLocaleString("en");
export const score = (value) => value.toFixed(3);

// A share in percent that never rounds to "all" or "none" what is neither.
export function percent(share, digits = 1) {
  if (share <= 0) return "0\u00a0%"; // a space that no line breaks at
  if (share >= 1) return "100\u00a0%";
  const step = 10 ** -digits;
  const value = Math.min(100 - step, Math.max(step, 100 * share));
  return `${+value.toFixed(digits)}\u00a0%`;
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

export function bytes(count) {
  return count >= 2 ** 20 ? `${+(count / 2 ** 20).toFixed(1)} MB` : `${Math.max(1, Math.round(count / 2 ** 10))} kB`;
}

export function pixels(count) {
  return count >= 1e6 ? `${+(count / 1e6).toFixed(1)} megapixels` : plural(count, "pixel");
}

// How a score compares with those of the calibration.
export function comparison(shareBelow, count) {
  if (shareBelow === null || shareBelow === undefined) return "";
  const images = count ? `the ${number(count)} normal images` : "the normal images";
  if (shareBelow >= 1)
    return `Higher than all ${count ? number(count) + " normal images" : "normal images"} it was calibrated on.`;
  if (shareBelow <= 0) return `Not higher than any of ${images} it was calibrated on.`;
  return `Higher than ${percent(shareBelow)} of ${images} it was calibrated on.`;
}

export const partGone = (name) => `The service has another model now, which does not know the part ${name}.`;

export const DECISIONS = { good: "Good", defective: "Defective", null: "Not decided" };
export const MARKS = { good: "really good", defective: "really defective" };

export function time(date) {
  return new Date(date).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
