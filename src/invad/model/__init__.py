"""The model: encoder, neck, decoder, and what puts them together."""

from invad.model.build import build_model
from invad.model.encoder import Encoder, build_encoder
from invad.model.invad import InvAD, inversion_loss
from invad.model.published import from_published

__all__ = ["Encoder", "InvAD", "build_encoder", "build_model", "from_published", "inversion_loss"]
