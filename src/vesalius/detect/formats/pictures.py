"""Find images by name and learn their sizes without decoding them."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from vesalius.images.image import FORMATS, decoding, stem, suffix
from vesalius.images.manifest import SPLITS

IMAGE_FOLDERS = ("JPEGImages", "images", "image", "imgs", "img", "Images")
_ROTATED = {5, 6, 7, 8}
"""Values of the Exif orientation that swap width and height."""


def image_size(path: Path) -> tuple[int, ...]:
    """Return the array shape without channels, as `read_image` would; mostly the header is read.

    Raises:
        DataError: the file is missing, damaged or of an unknown format.
    """
    from vesalius.images.read import read_image

    kind = FORMATS.get(suffix(path))
    with decoding(path):
        if kind in ("png", "jpeg", "bmp"):
            return _picture_size(path)
        if kind == "nifti":
            import nibabel

            return tuple(int(side) for side in (*nibabel.load(path).shape, 1, 1)[:3])
    return read_image(path).size


def _picture_size(path: Path) -> tuple[int, int]:
    from PIL import Image as Pillow

    with Pillow.open(path) as picture:
        width, height = picture.size
        # Asking a PNG for Exif decodes all of it; `info` has what stands before the pixels.
        has_exif = "exif" in picture.info
        if has_exif and picture.getexif().get(0x0112) in _ROTATED:
            return width, height
        return height, width


class Folder:
    """The images of a folder by name and by stem, listed once."""

    def __init__(self, path: Path):
        self.path = path
        names = sorted(os.listdir(path)) if path.is_dir() else []
        self.names = [name for name in names if suffix(name) in FORMATS and name[0] != "."]
        self._known = set(self.names)
        self._stems: dict[str, str] = {}
        for name in self.names:
            self._stems.setdefault(stem(name), name)

    def find(self, name: str) -> Path | None:
        """Return the image of this file name, or with another suffix than it says."""
        if name in self._known:
            return self.path / name
        found = self._stems.get(stem(name))
        return self.path / found if found else None

    @property
    def paths(self) -> list[Path]:
        """All images, sorted."""
        return [self.path / name for name in self.names]


class Finder:
    """Find images that an annotation names, in several folders."""

    def __init__(self, places: Iterable[Path]):
        self.places = list(dict.fromkeys(Path(place) for place in places))
        self._folder = cache(Folder)

    def find(self, name: str) -> Path | None:
        """Return the path of an image named with or without folders, or None."""
        inner, _, last = name.replace("\\", "/").rpartition("/")
        for place in self.places:
            found = self._folder(place / inner if inner else place).find(last)
            if found:
                return found
        # A path of another machine: its last part has to do.
        for place in self.places if inner else ():
            found = self._folder(place).find(last)
            if found:
                return found
        return None

    def missing(self, name: str) -> str:
        """Return the complaint that an image was not found."""
        looked = ", ".join(str(place) for place in self.places if place.is_dir())
        return (
            f"the image {name} was not found in {looked or 'any folder'}. Add it, name its folder "
            "(images=...), or remove its annotation."
        )


def image_places(folder: Path, images: Path | None, *, split: str = "") -> list[Path]:
    """Return where the images of annotations in `folder` may lie, the likeliest first."""
    if images is not None:
        return [images, *([images / split] if split else [])]
    roots = (folder, folder.parent)
    parts = [split, f"{split}2017"] if split else []
    inner = [root / name for root in roots for name in IMAGE_FOLDERS]
    within = [place / part for place in (*inner, *roots) for part in parts]
    return [place for place in (folder, *within, *inner, folder.parent) if place.is_dir()]


def split_of_folder(name: str) -> str | None:
    """Return "train", "valid" or "test" for a folder called so ("val", "train2017"), or None."""
    return SPLITS.get(name.lower().rstrip("0123456789_-"))


def split_of_file(path: Path) -> str | None:
    """Return the split that the words of a file's name say, else its folder's name."""
    words = "".join(c if c.isalpha() else " " for c in path.stem.lower()).split()
    named = next((SPLITS[word] for word in words if word in SPLITS), None)
    return named or split_of_folder(path.parent.name)


def unique_ids(paths: Sequence[Path | str]) -> list[str]:
    """Return the stems of files, or their paths joined by "_" where stems repeat."""
    stems = [stem(path) for path in paths]
    seen = Counter(stems)
    return [
        name if seen[name] == 1 else "_".join([*Path(path).parent.parts[-2:], name]).strip("/\\")
        for name, path in zip(stems, paths, strict=True)
    ]
