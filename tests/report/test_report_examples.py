"""The choice of examples, and the charts of scores."""

import numpy as np
import pytest

from invad.errors import MetricError
from invad.report import pick_examples
from invad.report.examples import ALARMS, MISSES
from invad.report.side_by_side import pick_pairs
from invad.report.strips import DOTS, make_chart, nice_ticks


def picked(scores: list[float], classes: list[str], defects: list[str]) -> list[tuple[int, str]]:
    return [(choice.index, choice.kind) for choice in pick_examples(scores, classes, defects)]


def test_worst_misses_false_alarms_and_typical_images_of_every_type() -> None:
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.6, 0.8, 0.7, 0.65]
    defects = ["good"] * 5 + ["dent"] * 5
    assert picked(scores, ["nut"] * 10, defects) == [
        (4, "alarm"),
        (3, "alarm"),
        (2, "alarm"),
        (6, "miss"),
        (9, "miss"),
        (8, "typical"),
        (5, "clear"),
    ]


def test_classes_and_types_come_in_order_with_the_good_ones_first() -> None:
    found = pick_examples([0.1, 0.2, 0.3, 0.4], ["b", "a", "b", "a"], ["crack", "good", "good", "bend"])
    assert [choice.index for choice in found] == [1, 3, 2, 0]
    assert pick_examples([], [], []) == []


def test_no_image_twice_and_ties_go_to_the_first() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(1, 14))
        scores = rng.integers(0, 3, n) / 2
        classes, defects = rng.choice(["x", "y"], n).tolist(), rng.choice(["good", "dent"], n).tolist()
        found = pick_examples(scores, classes, defects)
        assert len({choice.index for choice in found}) == len(found)
        assert sum(choice.kind == "alarm" for choice in found) <= 2 * ALARMS
        assert sum(choice.kind == "miss" for choice in found) <= 2 * MISSES
    assert picked([0.5, 0.5, 0.5], ["a"] * 3, ["dent"] * 3)[0] == (0, "miss")


def test_uneven_or_infinite_input_is_refused() -> None:
    with pytest.raises(MetricError, match="every image"):
        pick_examples([0.1, 0.2], ["a", "a"], ["good"])
    with pytest.raises(MetricError, match="image 1"):
        pick_examples([0.1, float("nan")], ["a", "a"], ["good", "good"])


def test_pairs_are_those_on_which_two_runs_differ_most() -> None:
    first = np.array([0.9, 0.8, 0.1, 0.2, 0.0])
    second = np.array([0.1, 0.7, 0.6, 0.1, 0.0])
    found = pick_pairs([first, second], ["a"] * 5, ["dent"] * 3 + ["good"] * 2)
    assert [(pick.index, pick.favours) for pick in found] == [(0, 0), (1, 0), (2, 1), (3, 1)]


def test_charts_put_good_first_and_reach_beyond_every_score() -> None:
    chart = make_chart(["good", "scratch", "crack"], np.array([0.2, 0.6, 0.2]), beside=[0.9])
    assert [strip.label for strip in chart.strips] == ["good", "crack", "scratch"]
    assert chart.first <= 0.2 and chart.last > 0.9
    assert chart.place(chart.first) == 0 and chart.place(chart.last) == 100 == chart.place(99.0)


def test_many_images_make_a_bounded_row_that_keeps_its_ends() -> None:
    (strip,) = make_chart(["good"] * 5000, np.arange(5000) / 5000).strips
    assert strip.images == 5000 and strip.path.count("M") == DOTS
    assert strip.path.startswith("M0 ") and "M1000 " in strip.path


@pytest.mark.parametrize("lowest, highest", [(0.13, 0.92), (0.5, 0.5), (0.0, 0.0), (1e-7, 3e-7), (-1, 250), (0, 1)])
def test_ticks_enclose_the_scores(lowest: float, highest: float) -> None:
    ticks = nice_ticks(lowest, highest)
    slack = 1e-6 * max(abs(lowest), abs(highest))
    assert ticks[0] <= lowest + slack and ticks[-1] >= highest - slack and 2 <= len(ticks) <= 9
