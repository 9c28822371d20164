// The calibration's normal scores, as 101 quantiles.

// The share of normal scores below a value, in [0, 1].
export function shareBelow(quantiles, value) {
  const last = quantiles.length - 1;
  if (value <= quantiles[0]) return 0;
  if (value > quantiles[last]) return 1;
  let i = 0;
  while (quantiles[i + 1] < value) i++;
  return (i + (value - quantiles[i]) / (quantiles[i + 1] - quantiles[i])) / last;
}

// The shares of normal scores in `bins` equal parts of [from, to].
export function histogram(quantiles, from, to, bins) {
  const below = Array.from({ length: bins + 1 }, (_, i) => shareBelow(quantiles, from + ((to - from) * i) / bins));
  return below.slice(1).map((share, i) => share - below[i]);
}

// About `count` round numbers in [from, to], and how many decimals they need.
export function ticks(from, to, count = 4) {
  const rough = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10);
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => ({
    at: (first + i) * step,
    text: ((first + i) * step).toFixed(digits),
  }));
}
