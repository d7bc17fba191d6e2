"""Chinese names of people: a surname with one or two characters, where something says "a person".

Nothing in a name's characters proves it (高 is a surname and begins 高血压), so a name needs a
cue: a label (姓名:), a role (患者, 其子), a title behind it (张医生), or "，男，" after it. What
the dictionary of the word cutter or the package's own list knows as an ordinary word is no name
after a weak cue. A name that was found once is found again wherever it stands in the same text.
"""

import re
from collections.abc import Iterator
from functools import cache

from vesalius.text.identifiers import chinese_cues as cues
from vesalius.text.identifiers import spans
from vesalius.text.identifiers.spans import Found


def find(text: str) -> Iterator[Found]:
    """Yield names in folded text; every occurrence of a name that was found once."""
    found = list(_cued(text))
    yield from found
    yield from _again(text, found)


def _cued(text: str) -> Iterator[Found]:
    for match in cues.LABEL.finditer(text):
        yield from _listed(text, match.end(), sure=True, rank=58)
    for match in cues.WEAK.finditer(text):
        yield from _listed(text, match.end(), sure=False, rank=54)
    yield from _before_titles(text)
    yield from _before_sex(text)
    yield from _opening(text)
    yield from _alone(text)
    yield from _masked(text)
    yield from _dotted(text)


def _listed(text: str, at: int, *, sure: bool, rank: int) -> Iterator[Found]:
    """Yield the names of a list: "助手: 李明、赵亮"."""
    end = name_at(text, at, sure=sure)
    while end:
        yield Found(at, end, "name", rank)
        match = cues.SEPARATORS.match(text, end)
        if not match:
            return
        # After a blank another label may stand, after a sign of a list rather a name.
        at, end = match.end(), name_at(text, match.end(), sure=False)


def name_at(text: str, at: int, *, sure: bool) -> int | None:
    """Return where the name that begins at `at` ends, or None.

    Args:
        sure: a label promises a name here, so that rare surnames and words are taken too.
    """
    masked = _masked_end(text, at)
    if masked:
        return masked
    run = cues.HAN.match(text, at)
    if not run:
        return None
    letters = text[at : min(run.end(), at + 8)]
    if sure and len(letters) == 1:
        return _spaced(text, at)
    if any(letters.startswith(word) for word in _refused(sure, letters)):
        return None
    far = _of_another_people(text, at, sure)
    if far:
        return far
    surname = _surname(letters)
    if not surname:
        return _rare(text, at, letters) if sure else None
    length = _length(text, at, letters, surname, sure)
    return at + length if length else None


def _masked_end(text: str, at: int) -> int | None:
    """Return the end of 张某某, 李××."""
    size = _surname(text[at : at + 2])
    match = cues.MASKED.match(text, at + size) if size else None
    return match.end() if match else None


def _spaced(text: str, at: int) -> int | None:
    """Return the end of a name written with gaps: "张 三", "李 小 明"."""
    match = cues.SPACED.match(text, at)
    return match.end() if match and text[at] in spans.characters("surnames") else None


@cache
def _nouns(first: str) -> tuple[str, ...]:
    return tuple(word for word in spans.words("not_names") if word[0] == first)


@cache
def _empty_answers() -> tuple[str, ...]:
    return tuple(spans.words("no_name"))


def _refused(sure: bool, letters: str) -> tuple[str, ...]:
    return _empty_answers() if sure else _nouns(letters[0]) + _empty_answers()


def _surname(letters: str) -> int:
    """Return the length of the surname that the letters begin with, or 0."""
    if letters[:2] in spans.words("compound_surnames"):
        return 2
    return int(letters[:1] in spans.characters("surnames"))


def _rare(text: str, at: int, letters: str) -> int | None:
    """After a label: two to four characters that stand alone are a name whatever they are."""
    alone = cues.HAN.match(text, at).end() - at
    fits = 2 <= alone <= 4 and not set(letters[:alone]) & spans.characters("never_given")
    return at + alone if fits else None


def _of_another_people(text: str, at: int, sure: bool) -> int | None:
    """Return the end of a Uyghur, Tibetan, Mongolian or Kazakh name without its dot: 阿依古丽."""
    letters = text[at : min(cues.HAN.match(text, at).end(), at + 9)]
    stems = [
        letters.find(stem) + len(stem) for stem in spans.words("other_stems") if stem in letters
    ]
    for size in range(min(7, len(letters)), 1, -1):
        if any(end <= size for end in stems) and (_closes(text, at + size)):
            return at + size
    return None


def _length(text: str, at: int, letters: str, surname: int, sure: bool) -> int | None:
    """Return the number of characters of the name: two given characters if they fit, or one."""
    fitting = [
        surname + given
        for given in (2, 1)
        if len(letters) >= surname + given and _givens_fit(text, at + surname, given)
    ]
    closed = [size for size in fitting if _closes(text, at + size)]
    if len(closed) == 2 and _rather_follows(text, at + surname):
        closed = closed[::-1]
    for size in closed:
        if sure or cues.SEX.match(text, at + size) or not _ordinary(letters, size, surname):
            return size
    if closed or not fitting:
        return None
    # Nothing known follows: after a label trust any characters, else usual ones alone.
    if sure:
        return fitting[0]
    usual = spans.characters("given_characters")
    for size in fitting:
        if set(letters[surname:size]) <= usual and not _ordinary(letters, size, surname):
            return size if _trusted(letters, size) else None
    return None


def _trusted(letters: str, size: int) -> bool:
    """Whether the surname is no word, or the cutter takes exactly this for a person."""
    import rjieba

    if letters[0] not in spans.characters("ambiguous_surnames"):
        return True
    first, tag = rjieba.tag(letters)[0]
    return tag.startswith("nr") and len(first) == size


def _rather_follows(text: str, at: int) -> bool:
    """Whether the second given character rather begins the next word: 杨柳|表示, 常丽|常."""
    second = text[at + 1]
    usual = spans.characters("given_characters") - {"为"}
    return (
        second in spans.words("followers")
        and second not in usual
        and bool(cues.HAN.match(text, at + 2))
    )


def _givens_fit(text: str, at: int, count: int) -> bool:
    """Whether these characters can be a given name; 男 and 女 only with the sex still to come."""
    given = text[at : at + count]
    if set(given) & spans.characters("never_given"):
        return False
    if set(given) & {"男", "女"}:
        return (
            bool(cues.SEX.match(text, at + count)) and text[at + count : at + count + 1] in ",、 (/"
        )
    return True


def _closes(text: str, at: int) -> bool:
    """Whether a name can end here: the text's end, a sign, or a word that follows names."""
    if not cues.HAN.match(text, at):
        return True
    return any(text[at : at + size] in spans.words("followers") for size in (1, 2, 3))


def _ordinary(letters: str, size: int, surname: int) -> bool:
    """Whether a dictionary knows what stands here as a word of the language and not as a name."""
    import rjieba

    first, tag = rjieba.tag(letters)[0]
    doubtful = letters[0] in spans.characters("ambiguous_surnames")
    if len(first) < 2 or tag.startswith("nr"):
        return doubtful and len(first) == 1 and tag in ("d", "p", "c", "v") and size == surname + 1
    if tag == "x":  # characters that the dictionary does not know
        return False
    return rjieba.has_word(first) if hasattr(rjieba, "has_word") else True


def _before_titles(text: str) -> Iterator[Found]:
    """Yield the names before 医生, 主任, 女士."""
    for match in cues.BEFORE_TITLE.finditer(text):
        at = match.start()
        for size in (4, 3, 2, 1):
            start = at - size
            if start >= 0 and _is_before_title(text, start, at):
                yield Found(start, at, "name", 56)
                break


def _is_before_title(text: str, start: int, end: int) -> bool:
    name = text[start:end]
    masked = _masked_end(text, start)
    if masked == end:
        return True
    surname = _surname(name)
    if not surname or not len(name) - surname <= 2 or not cues.HAN.fullmatch(name):
        return False
    if len(name) > 1 and name[0] in cues.OPENERS and _surname(name[1:]):
        return False  # 由孔警官: 由 belongs to what stands before
    opened = (
        start == 0
        or bool(cues.EDGE.search(text[max(0, start - 1) : start]))
        or text[start - 1] in cues.OPENERS | {"小", "老"}
    )
    if not opened or set(name[surname:]) & spans.characters("never_given"):
        return False
    if name in spans.words("not_before_titles") or any(
        name.startswith(word) for word in _nouns(name[0])
    ):
        return False
    # The title may begin earlier: "主任" inside "副主任医师", "高年资医师".
    return not (len(name) == 1 and name in "班全") and not _ordinary(name, len(name), surname)


def _before_sex(text: str) -> Iterator[Found]:
    """Yield "张三，男，65岁" at the start of a sentence."""
    for match in re.finditer(r"(?:^|(?<=[\n。;:.\s\"(|,]))(?=[\u4e00-\u9fff])", text):
        at = match.end()
        run = cues.HAN.match(text, at)
        for size in (2, 3, 4):
            name = text[at : at + size]
            surname = _surname(name)
            fits = surname and 1 <= len(name) - surname <= 2 and at + size <= run.end()
            if fits and cues.SEX.match(text, at + size) and _plausible(name, surname):
                yield Found(at, at + size, "name", 57)
                break


def _plausible(name: str, surname: int) -> bool:
    never = spans.characters("never_given") | {"男", "女"}
    return not set(name[surname:]) & never and not any(
        name.startswith(word) for word in _nouns(name[0]) + _empty_answers()
    )


def _opening(text: str) -> Iterator[Found]:
    """Yield the name that begins a sentence ("翟桂英诉头痛"), if its surname is no word."""
    for match in re.finditer(r"(?:^|(?<=[\n。;.]))\s*(?=[\u4e00-\u9fff]{3})", text):
        at = match.end()
        surname = _surname(text[at : at + 2])
        if not surname:
            continue
        for size in (surname + 2, surname + 1):
            name = text[at : at + size]
            usual = set(name[surname:]) <= spans.characters("given_characters")
            speaks = usual and cues.SPEAKS.match(text, at + size) and _plausible(name, surname)
            letters = text[at : at + size + 2]
            if speaks and not _ordinary(letters, size, surname) and _trusted(letters, size):
                yield Found(at, at + size, "name", 53)
                break


def _alone(text: str) -> Iterator[Found]:
    """Yield what stands by itself and looks like a name in every character: "取材:洪磊  "."""
    for match in cues.HAN.finditer(text):
        name, surname = match[0], _surname(match[0])
        if not surname or not 1 <= len(name) - surname <= 2:
            continue
        if "-" in text[max(0, match.start() - 1) : match.end() + 1]:
            continue  # half of an eponym
        usual = set(name[surname:]) <= spans.characters("given_characters")
        clear = name[0] not in spans.characters("ambiguous_surnames")
        if usual and clear and _plausible(name, surname) and not _known_word(name):
            yield Found(*match.span(), "name", 51)


def _known_word(name: str) -> bool:
    """Whether the dictionary has it as something else than a name of a person."""
    import rjieba

    tagged = rjieba.tag(name)
    return len(tagged) == 1 and rjieba.has_word(name) and not tagged[0][1].startswith("nr")


def _masked(text: str) -> Iterator[Found]:
    """Yield 王某, 李某某, 刘××: the surname is still there."""
    for match in cues.HIDDEN.finditer(text):
        surname = match["surname"]
        if surname not in spans.characters("surnames"):
            continue
        clear = surname not in spans.characters("ambiguous_surnames")
        if clear or cues.EDGE.search(text[max(0, match.start() - 1) : match.start()]):
            yield Found(*match.span(), "name", 55)


def _dotted(text: str) -> Iterator[Found]:
    """Yield 买买提·艾力, unless a disease or a sign is named so (吉兰·巴雷综合征)."""
    for match in cues.DOTTED.finditer(text):
        start, end = match.span()
        # "患者买买提·艾力": the cue is taken for a part of the name, and comes off again.
        dot = text.index("·", start)
        cue = max((m.end() for m in cues.WEAK.finditer(text, max(0, start - 8), dot)), default=-1)
        start = cue if start < cue < dot else start
        last = text[text.rindex("·", 0, end) : end]
        tail = re.search(cues.TITLE + r"$|(?:因|诉|于|男|女|的|,|在|入院).*$", last)
        end = end - len(tail[0]) if tail else end
        if not cues.EPONYM.search(text[start : end + 4]):
            yield Found(start, end, "name", 59)


def _again(text: str, found: list[Found]) -> Iterator[Found]:
    """Yield the other places of names that were found, if they are no words besides."""
    import rjieba

    names = {text[one.start : one.end] for one in found}
    for name in names:
        tagged = rjieba.tag(name)
        word = len(tagged) == 1 and not tagged[0][1].startswith(("nr", "x"))
        if len(name) < 2 or not cues.HAN.match(name):
            continue
        for match in re.finditer(re.escape(name), text):
            # 高峰 is also a peak: such a name must begin a clause and be followed as names are.
            begins = cues.EDGE.search(text[max(0, match.start() - 1) : match.start()]) and _closes(
                text, match.end()
            )
            if begins or not word or len(name) > 2:
                yield Found(*match.span(), "name", 52)
