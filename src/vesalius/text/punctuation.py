"""Punctuation of one kind, and lower case, without touching values and units."""

import re

from vesalius.text.normalise import HANZI

ASCII_MARKS = ",;:!?()"
"""What `to_chinese` changes, besides a full stop at the end of a line."""
_TO_CHINESE = str.maketrans(",;:!?", "，；：！？")
# The mark comes first in these patterns: so the search skips to the marks, which are few.
_BESIDE = re.compile(f"[,;:!?](?:(?<=[{HANZI}”）】》].)|(?= *[{HANZI}])) *")
_STOP = re.compile(f"\\.(?<=[{HANZI}）”].)(?<![一二三四五六七八九十].)(?=\\s|$)")
_PAIR = re.compile(r"[(（]([^()（）\n]*)[)）]")
_HANZI = re.compile(f"[{HANZI}]")


def ends_with_dot(text: str) -> bool:
    """Tell whether a full stop that `to_chinese` could change may be there."""
    return text[-1:] == "." or ". " in text or ".\n" in text


def to_chinese(text: str) -> str:
    """Make half-width marks Chinese where they stand beside Chinese characters.

    "头痛,头晕(轻)." becomes "头痛，头晕（轻）。"; English sentences, 1,200 and 10:30 stay.
    """
    if not _HANZI.search(text):
        return text
    text = _BESIDE.sub(lambda match: match[0][0].translate(_TO_CHINESE), text)
    if "(" in text or ")" in text:
        text = _PAIR.sub(_brackets, text)
    return _STOP.sub("。", text) if ends_with_dot(text) else text


def _brackets(match: re.Match) -> str:
    """Make a pair of brackets Chinese if there is Chinese in it or beside it."""
    around = match.string[max(match.start() - 1, 0) : match.end() + 1]
    mixed = (match[0][0] == "(") != (match[0][-1] == ")")
    return f"（{match[1]}）" if mixed or _HANZI.search(around) else match[0]


_AS_ASCII = {
    **dict(zip("，、。；：！？（）【】", ",,.;:!?()[]", strict=True)),
    **dict.fromkeys("《》「」“”", '"'),
    **dict.fromkeys("‘’", "'"),
    "…": "...",
    "—": "-",
}
_TO_ASCII = str.maketrans(_AS_ASCII)
CHINESE_MARKS = "".join(_AS_ASCII)
"""What `to_ascii` changes."""
_CLOSING = "，、。；：！？”’）】》」,.;:!?)\\]\"'"
_SPACED = re.compile(f"([，、。；：！？])(?=[^\\s{_CLOSING}])")
_ELLIPSIS = re.compile("…+")


def to_ascii(text: str) -> str:
    """Make Chinese marks ASCII. A space follows them: "5，6" must not become the number 5,6."""
    text = _SPACED.sub(r"\1 ", _ELLIPSIS.sub("…", text))
    return text.translate(_TO_ASCII)


CAPITALS = frozenset(
    chr(code) for code in (*range(0x41, 0x5B), *range(0xC0, 0xDF)) if chr(code).isalpha()
)
_WORD = re.compile(r"[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]+")
_ALWAYS = frozenset(
    re.findall(
        r"\w+",
        """
        mmHg mmH cmH kPa mPa MPa Torr pH Hz kHz MHz mL dL uL IU mIU mU kU mEq mM nM pM
        mOsm Osm kJ MJ Gy mGy cGy Sv mSv Bq kBq MBq GBq Ci mCi kDa Da mV kV mA mAs kW
        """,
    )
)
_AFTER_NUMBER = frozenset("LUVWJNKFCTMGPAIDXO")
_ROMAN = re.compile(r"[IVX]+")
_NUMBER_BEFORE = re.compile(r"(?:[\d⁰-⁹°/^*×μ%.-]|\d )$")


def lower(text: str) -> str:
    """Make words lower-case; units (mmHg, pH, 10⁹/L, 5 U, 3.0T) and Roman numerals stay."""
    return _WORD.sub(_lower, text)


def _lower(match: re.Match) -> str:
    word = match[0]
    if word in _ALWAYS or _ROMAN.fullmatch(word):
        return word
    if word in _AFTER_NUMBER and _NUMBER_BEFORE.search(match.string[: match.start()][-2:]):
        return word
    return word.lower()
