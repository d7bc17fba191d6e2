"""PNG, JPEG and BMP.

Alpha is dropped where it says nothing (fully opaque); where it does, what lies behind the picture
is unknown and the file is refused. Orientation tags (Exif) are applied, as viewers do.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesalius.errors import DataError
from vesalius.images.image import Image, compact_labels, intensities

Colours = Mapping[tuple[int, int, int], int]


def read_picture(path: Path, kind: str) -> Image:
    """Read intensities `(C, H, W)` with C = 1 or 3."""
    pixels = intensities(drop_alpha(_decode(path, keep_palette=False), path))
    return _image(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), path, kind)


def read_picture_mask(path: Path, kind: str, colours: Colours | None) -> Image:
    """Read labels `(H, W)`; the index of a palette picture is the label."""
    if kind == "jpeg":
        raise DataError(
            f"{path} is a JPEG: its compression changes labels near edges. Export the mask again "
            "from the program that drew it, as PNG or TIFF."
        )
    pixels = _decode(path, keep_palette=colours is None)
    return _image(labels_from_pixels(pixels, path, colours), path, kind)


def labels_from_pixels(pixels: np.ndarray, path: Path, colours: Colours | None) -> np.ndarray:
    """Return labels `(*size)` of pixels `(*size, samples)`; see `read_mask`."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * (255 if colours else 1)
    if colours is not None:
        return compact_labels(_labels_from_colours(pixels, path, colours), path)
    pixels = drop_alpha(pixels, path)
    if (pixels != pixels[..., :1]).any():
        raise DataError(
            f"{path} is a coloured mask. Say which colour is which label, for example "
            "read_mask(path, colours={(0, 0, 0): 0, (255, 0, 0): 1}), or save it in grey with "
            "the label as the value."
        )
    return compact_labels(pixels[..., 0], path)


def drop_alpha(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return pixels `(*size, samples)` without the alpha that a second or fourth sample is.

    Raises:
        DataError: a pixel is transparent.
    """
    if pixels.shape[-1] not in (2, 4):
        return pixels
    alpha = pixels[..., -1]
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
    if (alpha != opaque).any():
        raise DataError(
            f"{path} has {int((alpha != opaque).sum())} transparent pixels. Flatten it onto the "
            "background that is meant and save it without alpha."
        )
    return pixels[..., :-1]


def _labels_from_colours(pixels: np.ndarray, path: Path, colours: Colours) -> np.ndarray:
    pixels = drop_alpha(pixels, path)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    codes = _colour_code(pixels.astype(np.int64))
    found, inverse = np.unique(codes, return_inverse=True)
    table = {int(_colour_code(np.array(key))): value for key, value in colours.items()}
    unknown = [code for code in found.tolist() if code not in table]
    if unknown:
        seen = ", ".join(str((c >> 32, c >> 16 & 0xFFFF, c & 0xFFFF)) for c in unknown[:5])
        raise DataError(
            f"{path} has {len(unknown)} colours that the table does not list: {seen}"
            f"{', ...' if len(unknown) > 5 else ''}. Add them to `colours`; many similar ones mean "
            "that the mask was saved with loss or smoothed edges and must be exported again."
        )
    return np.array([table[code] for code in found.tolist()])[inverse].reshape(codes.shape)


def _colour_code(rgb: np.ndarray) -> np.ndarray:
    return (rgb[..., 0] << 32) | (rgb[..., 1] << 16) | rgb[..., 2]


def _decode(path: Path, *, keep_palette: bool) -> np.ndarray:
    """Return `(H, W, samples)`."""
    if _is_deep_colour_png(path):
        import imagecodecs

        # Pillow reduces 16-bit colour to 8 bits
        return imagecodecs.png_decode(path.read_bytes())
    from PIL import Image as Pillow
    from PIL import ImageOps

    with Pillow.open(path) as picture:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("P", "PA") and not keep_palette:
            picture = _without_palette(picture)
        elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
            picture = picture.convert("RGB")
        pixels = np.asarray(picture)
        return pixels[..., None] if pixels.ndim == 2 else pixels


def _without_palette(picture):
    has_alpha = picture.mode == "PA" or "transparency" in picture.info
    colour = picture.convert("RGBA" if has_alpha else "RGB")
    pixels = np.asarray(colour)
    grey = (pixels[..., :3] == pixels[..., :1]).all()
    return colour.convert("LA" if has_alpha else "L") if grey else colour


def _is_deep_colour_png(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(26)
    return (
        start[:4] == b"\x89PNG"
        and start[24:25] == b"\x10"
        and start[25:26] in (b"\x02", b"\x04", b"\x06")
    )


def _image(array: np.ndarray, path: Path, kind: str) -> Image:
    return Image(array, (1.0, 1.0), None, kind, None, path)
