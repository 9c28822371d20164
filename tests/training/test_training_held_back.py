"""Images held back: which, and that no other images choose the weights."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from small_runs import small

from invad import Run, TrainSettings
from invad.data import loading, read_image
from invad.errors import SettingsError
from invad.presets import EPOCHS, OWN
from invad.processes import Processes
from invad.records import Record
from invad.training.held_back import hold_back
from invad.training.setup import Images, open_data, open_images


def records(**counts: int) -> list[Record]:
    return [
        Record(image=Path(f"{name}/{i}.png"), class_name=name, split="train")
        for name, count in counts.items()
        for i in range(count)
    ]


def test_a_share_of_each_class_rounded_down() -> None:
    every = records(nut=25, bolt=9, pin=10, cap=100)
    kept, held = hold_back(every, 0.1, seed=42)
    assert Counter(record.class_name for record in held) == {"nut": 2, "pin": 1, "cap": 10}
    assert sorted((*kept, *held), key=every.index) == every
    assert list(kept) == sorted(kept, key=every.index), "the order stays"


def test_the_seed_decides() -> None:
    every = records(nut=100, bolt=50)
    assert hold_back(every, 0.2, seed=1) == hold_back(every, 0.2, seed=1)
    assert hold_back(every, 0.2, seed=1) != hold_back(every, 0.2, seed=2)
    assert hold_back(every, 0.0, seed=1) == (tuple(every), ())
    assert hold_back(every, 0.2, seed=1)[1] != hold_back(every[::-1], 0.2, seed=1)[1]


def test_one_class_does_not_decide_for_another() -> None:
    alone = hold_back(records(bolt=50), 0.2, seed=1)[1]
    assert [r for r in hold_back(records(bolt=50, nut=100), 0.2, seed=1)[1] if r.class_name == "bolt"] == list(alone)


@pytest.mark.parametrize("layout", EPOCHS)
def test_published_layouts_hold_nothing_back(layout: str) -> None:
    resolved = TrainSettings(data=(f"{layout}:x",)).resolved((layout,), fastest="bf16")
    own = layout in OWN
    assert (resolved.held_back, resolved.precision) == ((0.1, "bf16") if own else (0.0, "fp32"))


def test_a_run_names_its_images(untouched: Run) -> None:
    held = untouched.held_back()
    assert Counter(record.class_name for record in held) == Counter({r.class_name for r in held})
    rows = [json.loads(line) for line in untouched.records_file.read_text().splitlines()]
    assert len(rows) == 22 and len(held) == 2
    assert not {str(record.image) for record in held} & {row["image"] for row in rows}
    assert all(len(row["sha256"]) == 64 for row in rows)
    assert any("held back 2 of 24" in notice for notice in untouched.notices())
    assert len([event for event in untouched.events() if event["event"] == "held_back"]) == 3


def test_choosing_by_the_test_images_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match=r"choose_by = test is refused: .* too good.*eval_every"):
        TrainSettings(data=("folder:x",), choose_by="test")


def test_images_learnt_and_held_back_share_the_cache(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = 12.5 * 32 * 32 * 3 / 1024**3  # of 24 images, two of which are held back
    settings = small(small_set, cache_memory=room).resolved(("folder",), fastest="fp32")
    images = open_images(open_data(settings), settings, Processes(device=torch.device("cpu")), quiet=True)
    sources = [source for source in (images.learnt, images.held_back) if source is not None]
    assert [len(source) for source in sources] == [22, 2]
    for source in sources:
        source.images(range(len(source)))
    decoded: list[Path] = []
    monkeypatch.setattr(loading, "read_image", lambda path: decoded.append(path) or read_image(path))
    for source in sources:
        source.images(range(len(source)))
    assert len(decoded) == 24 - 12, "together they keep what there is room for"
    shared = open_images(open_data(settings), settings, Processes(device=torch.device("cpu"), on_host=2), quiet=True)
    assert (images.learnt.kept, shared.learnt.kept) == (11, 5), "and the processes of a host, too"


def test_copies_of_images_trained_on_are_not_held_back(small_set: Path, tmp_path: Path) -> None:
    data = shutil.copytree(small_set, tmp_path / "set")
    settings = small(data, patience=1).resolved(("folder",), fastest="fp32")

    def opened() -> Images:
        return open_images(open_data(settings), settings, Processes(device=torch.device("cpu")), quiet=True)

    before = opened()
    assert before.held_back is not None
    first, second = (record.image for record in before.held_back.records)
    shutil.copy(before.learnt.records[0].image, first)
    after = opened()
    assert after.held_back is not None and [record.image for record in after.held_back.records] == [second]
    assert after.held_back_hashes == before.held_back_hashes[1:] and after.learnt_hashes == before.learnt_hashes
    assert "1 of those are copies of images trained on, and left out" in after.notices
    shutil.copy(first, second)
    with pytest.raises(SettingsError, match="not all alike"):
        opened()
