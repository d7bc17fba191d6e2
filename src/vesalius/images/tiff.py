"""TIFF: pictures, and stacks of pages as volumes.

Spacing is taken from OME metadata, from ImageJ's unit, or from resolution tags in centimetres that
give pixels below 10 micrometres; other resolution tags (72 or 300 per inch) describe printing and
are ignored. A stack has no patient orientation: its x, y and z are taken as the world's.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import DataError
from vesalius.images.image import MILLIMETRES, Image, intensities
from vesalius.images.pictures import Colours, drop_alpha, labels_from_pixels


def read_tiff(path: Path) -> Image:
    """Read intensities `(C, H, W)` or `(C, Z, Y, X)`."""
    pixels, depth, spacing, page = _decode(path)
    if page.photometric == 3 and page.colormap is not None:
        colours = np.moveaxis(np.asarray(page.colormap), 0, -1)
        pixels = (colours[pixels[..., 0]] >> 8).astype(np.uint8)
    elif page.photometric == 0 and pixels.dtype.kind in "bu":
        pixels = ~pixels  # zero means white here
    pixels = intensities(drop_alpha(pixels, path) if page.extrasamples else pixels)
    return _image(np.moveaxis(pixels, -1, 0), depth, spacing, path)


def read_tiff_mask(path: Path, colours: Colours | None) -> Image:
    """Read labels `(H, W)` or `(Z, Y, X)`: the stored values, whatever the palette."""
    pixels, depth, spacing, page = _decode(path)
    if page.compression in (6, 7):
        raise DataError(
            f"{path} is compressed as JPEG, which changes labels near edges. Export the mask "
            "again with lossless compression."
        )
    return _image(labels_from_pixels(pixels, path, colours), depth, spacing, path)


def _decode(path: Path) -> tuple[np.ndarray, bool, tuple[float, float, float], Any]:
    """Return pixels `([Z,] Y, X, C)`, whether there is a Z, spacing (z, y, x), the first page."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _only_series(file, path)
        _check_complete(file, path)
        array, axes = series.asarray(squeeze=False), series.get_axes(squeeze=False)
        pixels, depth = _arrange(array, axes, path)
        return pixels, depth, _spacing(file), series.keyframe


def _only_series(file, path: Path):
    series = [one for one in file.series if one.keyframe.subfiletype & 1 == 0]
    if len(series) != 1:
        shapes = ", ".join(str(one.shape) for one in series[:5])
        raise DataError(
            f"{path} holds {len(series)} pictures of different kinds ({shapes}). "
            "Save the one that is meant in a file of its own."
        )
    return series[0]


def _check_complete(file, path: Path) -> None:
    """Raise where pages, their data or their description lie beyond the end of the file.

    tifffile leaves out pages that it cannot reach and fills data that is not there with zeros.
    """
    end = file.filehandle.size
    ends = list(_directory_ends(file))
    for page in file.pages:
        ends += map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
    if max(ends) > end:
        raise DataError(f"{path} is cut off. Copy it again from its source.")


def _directory_ends(file) -> Iterator[int]:
    """Yield where each page's directory and its description end, following the chain of pages.

    Where the chain leads beyond the end of the file the last number is beyond it too.
    """
    handle, layout, seen = file.filehandle, file.tiff, set()
    # the place of the first directory follows the version: byte 4, in BigTIFF byte 8
    handle.seek(8 if layout.is_bigtiff else 4)
    start = _integer(handle.read(layout.offsetsize), layout.offsetformat)
    while start and start not in seen:
        seen.add(start)
        handle.seek(start)
        count = _integer(handle.read(layout.tagnosize), layout.tagnoformat) or 0
        tags = handle.read(count * layout.tagsize)
        start = _integer(handle.read(layout.offsetsize), layout.offsetformat)
        yield handle.size + 1 if start is None else handle.tell()
        yield from _description_ends(tags, layout)


def _description_ends(tags: bytes, layout) -> Iterator[int]:
    """Yield where the text of tag 270 ends: it holds the axes, and the others can be spared."""
    size, width = layout.tagsize, layout.offsetsize
    for k in range(0, len(tags) - size + 1, size):
        if struct.unpack(layout.byteorder + "H", tags[k : k + 2])[0] == 270:
            length = _integer(tags[k + 4 : k + 4 + width], layout.offsetformat)
            if length > width:
                yield length + _integer(tags[k + 4 + width : k + size], layout.offsetformat)


def _integer(data: bytes, form: str) -> int | None:
    """Return the number, or None where the file ended before it."""
    return struct.unpack(form, data)[0] if len(data) == struct.calcsize(form) else None


def _arrange(array: np.ndarray, axes: str, path: Path) -> tuple[np.ndarray, bool]:
    """Move the axes to `([Z,] Y, X, C)`."""
    names = {"I": "Z", "Q": "Z", "S": "C"}
    keep = [k for k, size in enumerate(array.shape) if size > 1 or axes[k] in "YX"]
    found = "".join(names.get(axes[k], axes[k]) for k in keep)
    if set(found) - set("ZYXC") or len(set(found)) != len(found):
        raise DataError(
            f"{path} has the axes {axes} of size {array.shape}; a picture or one volume is needed "
            "(Y, X, and optionally Z and channels). Save every time point in a file of its own."
        )
    array = array.reshape([array.shape[k] for k in keep])
    if "C" not in found:
        array, found = array[..., None], found + "C"
    order = [found.index(name) for name in "ZYXC" if name in found]
    return array.transpose(order), "Z" in found


def _spacing(file) -> tuple[float, float, float]:
    """Return (z, y, x) in mm, 1.0 where the file does not say."""
    if file.ome_metadata:
        return _ome_spacing(file.ome_metadata)
    page = file.pages[0]
    per_x, per_y = page.get_resolution()
    if file.imagej_metadata:
        unit = MILLIMETRES.get(_plain_unit(file.imagej_metadata.get("unit", "")))
        if unit is None or not per_x or not per_y:
            return 1.0, 1.0, 1.0
        return float(file.imagej_metadata.get("spacing", 1.0)) * unit, unit / per_y, unit / per_x
    if page.resolutionunit == 3 and min(per_x, per_y) > 1000:
        return 1.0, 10.0 / per_y, 10.0 / per_x
    return 1.0, 1.0, 1.0


def _plain_unit(unit: str) -> str:
    return unit.replace("\\u00B5", "\u00b5").strip().lower()


def _ome_spacing(xml: str) -> tuple[float, float, float]:
    from xml.etree import ElementTree

    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("}Pixels"):
            return tuple(_ome_length(element, axis) for axis in "ZYX")
    return 1.0, 1.0, 1.0


def _ome_length(element, axis: str) -> float:
    value = element.get(f"PhysicalSize{axis}")
    unit = MILLIMETRES.get(_plain_unit(element.get(f"PhysicalSize{axis}Unit", "um")))
    return float(value) * unit if value and unit else 1.0


def _image(array: np.ndarray, depth: bool, spacing, path: Path) -> Image:
    array = np.ascontiguousarray(array)
    if not depth:
        return Image(array, spacing[1:], None, "tiff", None, path)
    # index (z, y, x) -> world (x, y, z)
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [*spacing, 1.0]
    return Image(array, spacing, affine, "tiff", None, path)
