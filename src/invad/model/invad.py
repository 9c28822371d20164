"""InvAD: a frozen encoder, a fusion neck and a decoder that inverts the codes back into the encoder's features.

Reference: Zhang et al., Learning Feature Inversion for Multi-class Anomaly Detection under General-purpose COCO-AD
Benchmark, arXiv:2404.10760.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.model.decoder import Decoder
from invad.model.encoder import Encoder
from invad.model.neck import Neck
from invad.scoring import SIGMA

Loss = Literal["squared", "cosine", "hard-cosine"]
"""How predictions are compared with features in training."""
HARD_SHARE, EASY_WEIGHT = 0.1, 0.1
"""The share of a level's positions that count in full in the loss `hard-cosine`, and how much the others count."""


class InvAD(nn.Module):
    """Images -> the encoder's features and the decoder's predictions of them.

    The encoder stays frozen and in eval mode whatever mode the model is put in.

    Args:
        encoder: three levels of features from uint8 images.
        neck: features -> style codes.
        decoder: style codes -> predicted features.
        sigma: the blur of the maps, in pixels.
    """

    def __init__(self, encoder: Encoder, neck: Neck, decoder: Decoder, sigma: float = SIGMA) -> None:
        super().__init__()
        self.sigma = sigma
        self.encoder = encoder
        self.neck = neck
        self.decoder = decoder
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "InvAD":
        """Put neck and decoder in training mode; the encoder never leaves eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the features, fine to coarse, (B, C_i, h_i, w_i), of uint8 RGB images (B, 3, H, W); no gradient."""
        with torch.no_grad():
            return self.encoder(images)

    def predict(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the decoder's rendering of the features, same order and shapes."""
        return self.decoder(self.neck(features))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return features and predictions, each fine to coarse, (B, C_i, h_i, w_i), of uint8 images (B, 3, H, W)."""
        features = self.encode(images)
        return features, self.predict(features)

    def trained_modules(self) -> dict[str, nn.Module]:
        """The parts that training changes, by name."""
        return {"neck": self.neck, "decoder": self.decoder}

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that training changes."""
        for module in self.trained_modules().values():
            yield from module.parameters()


def inversion_loss(
    features: Sequence[Tensor], predictions: Sequence[Tensor], weight: float, kind: Loss = "squared"
) -> Tensor:
    """Return the loss of training, a scalar: weight times the sum over the levels; bf16 is widened to fp32.

    Args:
        features: fine to coarse, (B, C_i, h_i, w_i).
        predictions: of them.
        weight: the factor.
        kind: `squared`, the mean squared error, as published; `cosine`, the mean over all positions of one minus the
            cosine of the two vectors there, which is what the anomaly map shows; or `hard-cosine`, the same, where the
            tenth of each image's positions that are predicted worst (and all that equal the last of them) count in
            full and the others a tenth.

    Reference: arXiv:2404.10760, equation 3; decision 014 for the others; the weights of easy positions are those of
    Dinomaly (arXiv:2405.14325), which takes the tenth of all images together.

    Example:
        >>> inversion_loss([torch.zeros(1, 2, 2, 2)], [torch.ones(1, 2, 2, 2)], weight=5.0).item()
        5.0
        >>> inversion_loss([torch.ones(1, 2, 2, 2)], [-torch.ones(1, 2, 2, 2)], weight=1.0, kind="cosine").item()
        2.0
    """
    errors = [_DISTANCES[kind](widen(p), widen(f)) for f, p in zip(features, predictions, strict=True)]
    return weight * torch.stack(errors).sum()


def _cosine_distance(prediction: Tensor, feature: Tensor) -> Tensor:
    """The mean over all positions of one minus the cosine, a scalar."""
    return (1.0 - F.cosine_similarity(prediction, feature, dim=1)).mean()


def _hard_cosine_distance(prediction: Tensor, feature: Tensor) -> Tensor:
    """The same with the weights of easy positions; by image, so that a batch may be computed in parts."""
    distance = (1.0 - F.cosine_similarity(prediction, feature, dim=1)).flatten(1)  # (B, h w)
    hard = math.ceil(HARD_SHARE * distance.shape[1])
    bound = distance.detach().topk(hard, dim=1, sorted=False).values.amin(dim=1, keepdim=True)  # (B, 1)
    return torch.where(distance.detach() >= bound, distance, EASY_WEIGHT * distance).mean()


_DISTANCES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": F.mse_loss,
    "cosine": _cosine_distance,
    "hard-cosine": _hard_cosine_distance,
}


def widen(x: Tensor) -> Tensor:
    """Return bf16 and fp16 values as fp32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
