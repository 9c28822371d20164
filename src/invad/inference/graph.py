"""The whole way from a photo's pixels to its map and score as one module, which export turns into one graph.

The resize is written as two matrix products whose matrices are built from the image's height and width inside the
graph. Each runtime has an antialiased resize of its own, and no two agree; a matrix product is the same everywhere, and
takes any size. It rounds after each pass as Pillow does, whose BILINEAR the models are trained on.
"""

import torch
from torch import Tensor, nn

from invad.inference.folding import Folded
from invad.records import Size


class ImageGraph(nn.Module):
    """uint8 RGB images of any size -> blurred maps at the model's input size, and scores.

    Args:
        folded: the model, see `fold`.
        size: height and width of its input.

    Example:
        >>> from invad.inference.folding import fold
        >>> from invad.model import build_model
        >>> model = build_model("resnet18", weights="random", image_size=(64, 64), blocks=(1, 1, 1))
        >>> graph = ImageGraph(fold(model, (64, 64)), (64, 64))
        >>> maps, scores = graph(torch.zeros(2, 90, 70, 3, dtype=torch.uint8))
        >>> tuple(maps.shape), tuple(scores.shape)
        ((2, 64, 64), (2,))
    """

    def __init__(self, folded: Folded, size: Size) -> None:
        super().__init__()
        self.size = size
        self.resize = Resize(size)
        self.folded = folded

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (B, H, W) float32 and scores (B,) of uint8 RGB images (B, any height, any width, 3)."""
        return self.folded(self.resize(images))  # type: ignore[no-any-return]


class Resize(nn.Module):
    """uint8 images (B, h, w, 3) -> whole numbers in float32, (B, 3, H, W).

    A module, so that its nodes in an exported graph bear its name and can be found and left out where images need no
    resizing.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Return images of any height and width at the size; see `resize`."""
        return resize(images.permute(0, 3, 1, 2), self.size)


def resize(images: Tensor, size: Size) -> Tensor:
    """Return uint8 images (B, C, h, w) at this size as whole numbers in float32, (B, C, H, W).

    They are Pillow's BILINEAR (antialiased where it shrinks); where Pillow's fixed-point sums fall on the other side of
    a half, a value differs by one grey level. Up to some 2,900 pixels a side (at 256 x 256) all sums are of whole
    numbers that float32 holds exactly, so that every runtime gets the same pixels in whatever order it adds.

    Example:
        >>> resize(torch.full((1, 1, 7, 5), 9, dtype=torch.uint8), (2, 4)).unique().item()
        9.0
    """
    x = images.to(torch.float32)
    columns, rows = _weights(x.shape[3], size[1], x.device), _weights(x.shape[2], size[0], x.device)
    x = _mean(x @ columns.T, columns.sum(dim=1))  # (B, C, h, W); the horizontal pass is the first
    return _mean(rows @ x, rows.sum(dim=1, keepdim=True))


def _mean(sums: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums over their weights, to the nearest whole number, halves up."""
    return torch.floor((2.0 * sums + weights) / (2.0 * weights))


def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """The (target, source) matrix of Pillow's BILINEAR before its rows are normalised, in whole numbers.

    A target pixel i is centred at (2 i + 1) source / (2 target) and reaches as far as a target pixel is wide, at least
    one source pixel; times 2 target, all places are whole.
    """
    places = 2.0 * torch.arange(source, dtype=torch.float32, device=device) + 1.0  # (source,)
    count = (places[-1:] + 1.0) / 2.0  # the source's pixels, as a tensor: computed inside the graph
    centres = (2.0 * torch.arange(target, dtype=torch.float32, device=device) + 1.0)[:, None] * count  # (target, 1)
    reach = 2.0 * count.clamp_min(float(target))
    return torch.relu(reach - (places * target - centres).abs())
