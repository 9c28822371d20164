"""Maps on disk give the numbers of maps in memory, and can be read again, by us or written by others."""

import json
import pickle

import numpy as np
import pytest
from metrics_reference import random_set

from invad.errors import MetricError
from invad.metrics import Evaluator

NAMES = np.array(["screw", "bottle"] * 6)


def fill(evaluator, batch=5, seed=7):
    maps, masks, labels = random_set(seed, images=12)
    defects = ["good" if not label else "crack" if i % 4 else "dent" for i, label in enumerate(labels)]
    samples = [f"object {i // 4}" for i in range(12)]
    for first in range(0, 12, batch):
        part = slice(first, first + batch)
        evaluator.update(
            maps[part], masks[part], NAMES[part], labels[part], defects=defects[part], samples=samples[part]
        )
    return evaluator


def test_disk_or_memory_is_all_one(tmp_path):
    expected = fill(Evaluator()).compute(bootstrap=5, threshold=0.5)
    for evaluator in (Evaluator(memory=0), Evaluator(memory=3000), Evaluator(spool=tmp_path / "maps")):
        assert fill(evaluator, batch=4).compute(bootstrap=5, threshold=0.5) == expected
    again = Evaluator.from_maps(tmp_path / "maps")
    assert again.compute(bootstrap=5, threshold=0.5) == expected
    assert again.compute("paper") == fill(Evaluator()).compute("paper")


def test_sizes_and_types_may_differ(tmp_path):
    maps, masks, _ = random_set(1)
    batch = [maps[0], maps[1, :4, :5], maps[3].astype(np.float64)], [masks[0], masks[1, :4, :5], masks[3]]
    several = Evaluator(spool=tmp_path / "maps"), Evaluator()
    for evaluator in several:
        evaluator.update(*batch, "a", [True, False, False])
    assert several[0].compute() == several[1].compute() == Evaluator.from_maps(tmp_path / "maps").compute()


def test_temporary_folders_last_as_long_as_they_are_needed():
    total, other = Evaluator(memory=0), fill(Evaluator(memory=0), seed=8)
    folder = other._spool.folder
    fill(total).merge(other)
    del other
    assert folder.is_dir()
    expected = fill(fill(Evaluator()), seed=8).compute()
    assert total.compute() == expected
    with pytest.raises(MetricError, match="cannot leave their process"):
        pickle.dumps(total)
    del total
    assert not folder.exists()


def test_evaluators_travel_between_processes(tmp_path):
    for evaluator in (Evaluator(), Evaluator(spool=tmp_path / "maps")):
        expected = fill(evaluator).compute()
        assert pickle.loads(pickle.dumps(evaluator)).compute() == expected


@pytest.mark.parametrize("kind", [np.uint8, np.bool_, np.int64])
def test_another_programs_maps(tmp_path, kind):
    maps, masks, labels = random_set(3)
    masks = masks.astype(kind)
    np.save(tmp_path / "first.maps.npy", maps)
    np.save(tmp_path / "first.masks.npy", masks)
    notes = {"format": "invad-maps", "version": 1, "classes": ["a"] * 8, "labels": [int(label) for label in labels]}
    (tmp_path / "first.json").write_text(json.dumps(notes))
    (tmp_path / "results-exact.json").write_text("{}")  # results written beside the maps are passed over
    direct = Evaluator()
    direct.update(maps, masks, "a", labels)
    assert Evaluator.from_maps(tmp_path).compute() == direct.compute()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "newer InvAD"),
        ({"format": "x"}, "not of format"),
        ({"labels": [1]}, "'labels' has 1 entries, but there are 5 maps"),
        ({"classes": None}, "'classes' must be a list"),
        ({"scores": "high"}, "'scores' must be a list"),
        ({"classes": [None] * 5}, "'classes' must hold names"),
        ({"defects": [["x"]] * 5}, "'defects' must hold names"),
    ],
)
def test_refused(tmp_path, change, message):
    fill(Evaluator(spool=tmp_path)).finish()
    first = tmp_path / "000000.json"
    first.write_text(json.dumps({**json.loads(first.read_text()), **change}))
    with pytest.raises(MetricError, match=message):
        Evaluator.from_maps(tmp_path)


def test_damaged_or_missing(tmp_path):
    with pytest.raises(MetricError, match="holds no maps"):
        Evaluator.from_maps(tmp_path)
    evaluator = fill(Evaluator(spool=tmp_path))
    evaluator.finish()
    with pytest.raises(MetricError, match="holds maps already"):
        Evaluator(spool=tmp_path)
    for torn in (b"torn", b""):
        (tmp_path / "000001.masks.npy").write_bytes(torn)
        with pytest.raises(MetricError, match="damaged"):
            Evaluator.from_maps(tmp_path)
    np.save(tmp_path / "000001.masks.npy", np.float32(1))
    with pytest.raises(MetricError, match=r"expected maps and masks \(N, H, W\)"):
        Evaluator.from_maps(tmp_path)
    (tmp_path / "000000.maps.npy").unlink()
    with pytest.raises(MetricError, match="has gone"):
        evaluator.compute()


def test_a_part_of_the_maps_is_not_taken_for_the_whole(tmp_path):
    evaluator, same = Evaluator(spool=tmp_path), Evaluator()
    for end in (evaluator.compute, evaluator.finish):
        fill(evaluator)  # at the second time, more maps make the folder a part again
        with pytest.raises(MetricError, match=r"holds only a part of its maps.*delete .*unfinished"):
            Evaluator.from_maps(tmp_path)
        with pytest.raises(MetricError, match=r"holds a part of the maps.*choose an empty folder, or delete"):
            Evaluator(spool=tmp_path)
        end()
        assert Evaluator.from_maps(tmp_path).compute() == fill(same).compute()
    fill(evaluator)
    (tmp_path / "unfinished").unlink()
    assert len(Evaluator.from_maps(tmp_path).compute().classes) == 2, "who deletes the file goes by the part"


def test_the_end_of_a_total_is_the_end_of_its_parts(tmp_path):
    total = Evaluator()
    for name in ("a", "b"):
        total.merge(pickle.loads(pickle.dumps(fill(Evaluator(spool=tmp_path / name)))))
    total.compute()
    assert Evaluator.from_maps(tmp_path / "a").compute() == Evaluator.from_maps(tmp_path / "b").compute()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetricError, match="cannot write maps"):
        fill(Evaluator(spool=tmp_path / "file" / "maps"))
