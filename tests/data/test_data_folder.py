"""People's own folders and manifests where they are not quite as they should be."""

import json
from pathlib import Path

import pytest

from invad.data import open_dataset
from invad.data.synthetic import make_synthetic
from invad.errors import DataError


def test_a_class_may_be_called_by_a_number(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "class": 0}, {"image": "b.png", "class": 1}, {"image": "c.png", "class": ""}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = open_dataset(f"folder:{tmp_path / 'list.jsonl'}")
    assert [record.class_name for record in data.records] == ["0", "1", "list"]


def test_an_image_beside_folders_of_classes_is_not_all_there_is(tmp_path: Path) -> None:
    made = make_synthetic(tmp_path / "set", train=2, good=1, defective=1, size=16)
    stray = tmp_path / "set" / "overview.png"
    stray.write_bytes(next((made[0] / "train/good").iterdir()).read_bytes())
    with pytest.raises(DataError, match=r"holds both images \(overview\.png, say\) and folders of classes \(capsule"):
        open_dataset(f"folder:{tmp_path / 'set'}")
