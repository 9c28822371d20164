// Numbers of images by what came of them; they outlive the images.

import { decision } from "./model.js";
import { number } from "./words.js";

const SAID = { defective: "defective", good: "good", undecided: "not decided", failed: "could not be inspected" };

export const tally = () => ({ defective: 0, good: 0, undecided: 0, failed: 0 });
export const total = (numbers) => Object.values(numbers).reduce((sum, one) => sum + one, 0);

// What came of an image that is finished, by the service's decision or by a threshold that is being tried out.
export const outcome = (entry, view = null) =>
  entry.state === "failed" ? "failed" : (decision(entry, view) ?? "undecided");

export function count(numbers, entries, view = null) {
  for (const entry of entries) numbers[outcome(entry, view)]++;
  return numbers;
}

export function inWords(numbers) {
  const kinds = Object.keys(SAID).filter((kind) => numbers[kind]);
  return kinds.map((kind) => `${number(numbers[kind])} ${SAID[kind]}`).join(", ");
}
