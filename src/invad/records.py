"""One image and what is known of it: the single shape in which every data set reaches the rest of the package.

Shape legend, used in comments and docstrings throughout:

    B  images in a batch        H, W  height and width of an image, in pixels
    C  channels of a feature    h, w  height and width of a feature map
    N  images of a whole set    S, Z  channels of a style code and of a latent (see `invad.model`)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]
Size = tuple[int, int]
"""Height and width in pixels, in this order."""
Levels = tuple[int, int, int]
"""One number for each level of features, fine to coarse."""

GOOD = "good"
"""The `defect` of a normal image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One image on disk.

    Example:
        >>> from pathlib import Path
        >>> record = Record(image=Path("bottle/test/crack/000.png"), class_name="bottle", split="test", defect="crack")
        >>> record.anomalous
        True
    """

    image: Path
    """The image file."""
    class_name: str
    """The product, texture or organ shown, for example `bottle`."""
    split: Split
    """What the image is for."""
    defect: str = GOOD
    """The type of defect; `good` for a normal image."""
    mask: Path | None = None
    """The file that marks the defect's pixels; None for a normal image, or where nobody drew one."""
    view: str | None = None
    """The camera, where one object is seen by several."""
    sample: str | None = None
    """The object, where it is seen by several cameras."""

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != GOOD
