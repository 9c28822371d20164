"""What rides inside an exported model: settings, decisions, classes, versions, and a checksum over the whole file.

The text is JSON. A file is written with a row of zeros where the checksum will stand; the SHA-256 of that file is then
put in their place. Reading turns it round: so the checksum covers every byte of the file but itself, whatever the
format is. In ONNX and OpenVINO it stands in the text; in a .pt2, whose zip has a checksum of its own for each entry, in
the comment at the archive's end.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from invad.colours import ColourScale
from invad.errors import ModelFileError
from invad.records import Size

NAME = "invad-model"
FORMAT = 3
"""The version of the text; in 1 the scale was a pair, since classes had none of their own."""
KEY = "invad"
"""Under which name the text lies in a file's own metadata."""
MARK = re.compile(rb"invad-sha256:([0-9a-f]{64})")
EMPTY = f"invad-sha256:{'0' * 64}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything about an exported model that its graph does not say.

    Example:
        >>> text = Manifest(size=(64, 64), precision="fp32", scale=ColourScale(0.1, 0.9), model="0" * 64).to_json()
        >>> Manifest.from_json(text, "model.onnx").scale
        ColourScale(low=0.1, high=0.9, classes={})
    """

    size: Size
    """Height and width of the maps, which is the model's input size."""
    precision: str
    """fp32, fp16, bf16 or int8."""
    scale: ColourScale
    """Of pictures."""
    model: str
    """The checksum of the trained model (see `model_checksum`)."""
    classes: tuple[str, ...] = ()
    """What the model was trained on."""
    decision: dict[str, Any] | None = None
    """The run's calibration as it stands in its file; None: it has none."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The training's."""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    """Of what made the file."""

    def to_json(self) -> str:
        """Return the text, its checksum still empty."""
        return json.dumps({"format": NAME, "version": FORMAT, "checksum": EMPTY, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Manifest":
        """Return what `to_json` wrote.

        Raises:
            ModelFileError: the text is damaged, or of another version.
        """
        try:
            values = json.loads(text)
            found = values.pop("format"), values.pop("version")
            del values["checksum"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(f"{origin} was not made by `invad export` ({error})") from error
        if found not in ((NAME, 1), (NAME, FORMAT)):
            raise ModelFileError(
                f"{origin} has format {found[0]!r} {found[1]!r}; this version of invad reads {NAME!r} {FORMAT!r}. "
                f"Export it again from its run"
            )
        try:
            for name in ("size", "classes"):
                values[name] = tuple(values[name])
            scale = values.pop("scale")
            known = ColourScale(*scale) if found == (NAME, 1) else ColourScale.from_values(scale)
            return cls(scale=known, **values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{origin} is damaged ({error}); export it again from its run") from error


def seal(data: bytes, beside: bytes = b"") -> bytes:
    """Return a file's bytes with their checksum filled in; `beside` are those of a file that belongs to it.

    Example:
        >>> data = seal(b"weights " + EMPTY.encode())
        >>> check_seal(data, "model.onnx")
        >>> check_seal(data.replace(b"weights", b"weightz"), "model.onnx")
        Traceback (most recent call last):
        ...
        invad.errors.ModelFileError: model.onnx is damaged or was changed: its checksum does not match. Copy it again, or export it again from its run
    """  # noqa: E501
    return MARK.sub(f"invad-sha256:{_digest(data, beside)}".encode(), data, count=1)


def check_seal(data: bytes, origin: str, beside: bytes = b"") -> None:
    """Refuse a file whose checksum does not match.

    Raises:
        ModelFileError: it has none, or another.
    """
    found = MARK.search(data)
    if found is None:
        raise ModelFileError(f"{origin} was not made by `invad export`, or is cut short: it holds no checksum of ours")
    if found[1].decode() != _digest(data, beside):
        raise ModelFileError(
            f"{origin} is damaged or was changed: its checksum does not match. Copy it again, or export it again from "
            f"its run"
        )


def _digest(data: bytes, beside: bytes) -> str:
    """The SHA-256 of the file with its first checksum blanked."""
    digest = hashlib.sha256(MARK.sub(EMPTY.encode(), data, count=1))
    digest.update(beside)
    return digest.hexdigest()
