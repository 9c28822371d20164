// What /info says of the model, as the page asks for it: thresholds and normal scores of a class, and decisions.

// Whether an image may be said to show a class; any name will do where the model knows none.
export const takes = ({ class_names }, className) =>
  !className || !class_names.length || class_names.includes(className);

// The calibrated thresholds of a class, those of unknown ones where it has none of its own, or null.
export function calibrated(info, className) {
  const image = info.thresholds[className] ?? info.threshold;
  if (image === null) return null;
  return { image, pixel: info.pixel_thresholds[className] ?? info.pixel_threshold ?? image };
}

// The thresholds to look at an image with: the calibrated ones, or `view`, a score that somebody is trying out. Regions
// then move by as much, so that what lies between the two thresholds stays as it was calibrated.
export function thresholds(info, className, view) {
  const own = calibrated(info, className);
  if (view === null) return own;
  return { image: view, pixel: view + (own ? own.pixel - own.image : 0) };
}

// Where colours begin and end for images of a class.
export const scaleOf = (info, className) => info.scales[className] ?? info.scale;

export function decide(score, cuts) {
  if (cuts === null) return null;
  return score >= cuts.image ? "defective" : "good";
}

// The decision to show for an image: the service's own, unless another threshold is being tried out.
export function decision({ result, info, className }, view) {
  if (!result) return null;
  return view === null ? result.decision : decide(result.score, thresholds(info, className, view));
}

// The normal scores that `share_below` of a class goes by: {quantiles, count}, or null without a calibration.
export function reference(info, className) {
  const { calibration } = info;
  if (!calibration) return null;
  const { scores, class_scores, count, class_counts } = calibration;
  return className in class_scores
    ? { quantiles: class_scores[className], count: class_counts[className] }
    : { quantiles: scores, count };
}

// Both ends of the score axis: all that may be shown on it lies inside.
export function axis(info, scores) {
  const cuts = [info.threshold, ...Object.values(info.thresholds)].filter((cut) => cut !== null);
  const normal = info.calibration?.scores ?? info.scale;
  const shown = [...normal, ...cuts, ...scores];
  const [from, to] = [Math.min(...shown), Math.max(...shown)];
  // Room for defective images to the right, even before there is one.
  const least = Math.max(...normal, ...cuts) + 1.2 * (normal.at(-1) - normal[0]);
  const room = 0.04 * (Math.max(to, least) - from) || 0.01;
  return [Math.max(0, from - room), Math.max(to, least) + room];
}
