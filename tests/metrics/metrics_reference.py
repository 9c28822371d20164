"""Slow metrics straight from their definitions, to hold the fast ones against; and small random sets."""

import numpy as np

from invad.metrics import KEYS


def random_set(seed, images=8, size=(10, 12), levels=40):
    """Maps with ties and negative scores, masks with regions of all kinds, labels; no draw but of integers."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((images, *size), np.uint8)
    for mask in masks[::2]:
        for _ in range(3):
            y, x = generator.integers(0, size[0]), generator.integers(0, size[1])
            mask[y : y + generator.integers(1, 4), x : x + generator.integers(1, 4)] = 1
    noise = generator.integers(-levels, levels, masks.shape)
    maps = ((noise + masks * generator.integers(0, levels, masks.shape)) / levels).astype(np.float32)
    return maps, masks, masks.any((1, 2))


def regions(mask):
    """8-connected components by flood fill, each a list of (y, x)."""
    left = set(zip(*map(list, np.nonzero(mask)), strict=True))
    found = []
    while left:
        edge, region = [left.pop()], []
        while edge:
            y, x = edge.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        found.append(region)
    return found


def curve(maps, masks, thresholds, strictly):
    """FPR and PRO where the score is >= (or, strictly, >) each threshold."""
    parts = [
        np.array([scores[place] for place in region], dtype=np.float64)
        for scores, mask in zip(maps, masks, strict=True)
        for region in regions(mask)
    ]
    normal = maps[masks == 0].astype(np.float64)
    reach = (lambda s, t: s > t) if strictly else (lambda s, t: s >= t)
    fpr = [reach(normal, t).mean() for t in thresholds]
    pro = [np.mean([reach(part, t).mean() for part in parts]) for t in thresholds]
    return np.array(fpr), np.array(pro)


def aupro_exact(maps, masks):
    fpr, pro = curve(maps, masks, np.unique(maps)[::-1].astype(np.float64), strictly=False)
    fpr, pro = np.append(0, fpr), np.append(0, pro)
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr, fpr[1:], pro, pro[1:], strict=False):
        if x1 > 0.3:
            y1 = y0 + (y1 - y0) * (0.3 - x0) / (x1 - x0)
            x1 = 0.3
        area += (x1 - x0) * (y0 + y1) / 2
        if x1 == 0.3:
            break
    return area / 0.3


def aupro_paper(maps, masks):
    low, high = float(maps.min()), float(maps.max())
    fpr, pro = curve(maps, masks, [low + i * (high - low) / 100 for i in range(100)], strictly=True)
    fpr, pro = fpr[fpr < 0.3], pro[fpr < 0.3]
    if len(fpr) < 2 or fpr.min() == fpr.max():
        return None
    x = (fpr - fpr.min()) / (fpr.max() - fpr.min())
    return sum((x[i] - x[i + 1]) * (pro[i] + pro[i + 1]) / 2 for i in range(len(x) - 1))


def counts(predicted, truth):
    return (predicted & truth).sum(), (predicted & ~truth).sum(), (~predicted & truth).sum()


def f1(tp, fp, fn, epsilon=0.0):
    if epsilon == 0:
        return 2 * tp / (2 * tp + fp + fn)
    precision, recall = tp / max(tp + fp, 1), tp / (tp + fn)
    return 2 * precision * recall / (precision + recall + epsilon)


def iou(tp, fp, fn):
    return tp / (tp + fp + fn)


def auroc(scores, truth):
    above = scores[truth][:, None] - scores[~truth][None, :].astype(np.float64)
    return ((above > 0) + 0.5 * (above == 0)).mean()


def ap(scores, truth):
    total, before = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        tp, fp, fn = counts(scores >= threshold, truth)
        total += (tp / (tp + fn) - before) * tp / (tp + fp)
        before = tp / (tp + fn)
    return total


def maximum(scores, truth, of):
    return max(of(*counts(scores >= threshold, truth)) for threshold in np.unique(scores))


def evaluate(maps, masks, labels, protocol):
    """All fifteen values of one class whose metrics are all defined."""
    paper = protocol == "paper"
    truth, scores = masks.astype(bool).ravel(), maps.ravel()
    images, anomalous = maps.reshape(len(maps), -1).max(1), masks.any((1, 2)) if paper else labels
    single = maps.astype(np.float32).ravel()
    normalised = ((single - single.min()) / (single.max() - single.min())).astype(np.float64)
    ranges = [counts(normalised > 0.2 + 0.1 * i, truth) for i in range(7)]
    evenly = [counts(normalised > 0.05 * i, truth) for i in range(21)]
    epsilon = 1e-8 if paper else 0.0
    values = {
        "auroc_image": auroc(images, anomalous),
        "ap_image": ap(images, anomalous),
        "f1max_image": maximum(images, anomalous, f1),
        "aupro": (aupro_paper if paper else aupro_exact)(maps, masks),
        "auroc_pixel": auroc(scores, truth),
        "ap_pixel": ap(scores, truth),
        "f1max_pixel": max(f1(*c, epsilon) for c in evenly) if paper else maximum(scores, truth, f1),
        "f1_range": np.mean([f1(*c, epsilon) for c in ranges]),
        "acc_range": np.mean([tp / (tp + fn) for tp, _, fn in ranges]),
        "iou_range": np.mean([iou(*c) for c in ranges]),
        "iou_max": max(iou(*c) for c in evenly) if paper else maximum(scores, truth, iou),
    }
    image = [values[key] for key in KEYS[:3]]
    pixel = [values[key] for key in KEYS[4:7]]
    values["mad_image"], values["mad_pixel"] = np.mean(image), np.mean(pixel)
    values["mad_range"] = np.mean([values[key] for key in KEYS[7:10]])
    values["mad"] = None if values["aupro"] is None else np.mean([*image, values["aupro"], *pixel])
    return values
