"""Web pages inside of notes: tags, entities and addresses, told apart from comparison signs."""

import html
import html.entities
import re

_BLOCK_TAGS = "p|br|div|tr|li|ul|ol|table|tbody|thead|h[1-6]|section|article|pre|hr|dl|dt|dd"
_INLINE_TAGS = (
    "span|b|i|u|s|a|em|strong|font|small|big|sup|sub|td|th|img|input|label|center|html|head|body|"
    "title|meta|link|style|script|button|form|select|option|textarea|blockquote|code|o:p|nobr|col"
)
_ATTRIBUTES = r"(?:\s+[A-Za-z_:][\w:.-]*(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>=]+))?)*\s*/?"
_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b[^<>]*>.*?</\1\s*>", re.S | re.I)
_RAISED = re.compile(rf"<(sup|sub)(?:{_ATTRIBUTES})>([^<>]*)</\1\s*>", re.I)
_BLOCK = re.compile(rf"</?(?:{_BLOCK_TAGS}){_ATTRIBUTES}>|</t[dh]\s*>", re.I)
_INLINE = re.compile(rf"</?(?:{_INLINE_TAGS}){_ATTRIBUTES}>|<!doctype[^<>]*>", re.I)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SUPERSCRIPTS = str.maketrans("0123456789+-()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ")
_SUBSCRIPTS = str.maketrans("0123456789+-()", "₀₁₂₃₄₅₆₇₈₉₊₋₍₎")


def markup(text: str) -> str:
    """Remove HTML tags by name, and resolve entities; "P<0.05" and "<140/90>" are no tags.

    10<sup>9</sup> becomes 10⁹; rows and paragraphs become lines, cells are parted by a space.
    """
    if "&" in text:
        text = _unescaped(text)
    if "<" in text:
        text = _HIDDEN.sub(" ", text)
        text = _RAISED.sub(_raised, text)
        text = _INLINE.sub("", _BLOCK.sub(_break, text))
    return text


def _unescaped(text: str) -> str:
    while (new := _ENTITY.sub(_entity, text)) != text:  # "&amp;lt;" was escaped twice
        text = new
    return text


def _entity(match: re.Match) -> str:
    name = match[0][1:]
    if not name.startswith("#"):
        return html.entities.html5.get(name, match[0])
    digits = name[1:-1]
    code = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
    if code in range(0xD800, 0xE000) or code > 0x10FFFF:
        return match[0]
    return html.unescape(match[0])


def _raised(match: re.Match) -> str:
    table, mark = (_SUPERSCRIPTS, "^") if match[1].lower() == "sup" else (_SUBSCRIPTS, "_")
    inside = match[2].strip()
    if all(ord(character) in table for character in inside):
        return inside.translate(table)
    return f"{mark}({inside})"


def _break(match: re.Match) -> str:
    return " " if match[0][:4].lower() in ("</td", "</th") and match[0][4:5] in "> \t" else "\n"


_URL = re.compile(
    r"(?:(?<![A-Za-z])(?:https?|ftp)://|(?<![A-Za-z0-9.@/])www\.)[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*"
    r"[A-Za-z0-9/#=_~-]",
    re.I,
)


def has_address(text: str) -> bool:
    """Tell whether `urls` may find an address."""
    return "://" in text or "www." in text or "WWW." in text


def urls(text: str) -> str:
    """Replace web addresses by a space; text behind one without a space stays if it is Chinese."""
    return _URL.sub(" ", text)
