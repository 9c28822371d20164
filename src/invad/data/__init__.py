"""Data sets: layouts, images, caches, checks."""

from invad.data.catalog import PUBLISHED, Published
from invad.data.check import CheckReport, check_dataset, check_masks, check_opened, render
from invad.data.coco import build_splits
from invad.data.dataset import LAYOUTS, DataSet, open_dataset, open_datasets
from invad.data.fixtures import FIXTURES, make_fixture
from invad.data.hashing import content_hash, content_hashes
from invad.data.images import read_image, read_mask
from invad.data.loading import ImageSource, batches, load_ahead, read_ahead
from invad.data.resizing import resize_image, resize_mask
from invad.data.synthetic import make_synthetic

__all__ = [
    "FIXTURES",
    "LAYOUTS",
    "PUBLISHED",
    "CheckReport",
    "DataSet",
    "ImageSource",
    "Published",
    "batches",
    "build_splits",
    "check_dataset",
    "check_masks",
    "check_opened",
    "content_hash",
    "content_hashes",
    "load_ahead",
    "make_fixture",
    "make_synthetic",
    "open_dataset",
    "open_datasets",
    "read_ahead",
    "read_image",
    "read_mask",
    "render",
    "resize_image",
    "resize_mask",
]
