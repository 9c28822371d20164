"""Backbones with settings of their own: which levels to take of them, and the image size that they need.

Any other backbone of timm is used as ResNets are: stages 1, 2 and 3 (strides 4, 8 and 16) at 256 x 256.
"""

from dataclasses import dataclass

from invad.records import Levels


@dataclass(frozen=True, kw_only=True, slots=True)
class Backbone:
    """How a backbone is used where nothing else is asked for."""

    levels: Levels = (1, 2, 3)
    """timm's out_indices, fine to coarse: stages, or blocks of a plain transformer."""
    image_size: int = 256
    """Pixels of the model's input, height and width."""
    plain: bool = False
    """Whether it is a plain transformer, whose blocks all have one size: the first level taken is resized to twice
    that, the last one to half. It takes images of other sizes than it was trained on."""


TWELVE, TWENTY_FOUR = (3, 6, 9), (7, 13, 19)
"""Blocks to take of a transformer of so many: the last ones know too little of where things are."""

BACKBONES: dict[str, Backbone] = {
    **{
        f"vit_{size}_patch14_{kind}": Backbone(levels=levels, image_size=392, plain=True)
        for size, levels in (("small", TWELVE), ("base", TWELVE), ("large", TWENTY_FOUR))
        for kind in ("dinov2", "reg4_dinov2")
    },
    **{
        f"vit_{size}_patch16_dinov3": Backbone(levels=levels, image_size=448, plain=True)
        for size, levels in (("small", TWELVE), ("base", TWELVE), ("large", TWENTY_FOUR))
    },
    **{f"convnext_{size}": Backbone(levels=(0, 1, 2)) for size in ("tiny", "small", "base", "large")},
}
"""Self-supervised transformers (DINOv2, arXiv:2304.07193; DINOv3, arXiv:2508.10104), and ConvNeXt (arXiv:2201.03545),
of which DINOv3 has weights, too: `convnext_base.dinov3_lvd1689m`."""


def backbone_of(name: str) -> Backbone:
    """Return how the backbone of this name is used; what follows timm's dot names weights, not a structure.

    Example:
        >>> backbone_of("vit_base_patch14_reg4_dinov2.lvd142m").image_size, backbone_of("resnet18").image_size
        (392, 256)
    """
    return BACKBONES.get(name.split(".")[0], Backbone())
