"""Images and masks of every kind are read as a person would see them."""

import contextlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from invad.data import images as reading
from invad.data import read_image, read_mask
from invad.data.images import convert_image, decode_image, read_size
from invad.errors import ImageError

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def colours(image: Image.Image) -> Image.Image:
    """Left half red, right half green."""
    image.paste((255, 0, 0), (0, 0, 3, 4))
    image.paste((0, 255, 0), (3, 0, 6, 4))
    return image


def test_rgb_palette_and_cmyk(tmp_path: Path) -> None:
    rgb = colours(Image.new("RGB", (6, 4)))
    for name, image in {"a.png": rgb, "b.png": rgb.convert("P"), "c.tif": rgb.convert("CMYK"), "d.bmp": rgb}.items():
        array = read_image(saved(tmp_path / name, image))
        assert array.shape == (4, 6, 3) and array.dtype == np.uint8
        assert tuple(array[0, 0]) == RED and tuple(array[0, 5]) == GREEN, name


def test_grey_and_bilevel_become_rgb(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[0, 128, 255]], np.uint8))
    assert read_image(saved(tmp_path / "l.png", grey))[0, 1].tolist() == [128] * 3
    assert (
        read_image(saved(tmp_path / "1.png", grey.convert("1", dither=Image.Dither.NONE)))[0, 2].tolist() == [255] * 3
    )


def test_16_bits_are_divided_by_257_and_not_stretched(tmp_path: Path) -> None:
    values = np.array([[0, 257, 1000, 65535]], np.uint16)
    for name in ("a.png", "b.tif"):
        array = read_image(saved(tmp_path / name, Image.fromarray(values)))
        assert array[0, :, 0].tolist() == [0, 1, 4, 255]
        assert (array == array[..., :1]).all()


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_of_16_bit_colours_the_upper_byte_is_kept(tmp_path: Path, suffix: str, channels: int) -> None:
    """Pillow decodes them to 8 bits; that is never further from a 257th than a level."""
    values = np.linspace(0, 65535, 3 * 4096).round().astype(np.uint16).reshape(64, 64, 3)
    values[0, 0] = (255, 256, 0x80FF)
    opaque = np.full((64, 64, channels - 3), 65535, np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.concatenate([values[..., ::-1], opaque], axis=2))
    array = read_image(tmp_path / f"a.{suffix}")
    assert np.array_equal(array, values >> 8)
    assert np.abs(array - np.rint(values / 257)).max() == 1


@pytest.mark.parametrize("values", [np.array([[0.1, 0.9]], np.float32), np.array([[-1, 70000]], np.int32)])
def test_values_that_are_no_pixels_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    with pytest.raises(ImageError, match=r"expected 8-bit or 16-bit pixels|outside"):
        read_image(path)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    for name, image in {"a.png": rgba, "b.webp": rgba}.items():
        array = read_image(saved(tmp_path / name, image, **({"lossless": True} if name.endswith("webp") else {})))
        assert tuple(array[0, 0]) == RED and tuple(array[0, 1]) == WHITE
    palette = rgba.convert("P")
    array = read_image(saved(tmp_path / "c.png", palette, transparency=palette.getpixel((1, 0))))
    assert tuple(array[0, 1]) == WHITE
    grey = Image.fromarray(np.array([[[0, 255], [0, 0]]], np.uint8), "LA")
    assert read_image(saved(tmp_path / "d.png", grey))[0, :, 0].tolist() == [0, 255]


def of_every_mode() -> dict[str, Image.Image]:
    random = np.random.default_rng(0)
    rgba = Image.fromarray(random.integers(0, 256, (9, 10, 4), dtype=np.uint8))
    deep = random.integers(0, 65536, (9, 10), dtype=np.uint16)
    clear = rgba.convert("P")
    clear.info["transparency"] = 3
    rgb = rgba.convert("RGB")
    rgb.info["transparency"] = rgb.getpixel((4, 8))
    some = {mode: rgba.convert(mode) for mode in ("1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "RGBA")}
    deeper = {
        "I;16": Image.fromarray(deep),
        "I;16B": Image.frombytes("I;16B", (10, 9), deep.astype(">u2").tobytes()),
        "I": Image.fromarray(deep.astype(np.int32)),
    }
    return {**some, **deeper, "clear": clear, "rgb": rgb}


@pytest.mark.parametrize("mode", of_every_mode())
def test_strips_make_the_image_that_is_made_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = of_every_mode()[mode]
    whole = convert_image(image)
    assert whole.shape == (9, 10, 3) and whole.dtype == np.uint8 and len(np.unique(whole)) > 1
    for pixels in (1, 20, 40):
        monkeypatch.setattr(reading, "STRIP", pixels)
        assert np.array_equal(convert_image(image), whole), pixels


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_a_deep_image_takes_little_more_than_its_pixels(tmp_path: Path, dtype: type) -> None:
    side = 2000
    values = np.arange(side * side, dtype=np.int64).reshape(side, side) % 65536
    path = saved(tmp_path / "deep.tif", Image.fromarray(values.astype(dtype)))
    del values
    tracemalloc.start()
    try:
        read_image(path)
        peak = tracemalloc.get_traced_memory()[1] / side**2
    finally:
        tracemalloc.stop()
    assert peak < 7, "bytes a pixel, beside Pillow's own: three of RGB, and a strip"


def test_an_image_that_does_not_fit_into_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "large.png", Image.new("RGB", (6, 4)))
    data = path.read_bytes()

    def full(*_: object) -> None:
        raise MemoryError

    for kind, name in ((Image.Image, "crop"), (Image.Image, "load")):
        monkeypatch.setattr(kind, name, full)
        for read in (lambda: read_image(path), lambda: decode_image(data, "large.png")):
            with pytest.raises(ImageError, match=r"large.png does not fit into the memory that is free; cut it"):
                read()
    with pytest.raises(ImageError, match="the PIL image does not fit"):
        convert_image(Image.new("RGB", (6, 4)))
    with pytest.raises(ImageError, match=r"large.png does not fit"):
        read_mask(path)


def test_an_image_without_pixels_is_refused() -> None:
    for size in ((0, 4), (4, 0)):
        with pytest.raises(ImageError, match=f"has no pixels: it is {size[0]} wide and {size[1]} high"):
            convert_image(Image.new("RGB", size))


def test_exif_rotation_is_carried_out_and_known_from_the_header(tmp_path: Path) -> None:
    image = colours(Image.new("RGB", (6, 4)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees clockwise
    path = saved(tmp_path / "a.png", image, exif=exif)
    array = read_image(path)
    assert array.shape == (6, 4, 3) and read_size(path) == (6, 4)
    assert tuple(array[0, 0]) == RED and tuple(array[5, 0]) == GREEN
    assert read_size(saved(tmp_path / "b.png", image)) == (4, 6)
    with Image.open(path) as opened:
        assert np.array_equal(convert_image(opened), array) and opened.size == (6, 4), "the caller's stays as it is"


def moved_behind_the_pixels(path: Path, kind: bytes) -> None:
    """Put the parts of a PNG file that are of a kind behind its pixels, where they may be as well."""
    data, parts, at = path.read_bytes(), [], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        parts.append(data[at:end])
        at = end
    late = [part for part in parts if part[4:8] == kind]
    assert late
    path.write_bytes(data[:8] + b"".join([*(part for part in parts[:-1] if part not in late), *late, parts[-1]]))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("how", ["exif", "xmp"])
def test_the_size_of_a_png_that_is_turned_by_what_stands_before_or_behind_its_pixels(
    tmp_path: Path, how: str, late: bool
) -> None:
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    if how == "exif":
        exif[ExifTags.Base.Orientation] = 6
    else:
        text.add_itxt("XML:com.adobe.xmp", 'tiff:Orientation="6"')
    path = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(path, exif=exif, pnginfo=text)
    if late:
        moved_behind_the_pixels(path, b"eXIf" if how == "exif" else b"iTXt")
    assert read_size(path) == read_image(path).shape[:2] == (6, 4)


def test_the_size_of_a_png_is_known_without_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 255  # no longer pixels
    path.write_bytes(data)
    assert read_size(path) == (4, 6)
    with pytest.raises(ImageError):
        read_image(path)


def test_a_pil_image_is_what_its_file_is(tmp_path: Path) -> None:
    turned, sheer = Image.Exif(), colours(Image.new("RGBA", (6, 4)))
    turned[ExifTags.Base.Orientation] = 6
    sheer.putalpha(100)
    paths = [
        saved(tmp_path / "turned.png", colours(Image.new("RGB", (6, 4))), exif=turned),
        saved(tmp_path / "sheer.png", sheer),
        saved(tmp_path / "sheer_palette.png", sheer.convert("P"), transparency=0),
        saved(tmp_path / "deep.png", Image.fromarray(np.array([[0, 257, 1000, 65535]], np.uint16))),
        saved(tmp_path / "cmyk.tif", colours(Image.new("RGB", (6, 4))).convert("CMYK")),
    ]
    for path in paths:
        with Image.open(path) as image:
            assert np.array_equal(convert_image(image), read_image(path)), path.name
            assert np.array_equal(convert_image(image.copy()), read_image(path)), path.name


def test_a_pil_image_that_cannot_be_decoded_is_an_image_error(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "cut.png", Image.fromarray(random))
    cut(path)
    with Image.open(path) as image, pytest.raises(ImageError, match="the PIL image cannot be decoded"):
        convert_image(image)
    with pytest.raises(ImageError, match="expected 8-bit or 16-bit pixels"):
        convert_image(Image.fromarray(np.array([[0.5]], np.float32)))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not an image")


@pytest.mark.parametrize("damage", [cut, empty, text, Path.unlink])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, damage: Callable[[Path], None], suffix: str) -> None:
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / f"victim.{suffix}", Image.fromarray(random))
    damage(path)
    for read in (read_image, read_mask):
        with pytest.raises(ImageError, match=f"victim.{suffix}"):
            read(path)


def test_a_mask_is_what_is_above_zero(tmp_path: Path) -> None:
    expected = [[False, True, True]]
    values = np.array([[0, 1, 255]], np.uint8)
    grey = Image.fromarray(values)
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    palette.putpalette([0, 0, 0, 1, 1, 1, 255, 255, 255])
    images = {
        "l.png": grey,
        "rgb.png": grey.convert("RGB"),
        "i16.png": Image.fromarray(values.astype(np.uint16)),
        "p.png": palette,
    }
    for name, image in images.items():
        assert read_mask(saved(tmp_path / name, image)).tolist() == expected, name


def test_a_palette_whose_first_colour_is_white_is_not_inverted(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    assert read_mask(saved(tmp_path / "p.png", image)).tolist() == [[True, False]]


def test_what_is_transparent_in_a_mask_is_no_defect(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[255, 255, 255, 0], [255, 0, 0, 255], [0, 0, 0, 255]]], np.uint8), "RGBA")
    assert read_mask(saved(tmp_path / "a.png", image)).tolist() == [[False, True, False]]


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of one colour: a small file that says it is a large image."""
    Image.new("L", (width, height)).save(path, compress_level=9)
    return path


def test_image_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    dense = bomb(tmp_path / "dense.png", 5000, 4000)
    assert dense.stat().st_size < 100_000
    with pytest.raises(ImageError, match="image bomb"):
        read_image(dense)
    assert not read_mask(dense).any(), "masks are of one colour almost everywhere"
    assert read_image(bomb(tmp_path / "small.png", 2000, 1000)).shape == (1000, 2000, 3), "plain images are read"
    huge = tmp_path / "huge.bmp"  # the header alone: 40,000 x 40,000
    header = bytearray(saved(huge, Image.new("L", (2, 2))).read_bytes())
    header[18:26] = (40_000).to_bytes(4, "little") * 2
    huge.write_bytes(header)
    with pytest.raises(ImageError, match="pixels"):
        read_image(huge)


def test_the_bound_on_pixels_holds_where_pillows_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = saved(tmp_path / "huge.bmp", Image.new("L", (2, 2)))
    header = bytearray(path.read_bytes())
    header[18:26] = (40_000).to_bytes(4, "little") * 2
    path.write_bytes(header)
    with pytest.raises(ImageError, match="1,600,000,000 pixels, more than"):
        read_image(path)


def test_a_photograph_of_a_megapixel_camera_is_no_bomb(tmp_path: Path) -> None:
    grey = saved(tmp_path / "grey.jpg", Image.new("RGB", (5000, 4000), (128, 128, 128)))
    assert read_size(grey) == (4000, 5000), "even an evenly grey JPEG is denser"


def test_kinds_that_start_other_programs_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="another kind than BMP, JPEG"):
        read_image(path)
    saved(tmp_path / "a.gif", Image.new("L", (4, 4))).rename(tmp_path / "a.png")
    with pytest.raises(ImageError, match="another kind"):
        read_image(tmp_path / "a.png")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not a file"):
        read_image(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="is not a file"):
            read_image(tmp_path / "pipe.png")


def test_text_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 70_000_000, zip=True)
    path = saved(tmp_path / "text.png", Image.new("L", (2, 2)), pnginfo=text)
    assert path.stat().st_size < 100_000
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp", "bmp"])
def test_no_damage_gets_past_as_another_error(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    path = saved(tmp_path / f"a.{kind}", Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)))
    whole = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), int(random.choice([40, 200, 4000]))), size=3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ImageError):
            read_image(path)
