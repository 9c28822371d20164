// One threshold per class: it moves the line through the scores, the points on the curves, and every count.
//
// The page comes with all of this drawn at its first threshold, so nothing here is needed to read it or to print it.
// Scores are counted as Python counts them: a score is above the threshold where score >= threshold, the score being
// the float32 that the model gave. Float32Array reads the decimals in the page back to exactly that.
"use strict";
(() => {
  const classes = JSON.parse(document.getElementById("report-data").textContent);

  /** How many of the ascending scores are >= the threshold. */
  function countAbove(scores, threshold) {
    let low = 0;
    let high = scores.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (scores[middle] < threshold) low = middle + 1;
      else high = middle;
    }
    return scores.length - low;
  }

  /** The rates of the pixels at a threshold, on the straight line between the two rows around it. */
  function ratesAt(pixels, threshold) {
    const thresholds = pixels.threshold; // descending
    let low = 0;
    let high = thresholds.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (thresholds[middle] > threshold) low = middle + 1;
      else high = middle;
    }
    const before = Math.max(low - 1, 0);
    const span = thresholds[before] - thresholds[low];
    const share = span > 0 ? Math.min(Math.max((thresholds[before] - threshold) / span, 0), 1) : 1;
    const between = (values) => values[before] + share * (values[low] - values[before]);
    return {
      falsePositiveRate: between(pixels.falsePositiveRate),
      recall: between(pixels.recall),
      precision: between(pixels.precision),
      overlap: between(pixels.overlap),
    };
  }

  /** Images on both sides of a threshold. */
  function countImages(groups, threshold) {
    const above = groups.map((group) => countAbove(group.scores, threshold));
    const sum = (good, of) =>
      groups.reduce((total, group, index) => (group.good === good ? total + of(group, index) : total), 0);
    return {
      above,
      hits: sum(false, (_, index) => above[index]),
      misses: sum(false, (group, index) => group.scores.length - above[index]),
      false_alarms: sum(true, (_, index) => above[index]),
      passed: sum(true, (group, index) => group.scores.length - above[index]),
    };
  }

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  /** Put a dot of a plot in its place, or take it away where it is outside. */
  function place(section, name, x, y) {
    const dot = section.querySelector(`[data-at="${name}"]`);
    if (!dot) return;
    const inside = x >= 0 && x <= 1 && y >= 0 && y <= 1;
    dot.setAttribute("d", inside ? `M${(1000 * x).toFixed(1)} ${(1000 * (1 - y)).toFixed(1)}h0` : "");
  }

  function start(key, data) {
    const section = document.getElementById(key);
    const slider = section.querySelector("[data-slider]");
    const exact = section.querySelector("[data-exact]");
    const buttons = [...section.querySelectorAll("[data-cut]")];
    const groups = data.groups.map((group) => ({ ...group, scores: Float32Array.from(group.scores) }));

    function moveDots(counts, threshold) {
      const good = counts.passed + counts.false_alarms;
      const bad = counts.hits + counts.misses;
      const called = counts.hits + counts.false_alarms;
      place(section, "roc-images", counts.false_alarms / good, counts.hits / bad);
      place(section, "pr-images", counts.hits / bad, called ? counts.hits / called : 1);
      if (!data.pixels) return;
      const rates = ratesAt(data.pixels, threshold);
      place(section, "roc-pixels", rates.falsePositiveRate, rates.recall);
      place(section, "pr-pixels", rates.recall, rates.precision);
      place(section, "pro-regions", rates.falsePositiveRate / data.proLimit, rates.overlap);
      for (const share of section.querySelectorAll("[data-rate]")) {
        share.textContent = percent(rates[share.dataset.rate]);
      }
    }

    function show(threshold) {
      const counts = countImages(groups, threshold);
      section.dataset.threshold = String(threshold); // in full, for whoever wants to count again
      for (const cell of section.querySelectorAll("[data-n]")) cell.textContent = counts[cell.dataset.n];
      for (const cell of section.querySelectorAll("[data-above]")) {
        cell.textContent = counts.above[Number(cell.dataset.above)];
      }
      const share = Math.min(Math.max((threshold - data.first) / (data.last - data.first), 0), 1);
      for (const line of section.querySelectorAll("[data-limit]")) line.style.left = `${100 * share}%`;
      buttons.forEach((button, index) => {
        button.setAttribute("aria-pressed", String(data.cuts[index].value === threshold));
      });
      slider.setAttribute("aria-valuetext", `${Number(threshold.toPrecision(4))}`);
      moveDots(counts, threshold);
    }

    const write = (threshold) => {
      exact.value = Number(threshold.toPrecision(6)); // only to be read: what counts is the number in full
    };

    const first = data.cuts[0].value;
    let chosen = first;
    const choose = (threshold) => {
      chosen = threshold;
      show(threshold);
    };

    slider.addEventListener("input", () => {
      write(slider.valueAsNumber);
      choose(slider.valueAsNumber);
    });
    exact.addEventListener("input", () => {
      if (Number.isNaN(exact.valueAsNumber)) return; // being typed
      slider.value = exact.value;
      choose(exact.valueAsNumber);
    });
    buttons.forEach((button, index) => {
      button.addEventListener("click", () => {
        const { value } = data.cuts[index];
        slider.value = value;
        write(value);
        choose(value);
      });
    });
    window.addEventListener("beforeprint", () => show(first)); // on paper the text says where the page starts
    window.addEventListener("afterprint", () => show(chosen));
    slider.value = first; // a browser that reloads the page keeps where the slider was
    write(first);
    show(first);
  }

  for (const [key, data] of Object.entries(classes)) start(key, data);
})();
