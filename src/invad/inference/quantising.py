"""int8 by post-training quantisation: weights and activations of encoder, neck and decoder; the rest stays float.

The ranges of the activations come from normal images. The resize, whose sums must be exact, and the map, where rounding
would show, are left as they are.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invad.inference.onnx_file import missing_extra

FLOAT = r"^(?!folded\.(encoder|neck|decoder)).*$"
"""Nodes that stay float, by name: all that are not of these modules."""
ONNX_NORM = ["ReduceMean", "Sub", "Pow", "Sqrt", "Div"]
OPENVINO_NORM = ["MVN"]
"""Kinds of nodes that stay float: those of layer norms, which take no time, and lose accuracy in int8."""
CALIBRATION_IMAGES = 200
"""More do not change the ranges."""


def quantise(model: Any, images: Sequence[NDArray[np.uint8]]) -> Any:
    """Return an `onnx.ModelProto` or an `openvino.Model` in int8.

    Args:
        model: made by `to_onnx` or `to_openvino`.
        images: normal ones of the model's input size, (H, W, 3) each.

    Raises:
        MissingExtraError: the extra `export` is not installed.
    """
    try:
        import nncf
    except ImportError as error:
        raise missing_extra(error) from error
    nncf.set_log_level(logging.ERROR)
    chosen = [image[None] for image in images[:CALIBRATION_IMAGES]]
    is_onnx = type(model).__module__.startswith("onnx")
    return nncf.quantize(
        model,
        nncf.Dataset([{"images": image} for image in chosen] if is_onnx else chosen),
        subset_size=len(chosen),
        ignored_scope=nncf.IgnoredScope(
            patterns=[FLOAT], types=ONNX_NORM if is_onnx else OPENVINO_NORM, validate=False
        ),
    )
