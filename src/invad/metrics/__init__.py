"""Fifteen metrics of anomaly detection, exact or as published: functions over arrays and an accumulator."""

from invad.metrics.breakdown import evaluate_defects, evaluate_samples
from invad.metrics.checks import UndefinedMetricError
from invad.metrics.classes import evaluate_class
from invad.metrics.curves import Curve, pr_image, pr_pixel, pro, roc_image, roc_pixel
from invad.metrics.evaluator import Evaluator, summarise
from invad.metrics.paired import Differences, is_real
from invad.metrics.ranking import (
    ap_image,
    ap_pixel,
    auroc_image,
    auroc_pixel,
    f1max_image,
    f1max_pixel,
    iou_max,
)
from invad.metrics.region import aupro
from invad.metrics.results import (
    KEYS,
    PROTOCOLS,
    SAMPLE_TITLES,
    TITLES,
    ClassResult,
    DefectResult,
    Interval,
    Protocol,
    Results,
    SampleResult,
)
from invad.metrics.sweep import Sweep, sweep_images, sweep_pixels
from invad.metrics.table import footnotes, from_json, to_csv, to_json, to_markdown, to_rich
from invad.metrics.thresholds import acc_range, f1_range, iou_range

__all__ = [
    "KEYS",
    "PROTOCOLS",
    "SAMPLE_TITLES",
    "TITLES",
    "ClassResult",
    "Curve",
    "DefectResult",
    "Differences",
    "Evaluator",
    "Interval",
    "Protocol",
    "Results",
    "SampleResult",
    "Sweep",
    "UndefinedMetricError",
    "acc_range",
    "ap_image",
    "ap_pixel",
    "aupro",
    "auroc_image",
    "auroc_pixel",
    "evaluate_class",
    "evaluate_defects",
    "evaluate_samples",
    "f1_range",
    "f1max_image",
    "f1max_pixel",
    "footnotes",
    "from_json",
    "iou_max",
    "iou_range",
    "is_real",
    "pr_image",
    "pr_pixel",
    "pro",
    "roc_image",
    "roc_pixel",
    "summarise",
    "sweep_images",
    "sweep_pixels",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_rich",
]
