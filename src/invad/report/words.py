"""What the page says about its numbers, in plain words."""

from invad.metrics import Protocol

METRICS: dict[str, str] = {
    "auroc_image": "The chance that a random defective image scores higher than a random good one; 50 is guessing.",
    "ap_image": "Of the images flagged, the share that is really defective, averaged while ever more are found.",
    "f1max_image": "Missed defective images and false alarms in one number (F1), at the best threshold there is.",
    "aupro": "The share of every drawn defect that is covered, averaged while up to 30 % of the normal pixels are "
    "marked; small defects count as much as large ones.",
    "auroc_pixel": "The chance that a random defect pixel scores higher than a random normal one; 50 is guessing.",
    "ap_pixel": "Of the pixels marked, the share that is really defective, averaged while ever more defect is found.",
    "f1max_pixel": "Missed defect pixels and wrongly marked ones in one number (F1), at the best threshold there is.",
    "f1_range": "The pixels' F1 at seven fixed thresholds, 0.2 to 0.8 of the class's range of scores, averaged: what "
    "to expect without a tuned threshold.",
    "acc_range": "The share of defect pixels found, averaged over the same seven thresholds.",
    "iou_range": "The area both marked and drawn over the area of either, averaged over the same seven thresholds.",
    "iou_max": "The area both marked and drawn over the area of either, at the best threshold there is.",
    "mad_image": "The mean of the three metrics of images.",
    "mad_pixel": "The mean of AU-ROC, AP and F1-max of pixels.",
    "mad_range": "The mean of the three metrics over seven thresholds.",
    "mad": "The mean of seven: three of images, one of regions, three of pixels.",
}
"""Key -> one sentence."""

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Images", ("auroc_image", "ap_image", "f1max_image")),
    ("Regions", ("aupro",)),
    ("Pixels", ("auroc_pixel", "ap_pixel", "f1max_pixel")),
    ("Seven thresholds", ("f1_range", "acc_range", "iou_range")),
    ("Overlap", ("iou_max",)),
    ("Means", ("mad_image", "mad_pixel", "mad_range", "mad")),
)
"""The table's columns under their headings, in the published table's order."""

HEADLINES: tuple[tuple[str, str, str], ...] = (
    ("auroc_image", "AU-ROC of images", "tells defective images from good ones"),
    ("auroc_pixel", "AU-ROC of pixels", "tells defect pixels from normal ones"),
    ("aupro", "AU-PRO of regions", "covers each defect, large or small"),
    ("iou_max", "IoU-max of pixels", "draws the defect's outline"),
    ("mad", "mAD", "the seven main metrics together"),
)
"""Key, name, and what a high value means."""

PROTOCOLS: dict[Protocol, tuple[str, str]] = {
    "exact": ("Exact protocol", "Every distinct score is a threshold; no approximation. These are the numbers to use."),
    "paper": (
        "Paper protocol",
        "Counted as the published toolbox counts, with its few evenly spaced thresholds; only for comparing with "
        "published tables.",
    ),
}
"""Protocol -> heading and explanation."""
