"""The steps of cleaning, each a function of a text, none of which changes what a value means.

Unicode's NFKC makes 10⁹/L into 109/L and ①高血压 into 1高血压. So nothing here folds by formal
compatibility: tables name what is folded, and superscripts, subscripts, circled and Roman numerals,
comparison signs and arrows are not in them.
"""

import functools
import re
import unicodedata
from collections.abc import Callable

HANZI = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff"
"""Chinese characters, for the inside of a regular expression's [...]."""


def _expanded(ranges: str) -> frozenset[str]:
    """Return the characters that a regular expression's [ranges] holds."""
    single = re.sub("(.)-(.)", "", ranges, flags=re.S)
    pairs = re.findall("(.)-(.)", ranges, flags=re.S)
    codes = {code for low, high in pairs for code in range(ord(low), ord(high) + 1)}
    return frozenset(map(chr, codes)) | frozenset(single)


_UNITS = {
    "㎎": "mg",
    "㎏": "kg",
    "㎍": "μg",
    "㎜": "mm",
    "㎝": "cm",
    "㎞": "km",
    "㎖": "ml",
    "㎗": "dl",
    "㎕": "μl",
    "㏄": "cc",
    "㎐": "Hz",
    "㎩": "Pa",
    "㎪": "kPa",
    "㎟": "mm²",
    "㎠": "cm²",
    "㎡": "m²",
    "㎣": "mm³",
    "㎤": "cm³",
    "㎥": "m³",
    "µ": "μ",  # the micro sign and the Greek letter look alike and are typed at random
}
_SIGNS = {
    "．": ".",
    "﹒": ".",
    "〜": "~",
    "∼": "~",
    "−": "-",
    "‐": "-",
    "‑": "-",
    "‒": "-",
    "–": "-",
    "﹣": "-",
    "―": "—",
    "≧": "≥",
    "≦": "≤",
    "⩾": "≥",
    "⩽": "≤",
    "∶": ":",
    "﹪": "%",
    "﹢": "+",
    "﹤": "<",
    "﹥": ">",
    "﹦": "=",
    "￥": "¥",
    "﹐": "，",
    "﹑": "、",
    "﹔": "；",
    "﹕": "：",
    "﹖": "？",
    "﹗": "！",
    "﹙": "（",
    "﹚": "）",
    "｡": "。",
    "､": "、",
    "｢": "「",
    "｣": "」",
}
_KEPT_WIDE = "！，：；？（）．"
"""Full-width forms that are Chinese punctuation ("．" has a line of its own above)."""


def _width_table() -> dict[int, str]:
    table = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    for character in _KEPT_WIDE:
        del table[ord(character)]
    # Letters that a PDF leaves behind: radicals for whole characters, ligatures for two letters.
    for code in (*range(0x2F00, 0x2FD6), *range(0xFB00, 0xFB05)):
        table[code] = unicodedata.normalize("NFKC", chr(code))
    return table | {ord(key): value for key, value in (_UNITS | _SIGNS).items()}


_WIDTH = _width_table()
_COMPOSED = "\u0300-\u036f\u2126\u212a\u212b\uf900-\ufaff"
"""What NFC puts together or replaces; NFC never touches a superscript."""


def width(text: str) -> str:
    """Make full-width letters, digits and signs half-width, and one character of look-alikes.

    Chinese punctuation stays. "１２０／８０ｍｍＨｇ" becomes "120/80mmHg", "㎎" becomes "mg".
    """
    text = text.translate(_WIDTH)
    if _COMPOSABLE.search(text):
        text = unicodedata.normalize("NFC", text)
    # A long dash between numbers is a range; elsewhere it is punctuation.
    return _RANGE_DASH.sub("-", text) if "—" in text else text


_COMPOSABLE = re.compile(f"[{_COMPOSED}]")
WIDE_CHARACTERS = frozenset(map(chr, _WIDTH)) | _expanded(_COMPOSED) | {"—"}
_RANGE_DASH = re.compile(r"(?<=\d)\s?—\s?(?=\d)")

_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\t"
_BREAKS = "\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
)
_INVISIBLES = re.compile(f"[{_INVISIBLE}]+")
_BREAK = re.compile(f"\r\n|[{_BREAKS}]")
CONTROL_CHARACTERS = _expanded(_INVISIBLE) | _expanded(_BREAKS)


def control(text: str) -> str:
    """Remove control and zero-width characters; make every kind of line end a line feed."""
    return _INVISIBLES.sub("", _BREAK.sub("\n", text))


_RUN_OF_SPACES = re.compile(f"[ {_SPACES}]+")
_AROUND_BREAKS = re.compile(r" ?\n ?")
_EMPTY_LINES = re.compile(r"\n{3,}")
SPACE_CHARACTERS = _expanded(_SPACES) | {"\n"}


def is_loose(text: str) -> bool:
    """Tell whether a text has two spaces in a row or a space at an end."""
    return "  " in text or text[:1] == " " or text[-1:] == " "


def whitespace(text: str) -> str:
    """Make runs of spaces one space, drop spaces at line ends, keep at most one empty line."""
    text = _RUN_OF_SPACES.sub(" ", text)
    if "\n" in text:
        text = _EMPTY_LINES.sub("\n\n", _AROUND_BREAKS.sub("\n", text))
    return text.strip(" \n")


_MOJIBAKE = re.compile(
    "[\u00c2-\u00d6\u00d8-\u00f4]"  # lead bytes of UTF-8 read as Latin; never × and ÷
    "[\x80-\u00bfŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™]"
)
_GBK_SIGNS = "锛銆鐥鎮鏃鍙鐨涓"
_READ_AS_GBK = re.compile(f"[{_GBK_SIGNS}]")
MOJIBAKE_CHARACTERS = _expanded("\u00c2-\u00d6\u00d8-\u00f4") | frozenset(_GBK_SIGNS)


def mojibake(text: str) -> str:
    """Repair text that was decoded with the wrong encoding ("æ‚£è€…", "鎮ｈ€呭彂鐑э紝").

    ftfy (Speer 2019) repairs UTF-8 read as Latin. UTF-8 read as GBK is repaired if nearly all of
    the text reads back, which the bytes of Chinese do not do by chance; characters of which a byte
    was lost become U+FFFD.
    """
    if _MOJIBAKE.search(text):
        import ftfy

        text = ftfy.fix_encoding(text)
    if _READ_AS_GBK.search(text):
        text = _from_gbk(text)
    return text


def _from_gbk(text: str) -> str:
    """Return the UTF-8 that was read as GBK, U+FFFD where a byte was lost; or the text as it is."""
    try:
        # Windows reads the byte 0x80 as the euro sign.
        raw = b"\x80".join(part.encode("gb18030") for part in text.split("€"))
    except UnicodeError:
        return text
    read = raw.replace("\ufffd".encode("gb18030"), b"\xff").decode("utf-8", "replace")
    read = re.sub("\ufffd+", "\ufffd", read)
    hanzi = len(re.findall(f"[{HANZI}]", read))
    lost = read.count("\ufffd")
    # Real Chinese text read this way is lost nearly everywhere, but for accidents such as 联通.
    return read if hanzi >= 3 and lost * 4 <= hanzi else text


@functools.cache
def _converter() -> Callable[[str], str]:
    import opencc

    return opencc.OpenCC("t2s").convert


_SIMPLIFIED_TOO = "薹吒袷"
"""Converted by OpenCC's table, but characters of simplified writing in their own right."""
_PARTS = re.compile(f"([{_SIMPLIFIED_TOO}])")


@functools.cache
def traditional_characters() -> str:
    """Return all characters that the conversion to simplified Chinese changes by themselves."""
    ranges = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0x20000, 0x2A6E0))
    characters = [chr(code) for codes in ranges for code in codes]
    converted = _converter()("\n".join(characters)).split("\n")
    pairs = zip(characters, converted, strict=True)
    return "".join(old for old, new in pairs if old != new and old not in _SIMPLIFIED_TOO)


def simplified(text: str) -> str:
    """Turn traditional Chinese into simplified Chinese (OpenCC's t2s, which knows phrases)."""
    convert = _converter()
    if not _PARTS.search(text):
        return convert(text)
    return "".join(
        part if part in _SIMPLIFIED_TOO else convert(part) for part in _PARTS.split(text)
    )


_NUMERALS = frozenset("〇零一二三四五六七八九十百千万亿两壹贰叁肆伍陆柒捌玖拾佰仟")
_IS_HANZI = re.compile(f"[{HANZI}]")
_RUN = re.compile(r"([^\d\s])\1+")
_MARKS = frozenset(",;:!?，。！？；：、")
_LINES = frozenset("-_=~—")
_TWICE = re.compile(r"(\D)\1(?!Hg)")
_WORTH = re.compile(r"([^\W\d])\1\1|([^\w\s])\2")


def has_repeats(text: str) -> bool:
    """Tell whether `repeats` may find something to shorten."""
    # Two patterns: the first is quick, and most Chinese texts end there (mmHg set aside).
    return _TWICE.search(text) is not None and _WORTH.search(text) is not None


def repeats(text: str, longest: int = 2) -> str:
    """Shorten repeated letters and Chinese characters to `longest`, punctuation to one.

    Digits, Chinese and Roman numerals, + - ↑ ↓ (grades) and * × (masks) are never shortened, nor
    runs of up to four capitals (AAA, SSS). Drawn lines (-----) become three characters long.
    """
    return _RUN.sub(lambda match: _run(match, longest), text)


def _run(match: re.Match, longest: int) -> str:
    run, character = match[0], match[1]
    if character in _MARKS:
        # "1,,234" must not become the number 1,234.
        around = match.string[max(match.start() - 1, 0)] + match.string[match.end() :][:1]
        return run if around.isdigit() and len(around) == 2 else character
    if character == "…":
        return run[:2]
    if character == "." or character in _LINES:
        return run[:3] if len(run) > (3 if character == "." else 4) else run
    if character in _NUMERALS or character in "ixIX":
        return run
    if "A" <= character <= "Z":
        return run[: max(longest, 4)]
    letter = "a" <= character <= "z" or _IS_HANZI.match(character)
    return run[:longest] if letter else run
