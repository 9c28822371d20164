"""What an evaluation gives back, and the names of its numbers."""

from dataclasses import dataclass
from typing import Literal, get_args

Protocol = Literal["exact", "paper"]
"""`exact`: every distinct score is a threshold. `paper`: the published toolbox's habits, for published numbers."""

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

TITLES: dict[str, str] = {
    "auroc_image": "mAU-ROC_I",
    "ap_image": "mAP_I",
    "f1max_image": "mF1-max_I",
    "aupro": "mAU-PRO_R",
    "auroc_pixel": "mAU-ROC_P",
    "ap_pixel": "mAP_P",
    "f1max_pixel": "mF1-max_P",
    "f1_range": "mF1_.2/.8",
    "acc_range": "mAcc_.2/.8",
    "iou_range": "mIoU_.2/.8",
    "iou_max": "mIoU-max_P",
    "mad_image": "mAD_I",
    "mad_pixel": "mAD_P",
    "mad_range": "mAD_.2/.8",
    "mad": "mAD",
}
"""Key -> published name, in the published table's order."""

KEYS: tuple[str, ...] = tuple(TITLES)
"""The fifteen keys in the published table's order."""

IMAGE_KEYS = ("auroc_image", "ap_image", "f1max_image")
PIXEL_KEYS = ("auroc_pixel", "ap_pixel", "f1max_pixel")
RANGE_KEYS = ("f1_range", "acc_range", "iou_range")

MEANS: dict[str, tuple[str, ...]] = {
    "mad_image": IMAGE_KEYS,
    "mad_pixel": PIXEL_KEYS,
    "mad_range": RANGE_KEYS,
    "mad": (*IMAGE_KEYS, "aupro", *PIXEL_KEYS),
}
"""Key of a mean -> the keys that it is the mean of."""

SAMPLE_TITLES = {"auroc_sample": "S-AU-ROC", "ap_sample": "S-AP", "f1max_sample": "S-F1max"}
"""Key -> published name of the metrics over samples."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleResult:
    """The metrics of samples: one object seen in several views, as anomalous as its most anomalous view."""

    samples: int
    anomalous: int
    values: dict[str, float | None]
    """The three keys of `SAMPLE_TITLES`, each in [0, 1] or None."""
    reason: str | None = None
    """Why the values are None."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DefectResult:
    """How well the images of one type of defect are told from the good ones."""

    defect: str
    images: int
    auroc_image: float | None
    """AUROC of these images against all good ones, in [0, 1]; None without good images, or if all scores are one."""
    recall: float | None = None
    """Share of these images with a score at or above the threshold, in [0, 1]; None without a threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassResult:
    """The fifteen numbers of one class, each in [0, 1] or None with the reason."""

    name: str
    images: int
    anomalous: int
    """Anomalous images; by the protocol `paper`, those whose mask marks a pixel."""
    values: dict[str, float | None]
    reasons: dict[str, str]
    """Key -> why its value is None."""
    empty_masks: int = 0
    """Anomalous images whose mask marks no pixel (lost by resizing, or never drawn)."""
    intervals: dict[str, Interval] | None = None
    """Key -> 95 % interval; None without bootstrap. A key that no resample defines is missing."""
    skipped_resamples: dict[str, int] | None = None
    """Key -> resamples in which it is undefined, left out of its interval; only the keys with any."""
    samples: SampleResult | None = None
    """The metrics of samples; None where the images name none."""
    defects: tuple[DefectResult, ...] = ()
    """The types of defect in alphabetical order; none where the images name none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The numbers of a data set: its classes in alphabetical order and their unweighted mean."""

    protocol: Protocol
    classes: tuple[ClassResult, ...]
    mean: dict[str, float | None]
    skipped: dict[str, int]
    """Key -> classes that the mean leaves out because the metric is undefined there."""
    warnings: tuple[str, ...] = ()
    intervals: dict[str, Interval] | None = None
    """Key -> 95 % interval of the mean; None without bootstrap."""
    resamples: int = 0
    """Bootstrap resamples that the intervals come from."""
    seed: int | None = None
    """Seed of the bootstrap; None without one."""
    sample_mean: dict[str, float | None] | None = None
    """The metrics of samples, the mean over the classes that define them; None where no class has any."""
    threshold: float | None = None
    """The image score that the recall of each type of defect goes by; None: no recall, or a score for each class."""
