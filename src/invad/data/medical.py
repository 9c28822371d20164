"""Uni-Medical: CLASS/train/good/, CLASS/test/{good,DEFECT}/, CLASS/ground_truth/DEFECT/, masks of the image's name.

The layout is that of MVTec AD but for the names of the masks.

Source: https://github.com/zhangzjn/ADer
"""

from pathlib import Path

from invad.data.mvtec import read_class_folders
from invad.records import Record

CLASSES = ("brain", "liver", "retinal")


def read_medical(root: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices; raises as `read_class_folders`."""
    return read_class_folders(root)
