"""Which Chinese characters are mistaken for which: by sound, by shape, by a slip of the keyboard.

Only the 3,755 common characters of GB 2312, level 1, replace others; they come out of the codec,
so no list is needed.
"""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from vesalius.errors import MissingDependencyError

Table = dict[str, tuple[str, ...]]

_CONFUSED_INITIALS = (
    *(("zh", "z"), ("ch", "c"), ("sh", "s")),
    *(("n", "l"), ("f", "h"), ("r", "l")),
)
_CONFUSED_FINALS = (("ang", "an"), ("eng", "en"), ("ing", "in"), ("uang", "uan"))
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@lru_cache(maxsize=1)
def common() -> tuple[str, ...]:
    """Return the characters of GB 2312 level 1 (rows 16 to 55)."""
    found = []
    for row in range(0xB0, 0xD8):
        cells = range(0xA1, 0xFA if row == 0xD7 else 0xFF)
        found += [bytes((row, cell)).decode("gb2312") for cell in cells]
    return tuple(found)


@lru_cache(maxsize=2)
def same_sound(*, tone: bool = True) -> Table:
    """Return character -> the common characters with the same most frequent reading.

    Args:
        tone: the tone must be the same too.

    Raises:
        MissingDependencyError: pypinyin is not installed.
    """
    readings = _readings(tone)
    groups: dict[str, list[str]] = {}
    for char, reading in readings.items():
        groups.setdefault(reading, []).append(char)
    return {
        char: others
        for char, reading in readings.items()
        if (others := tuple(other for other in groups[reading] if other != char))
    }


@lru_cache(maxsize=1)
def typing_slips() -> Table:
    """Return character -> the common characters that a slip of Pinyin typing gives.

    A slip confuses zh/z, ch/c, sh/s, n/l, f/h, r/l or the finals with n and ng, or hits the key
    beside the right one, and the result is a syllable.

    Raises:
        MissingDependencyError: pypinyin is not installed.
    """
    readings = _readings(False)
    by_syllable: dict[str, list[str]] = {}
    for char, syllable in readings.items():
        by_syllable.setdefault(syllable, []).append(char)
    wrong = {
        syllable: tuple(
            char for slip in sorted(slips(syllable)) for char in by_syllable.get(slip, ())
        )
        for syllable in by_syllable
    }
    return {char: wrong[syllable] for char, syllable in readings.items() if wrong[syllable]}


def slips(syllable: str) -> set[str]:
    """Return what may be typed instead of a syllable; not all of it is a syllable."""
    found = set()
    for pair in _CONFUSED_INITIALS:
        for right, wrong in (pair, pair[::-1]):
            if syllable.startswith(right) and not (len(right) == 1 and syllable[1:2] == "h"):
                found.add(wrong + syllable[len(right) :])
    for pair in _CONFUSED_FINALS:
        for right, wrong in (pair, pair[::-1]):
            if syllable.endswith(right):
                found.add(syllable[: -len(right)] + wrong)
    for at, letter in enumerate(syllable):
        found |= {syllable[:at] + near + syllable[at + 1 :] for near in _neighbours(letter)}
    return found - {syllable}


def _neighbours(letter: str) -> str:
    for row in _ROWS:
        at = row.find(letter)
        if at >= 0:
            return row[max(0, at - 1) : at] + row[at + 1 : at + 2]
    return ""


@lru_cache(maxsize=2)
def _readings(tone: bool) -> dict[str, str]:
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError as error:
        raise MissingDependencyError(
            "pypinyin", "Replacing characters by their sound", "pip install pypinyin"
        ) from error
    style = Style.TONE3 if tone else Style.NORMAL
    # One call per character: in a row, pypinyin would read them as words.
    return {char: lazy_pinyin(char, style=style)[0] for char in common()}


@lru_cache(maxsize=1)
def similar_shape() -> Table:
    """Return character -> characters of similar shape.

    From the package's own table, and from `pycorrector` (Apache-2.0) where it is installed.
    """
    import yaml

    rows = yaml.safe_load((Path(__file__).parent / "shapes.yaml").read_text("utf-8"))
    groups = [*rows["groups"].split(), *_from_pycorrector()]
    known, table = set(common()), {}
    for group in groups:
        usable = [char for char in group if char in known]
        for char in usable:
            others = (other for other in usable if other != char)
            table[char] = tuple(dict.fromkeys((*table.get(char, ()), *others)))
    return {char: others for char, others in table.items() if others}


def _from_pycorrector() -> list[str]:
    try:
        files = distribution("pycorrector")
    except PackageNotFoundError:
        return []
    path = Path(str(files.locate_file("pycorrector/data/same_stroke.txt")))
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines()
    return ["".join(line.split()) for line in lines if not line.startswith("#")]
