"""An encoder whose channels all count alike: each has zero mean and unit variance over the normal images.

Channels of a backbone differ in scale up to twentyfold, and behind a ReLU all of them point to one side. A squared
error then learns the few large channels first, and a cosine hardly sees more than their mean: see decision 014.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from invad.model.encoder import Encoder
from invad.model.statistics import channel_statistics

LEAST_STD = 1e-3
"""The least deviation that a channel is divided by: a channel that the training images never excite has none."""


class StandardisedEncoder(nn.Module):
    """Another encoder's features, each channel less its mean and over its deviation. Before `fit`, they are unchanged.

    Args:
        encoder: whose features they are.

    Example:
        >>> from invad.model.encoder import build_encoder
        >>> encoder = StandardisedEncoder(build_encoder("resnet18", weights="random"))
        >>> images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        >>> encoder.fit([images])
        >>> all(level.mean().abs() < 1e-4 for level in encoder(images))
        True
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = encoder.channels
        self.strides = encoder.strides
        for i, count in enumerate(self.channels):
            self.register_buffer(f"mean_{i}", torch.zeros(count))
            self.register_buffer(f"std_{i}", torch.ones(count))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map uint8 RGB images (B, 3, H, W) to features (B, C_i, H / stride_i, W / stride_i), fine to coarse."""
        return [self._standardised(level, i) for i, level in enumerate(self.encoder(images))]

    def _standardised(self, level: Tensor, i: int) -> Tensor:
        mean, std = (self.get_buffer(f"{name}_{i}").view(1, -1, 1, 1) for name in ("mean", "std"))
        return (level - mean) / std

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Set the statistics from uint8 RGB images (B, 3, H, W), in one pass.

        Raises:
            ValueError: there is no image.
        """
        device = self.get_buffer("mean_0").device
        found = channel_statistics(self.encoder(images.to(device)) for images in batches)
        for i, (mean, std) in enumerate(found):
            self.get_buffer(f"mean_{i}").copy_(mean)
            self.get_buffer(f"std_{i}").copy_(std.clamp_min(LEAST_STD))
