"""InvAD: a frozen encoder, a fusion neck and a decoder that inverts the codes back into the encoder's features.

Reference: Zhang et al., Learning Feature Inversion for Multi-class Anomaly Detection under General-purpose COCO-AD
Benchmark, arXiv:2404.10760.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.model.decoder import Decoder
from invad.model.encoder import Encoder
from invad.model.neck import Neck


class InvAD(nn.Module):
    """Images -> the encoder's features and the decoder's predictions of them.

    The encoder stays frozen and in eval mode whatever mode the model is put in.

    Args:
        encoder: three levels of features from uint8 images.
        neck: features -> style codes.
        decoder: style codes -> predicted features.
    """

    def __init__(self, encoder: Encoder, neck: Neck, decoder: Decoder) -> None:
        super().__init__()
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


def inversion_loss(features: Sequence[Tensor], predictions: Sequence[Tensor], weight: float) -> Tensor:
    """Return weight times the sum over the levels of the mean squared error, a scalar; bf16 is widened to fp32.

    Reference: arXiv:2404.10760, equation 3.

    Example:
        >>> inversion_loss([torch.zeros(1, 2, 2, 2)], [torch.ones(1, 2, 2, 2)], weight=5.0).item()
        5.0
    """
    errors = [F.mse_loss(widen(p), widen(f)) for f, p in zip(features, predictions, strict=True)]
    return weight * torch.stack(errors).sum()


def widen(x: Tensor) -> Tensor:
    """Return bf16 and fp16 values as fp32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
