// What /info says of the model, as the page asks for it: thresholds and normal scores of a class, and decisions.

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

export function decide(score, cuts) {
  if (cuts === null) return null;
  return score >= cuts.image ? "defective" : "good";
}

// The decision to show for an image: the service's own, unless another threshold is being tried out.
export function decision(entry, info, view) {
  if (!entry.result) return null;
  if (view === null) return entry.result.decision;
  return decide(entry.result.score, thresholds(info, entry.className, view));
}

// The normal scores that a class is compared with: {quantiles, count}, or null without a calibration.
export function reference(info, className) {
  const { calibration } = info;
  if (!calibration) return null;
  if (className in info.thresholds) {
    return { quantiles: calibration.class_scores[className], count: calibration.class_counts[className] };
  }
  return { quantiles: calibration.scores, count: calibration.count };
}

// Both ends of the score axis: all that may be shown on it lies inside.
export function axis(info, scores) {
  const cuts = [info.threshold, ...Object.values(info.thresholds)].filter((cut) => cut !== null);
  const shown = [...(info.calibration?.scores ?? []), ...info.scale, ...cuts, ...scores];
  const [from, to] = [Math.min(...shown), Math.max(...shown)];
  const room = 0.04 * (to - from);
  return [Math.max(0, from - room), to + room];
}
