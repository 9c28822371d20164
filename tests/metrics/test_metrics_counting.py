"""The fast count of normal pixels against its definition in NumPy, wherever scores and cuts lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metrics_reference import random_set

from invad.errors import MetricError
from invad.metrics import counting, evaluate_class
from invad.metrics.counting import count_in_threads, even_chunk, make_table
from invad.metrics.cuts import fixed_cuts
from invad.metrics.keys import keys_from, to_keys, to_scores
from invad.metrics.pixels import Kept

KINDS = {np.float32: 32, np.float64: 64}


def kept(scores, mask=None):
    return Kept(scores=np.asarray(scores), mask=mask)


def count_by_definition(table, images):
    """As `count_in_threads`, in a few lines of NumPy."""
    slots = np.zeros(table.slots, np.int64)
    for image in images:
        scores, mask = image.load()
        keys = to_keys((scores if mask is None else scores[~mask]).astype(table.kind))
        cuts = table.cuts + table.ends[0]
        place = np.searchsorted(cuts, keys)
        at = cuts[np.minimum(place, len(cuts) - 1)] == keys
        slots += np.bincount(2 * place + at, minlength=table.slots)
    return slots


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(sorted(KINDS, key=str)))
def test_equals_the_definition(data, kind):
    numbers = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False, width=KINDS[kind]),
        st.sampled_from([-1.0, -0.0, 0.0, 1.0, 2.0]),
    )
    cuts = np.unique(to_keys(data.draw(arrays(kind, st.integers(1, 40), elements=numbers))))
    scores = data.draw(arrays(kind, (3, 20), elements=numbers))
    mask = data.draw(arrays(np.bool_, (20,)))
    images = [kept(scores[0]), kept(scores[1], mask), kept(scores[2])]
    table = make_table(cuts)
    expected = count_by_definition(table, images)
    for threads in (1, 2, 5):
        assert count_in_threads(table, images, int(expected.sum()), threads).tolist() == expected.tolist()
    assert expected.sum() == 60 - mask.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [1, 9])
def test_crowded_cuts_and_long_images(kind, power):
    generator = np.random.default_rng(0)
    scores = (generator.random(counting.PIECE + 1000) ** power).astype(kind)
    crowd = np.linspace(0.5, 0.5 + 1e-4, 5000).astype(kind)  # far closer together than the other cuts
    table = make_table(np.unique(to_keys(np.concatenate((crowd, scores[::50], [kind(-1e30)])))))
    assert kind == np.float32 or table.crowded.any()
    images = [kept(scores), kept(np.repeat(crowd, 3)), kept(scores[:10].astype(np.float32))]
    expected = count_by_definition(table, images)
    for threads in (1, 2):
        assert (count_in_threads(table, images, int(expected.sum()), threads) == expected).all()


def test_slots_do_not_run_over(monkeypatch):
    images = [kept(np.full(100, value, np.float32)) for value in (0.0, 1.0, 1.0, 1.0, 2.0)]
    table = make_table(to_keys(np.array([1.0], np.float32)))
    assert count_in_threads(table, images, 500, 1).dtype == np.uint32
    monkeypatch.setattr(counting, "MOST_PLACED", 499)
    for threads in (1, 2):
        found = count_in_threads(table, images, 500, threads)
        assert found.dtype == np.int64 and found.tolist() == [100, 300, 100]


def test_chunks_are_even():
    size = counting.CHUNK
    assert even_chunk(3 * size, 1) == size
    assert even_chunk(3 * size, 2) == 3 * size // 4  # two each, and not two and one
    assert even_chunk(10, 2) == 5 and even_chunk(0, 2) == 1


def test_keys_keep_the_order():
    scores = np.array([-np.inf, -1e308, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1e308, np.inf])
    keys = to_keys(scores)
    assert (np.diff(keys.astype(object)) > 0).all()
    assert (to_scores(keys) == scores).all()
    assert to_keys(np.array([-0.0])) == to_keys(np.array([0.0]))


def test_cuts_are_narrowed_upwards():
    cuts = np.array([0.1, 0.5, 1e300])
    scores = to_scores(keys_from(cuts, np.float32))
    assert scores.dtype == np.float32
    assert (scores.astype(np.float64) >= cuts).all()
    assert (np.nextafter(scores[:2], np.float32(-np.inf)).astype(np.float64) < cuts[:2]).all()


def test_fixed_cuts_where_floats_end():
    assert len(fixed_cuts(0.0, 1.0)) > 100
    assert fixed_cuts(2.0, 2.0).tolist() == [2.0, np.nextafter(2.0, 3)]
    assert np.isfinite(fixed_cuts(-1e308, 1e308)).all()


@pytest.mark.parametrize("protocol", ["exact", "paper"])
def test_threads_change_nothing(protocol):
    maps, masks, labels = random_set(3, images=9)
    one = evaluate_class(maps, masks, labels, protocol=protocol, threads=1)
    assert one == evaluate_class(maps, masks, labels, protocol=protocol, threads=4)
    with pytest.raises(MetricError, match="threads must be 1 or more"):
        evaluate_class(maps, masks, labels, threads=0)


def test_inputs_stay_as_they_are():
    maps, masks, labels = random_set(3)
    copies = maps.copy(), masks.copy()
    evaluate_class(maps, masks, labels)
    assert (maps == copies[0]).all() and (masks == copies[1]).all()
    turned = maps[:, ::-1, ::2], masks[:, ::-1, ::2]  # not in one row of memory
    assert evaluate_class(*turned, labels & turned[1].any((1, 2))).values["auroc_pixel"] == pytest.approx(
        evaluate_class(*(array.copy() for array in turned), labels & turned[1].any((1, 2))).values["auroc_pixel"], abs=0
    )
