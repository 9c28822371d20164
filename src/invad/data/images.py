"""Reading images as a person would see them."""

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from invad.errors import ImageError
from invad.records import Size

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""What counts as an image in a folder, in lower case."""
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""What is read, whatever a file is called. Pillow knows more, among them some that start other programs."""
MAX_PIXELS = 178_956_970
"""The largest image that is decoded, Pillow's own bound: half a gigabyte in RGB, 1.3 GB while it is read (Pillow's four
bytes a pixel and our three), 1.4 GB where it is turned."""
STRIP = 1 << 18
"""Pixels that are converted at a time: steps in between take many bytes a pixel."""
DENSE_PIXELS = 1 << 24
"""From so many pixels on (16 megapixels), a file must not be compressed more than a photograph can be."""
PIXELS_PER_BYTE = 300
"""The most pixels that a byte of such a file may stand for. A grey progressive JPEG reaches 170, photographs 10."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHECKSUM = 4
"""Bytes behind each part of a PNG file."""
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError, struct.error)
"""What Pillow raises where bytes of a file are wrong: one such file must not end a run over a million."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out wherever a folder is searched.

    macOS writes a `._a.png` beside `a.png` on disks that are not its own; it ends as an image does, and is none.

    Example:
        >>> is_hidden("._a.png"), is_hidden("a.png")
        (True, False)
    """
    return name.startswith(".")


def is_image(name: str) -> bool:
    """Return whether a file of this name counts as an image in a folder.

    Example:
        >>> is_image("a.JPG"), is_image("a.txt"), is_image("._a.png")
        (True, False, False)
    """
    return Path(name).suffix.lower() in SUFFIXES and not is_hidden(name)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the image as uint8 RGB (H, W, 3).

    16-bit grey values are divided by 257 (their whole range, nothing is stretched). Of 16-bit colours Pillow keeps the
    upper byte: up to one level from that. Transparency is laid over white; palettes, grey and CMYK become RGB; an EXIF
    rotation is carried out.

    Raises:
        ImageError: the file is missing, cut short, not an image of a kind in `FORMATS`, far too large, larger than the
            memory that is free, or compressed more than any photograph is.
    """
    return _read(path, str(path), MAX_PIXELS)


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Return an image file that is in memory as uint8 RGB (H, W, 3), as `read_image` would from disk.

    Args:
        data: the file's bytes.
        name: what errors call it.
        max_pixels: the largest image that is decoded.

    Raises:
        ImageError: as `read_image`.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("L", (6, 4)).save(file, "PNG")
        >>> decode_image(file.getvalue(), "a.png").shape
        (4, 6, 3)
    """
    return _read(data, name, max_pixels)


def convert_image(image: Image.Image, name: str = "the PIL image") -> NDArray[np.uint8]:
    """Return a PIL image as uint8 RGB (H, W, 3), as `read_image` would from its file.

    Args:
        image: of any mode, perhaps opened and not yet decoded.
        name: what errors call it.

    Raises:
        ImageError: it cannot be decoded, or its values are no pixels.

    Example:
        >>> convert_image(Image.new("LA", (6, 4), (0, 0)))[0, 0].tolist()  # transparent: white
        [255, 255, 255]
    """
    with _errors(name):
        return _to_rgb(_upright(image), name)


def _read(source: Path | bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    with _errors(name), _identified(source, name, photograph=True, max_pixels=max_pixels) as image:
        return _to_rgb(_upright(image, in_place=True), name)


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """A decoded image as RGB, a strip at a time; see `read_image`."""
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels: it is {image.width} wide and {image.height} high")
    rgb = np.empty((image.height, image.width, 3), dtype=np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb[top : top + rows] = _strip_to_rgb(strip, name)
    return rgb


def _strip_to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Some rows as RGB, or as grey (h, w, 1)."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I", "F"):
        return _to_8_bits(np.asarray(image), name)[..., None]
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return the mask as bool (H, W): a pixel is a defect where any channel of the file is above 0.

    What is transparent is no defect. The colours of a palette count, not its indices: which index is black is chance.

    Raises:
        ImageError: the file cannot be read.
    """
    with _errors(str(path)), _identified(path, str(path), photograph=False) as image:
        return _to_mask(_upright(image, in_place=True))


def _to_mask(image: Image.Image) -> NDArray[np.bool_]:
    """A decoded image as a mask; see `read_mask`."""
    if image.mode in ("P", "PA", "LA", "RGBA"):
        values = np.asarray(image.convert("RGBA"))
        return np.asarray(values[..., :3].any(axis=2) & (values[..., 3] > 0))
    values = np.asarray(image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image)
    return np.asarray(values.any(axis=2) if values.ndim == 3 else values > 0)


def read_size(path: Path) -> Size:
    """Return height and width as a person would see the image, without its pixels where the file allows it.

    Raises:
        ImageError: the file is missing, or not an image.
    """
    with _errors(str(path)), _identified(path, str(path), photograph=False) as image:
        # Of a PNG, Pillow looks for EXIF data behind the pixels too, which it decodes for that.
        known = image.format == "PNG" and not _says_more_at_the_end(path)
        exif = Image.Image.getexif(image) if known else image.getexif()
        turned = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def _says_more_at_the_end(path: Path) -> bool:
    """Whether a PNG file has texts or EXIF data behind its pixels, or is cut short."""
    with path.open("rb") as file:
        file.seek(len(PNG_SIGNATURE))
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IEND":
                return False
            if pixels and kind != b"IDAT":
                return True
            pixels = kind == b"IDAT"
            file.seek(length + CHECKSUM, os.SEEK_CUR)
    return True


def _upright(image: Image.Image, *, in_place: bool = False) -> Image.Image:
    """The decoded image with its EXIF rotation carried out, in place or on a copy; itself where it has none."""
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) not in range(2, 9):
        return image
    if not in_place:
        return ImageOps.exif_transpose(image)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _identified(source: Path | bytes, name: str, *, photograph: bool, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image whose header has been read and found to be one that may be decoded; masks compress without bound."""
    size = len(source) if isinstance(source, bytes) else _file_size(source)
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    pixels = image.width * image.height
    if pixels > max_pixels:
        image.close()
        raise ImageError(
            f"{name} has {pixels:,} pixels, more than {max_pixels:,}; cut it into tiles or make it smaller"
        )
    if photograph and pixels >= DENSE_PIXELS and pixels > PIXELS_PER_BYTE * size:
        image.close()
        raise ImageError(
            f"{name} says that its {size:,} bytes hold {pixels:,} pixels, which no photograph does; it is "
            f"refused as an image bomb. Store it less compressed if it is a picture"
        )
    return image


def _file_size(path: Path) -> int:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for, a device read without end
        raise ImageError(f"{path} is not a file; expected an image")
    return state.st_size


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Whatever Pillow raises, as one ImageError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {name}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read (cut short, or of another kind than {', '.join(FORMATS)})"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels: {error}") from error
    except MemoryError as error:
        raise ImageError(
            f"{name} does not fit into the memory that is free; cut it into tiles or make it smaller"
        ) from error
    except DAMAGED as error:
        raise ImageError(f"{name} cannot be decoded: {error}. Replace it, or leave it out") from error


def _to_8_bits(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """16-bit grey values over their whole range as 8 bits."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} holds values outside 0..65535 ({values.dtype}); expected 8-bit or 16-bit pixels")
    return np.rint(values.astype(np.float64) / 257.0).astype(np.uint8)
