"""The choice of examples, and the charts of scores."""

import numpy as np
import pytest

from invad.errors import MetricError
from invad.report import pick_examples
from invad.report.strips import DOTS, charts, nice_ticks


def test_best_middle_worst_and_the_likeliest_false_alarm_of_every_class() -> None:
    classes = ["b", "b", "b", "b", "a", "a", "a"]
    labels = [True, True, True, False, False, False, True]
    scores = [0.3, 0.9, 0.5, 0.4, 0.1, 0.2, 0.15]
    assert pick_examples(scores, labels, classes) == [
        (6, "best"),
        (5, "worst"),
        (1, "best"),
        (2, "middle"),
        (0, "worst"),
        (3, "worst"),
    ]


def test_a_class_without_defects_shows_its_good_images() -> None:
    assert pick_examples([0.3, 0.1, 0.2], [False] * 3, ["a"] * 3) == [(1, "best"), (2, "middle"), (0, "worst")]
    assert pick_examples([0.3], [False], ["a"]) == [(0, "best")]
    assert pick_examples([0.3, 0.4], [True, True], ["a"] * 2) == [(1, "best"), (0, "worst")]
    assert pick_examples([], [], []) == []


def test_no_image_twice_and_ties_go_to_the_first() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 12))
        scores, labels = rng.integers(0, 3, n) / 2, rng.random(n) < 0.5
        classes = rng.choice(["x", "y"], n).tolist()
        picked = [index for index, _ in pick_examples(scores, labels, classes)]
        assert len(set(picked)) == len(picked)
    assert pick_examples([0.5, 0.5], [False, True], ["a", "a"]) == [(1, "best"), (0, "worst")]
    assert pick_examples([0.5, 0.5, 0.5], [True] * 3, ["a"] * 3)[0] == (0, "best")


def test_uneven_or_infinite_input_is_refused() -> None:
    with pytest.raises(MetricError, match="every image"):
        pick_examples([0.1, 0.2], [True], ["a", "a"])
    with pytest.raises(MetricError, match="image 1"):
        pick_examples([0.1, float("nan")], [True, False], ["a", "a"])


def test_charts_put_good_first_and_count_what_stands_clear() -> None:
    scores = [("b", "good", 0.2), ("b", "scratch", 0.6), ("b", "crack", 0.2), ("a", "dent", 0.4)]
    a, b = charts(scores)
    assert (a.class_name, a.limit, a.above, a.defective) == ("a", None, 0, 1)
    assert [strip.label for strip in b.strips] == ["good", "crack", "scratch"]
    assert (b.above, b.defective) == (1, 2) and b.limit is not None and b.limit[1] == 0.2


def test_many_images_make_a_bounded_row_that_keeps_its_ends() -> None:
    (chart,) = charts([("a", "good", i / 5000) for i in range(5000)])
    (strip,) = chart.strips
    assert strip.images == 5000 and strip.path.count("M") == DOTS
    assert strip.path.startswith("M0 ") and "M1000 " in strip.path


@pytest.mark.parametrize("lowest, highest", [(0.13, 0.92), (0.5, 0.5), (0.0, 0.0), (1e-7, 3e-7), (-1, 250), (0, 1)])
def test_ticks_enclose_the_scores(lowest: float, highest: float) -> None:
    ticks = nice_ticks(lowest, highest)
    slack = 1e-6 * max(abs(lowest), abs(highest))
    assert ticks[0] <= lowest + slack and ticks[-1] >= highest - slack and 2 <= len(ticks) <= 9
