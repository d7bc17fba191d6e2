"""What stands in the place of personal data: invented, in the same form, the same for the same key.

Every choice is made by HMAC-SHA256 of a secret key (FIPS 198-1), so that the same value gives the
same surrogate in every process, and nobody without the key can try candidates. Surrogates of
numbers belong to nobody where the form allows it: identity and bank cards get a wrong check digit,
telephones a prefix that is not given to anyone.
"""

import hashlib
import hmac
import random
import re
from functools import cached_property

from vesalius.text.identifiers import numbers, spans


class Surrogates:
    """Invent replacements for one corpus.

    Args:
        key: secret bytes; two corpora with different keys cannot be linked.
    """

    def __init__(self, key: bytes):
        self._key = key

    def __getstate__(self):
        return {"_key": self._key}

    def __setstate__(self, state: dict):
        self._key = state["_key"]

    def number(self, *parts: str, below: int) -> int:
        """Return a number in [0, below) that depends on the key and the parts."""
        message = "\x1f".join(parts).encode("utf-8")
        digest = hmac.new(self._key, message, hashlib.sha256).digest()
        return int.from_bytes(digest[:12], "big") % below

    def invent(self, kind: str, original: str) -> str:
        """Return the surrogate of a value, which is never the value itself.

        Dates are not invented but shifted (`shifting.Shifter`).

        Raises:
            ValueError: there is no rule for `kind`.
        """
        rule = getattr(self, f"_{kind}", None)
        if rule is None:
            raise ValueError(f"no surrogates for {kind!r}; one of {', '.join(spans.KINDS)}")
        return rule(original)

    # Names: surname and given name are chosen apart, so that 张医生 and 张建国 stay one person.

    def _name(self, original: str) -> str:
        if re.match(r"[\u3400-\u9fff]", original):
            return self._chinese_name(original)
        pieces = re.split(r"([^\w'.]+)", original)
        words = [index for index in range(0, len(pieces), 2) if pieces[index]]
        given = len(words) > 1
        for place, index in enumerate(words):
            # "Smith, John" and "John Smith" end in the surname, or begin with it before a comma.
            comma = "," in original
            last = place == 0 if comma else place == len(words) - 1
            pieces[index] = self._english_word(pieces[index], last or not given)
        return "".join(pieces)

    def _english_word(self, word: str, surname: bool) -> str:
        bare = word.strip(".")
        if len(bare) == 1:
            return word.replace(bare, "ABCDEFGHJKLMNPRSTW"[self.number("initial", bare, below=18)])
        if bare.islower():  # a particle: de, van
            return word
        known = bare.title() in spans.words("english_given")
        names = spans.in_order("english_given" if known or not surname else "english_surnames")
        new = self._other(names, "english", bare.lower(), avoid=bare.title())
        return new.upper() if bare.isupper() else new

    def _chinese_name(self, original: str) -> str:
        if "·" in original or "•" in original:
            return self._other(spans.in_order("far_names"), "far", original)
        compact = re.sub(r"\s", "", original)
        size = 2 if compact[:2] in spans.words("compound_surnames") and len(compact) != 2 else 1
        surname = self._surname_of(compact[:size])
        rest = compact[size:]
        if rest and re.fullmatch(r"[某×XxＸ*＊○〇△]+", rest):
            return surname + rest
        usual = self._given
        chosen = "".join(
            usual[self.number("given", compact, str(place), below=len(usual))]
            for place in range(min(len(rest), 2))
        )
        if chosen and chosen == rest:
            chosen = usual[(usual.index(chosen[0]) + 1) % len(usual)] + chosen[1:]
        return surname + chosen

    @cached_property
    def _given(self) -> str:
        return "".join(dict.fromkeys(spans.in_order("given_characters")[0]))

    @cached_property
    def _surname_table(self) -> dict[str, str]:
        """A random cycle over the usual surnames: one to one, and none stays what it is."""
        names = [
            name
            for name in spans.in_order("surnames")[0]
            if name not in spans.characters("ambiguous_surnames")
        ]
        random.Random(self.number("surnames", below=1 << 64)).shuffle(names)
        return dict(zip(names, names[1:] + names[:1], strict=True))

    def _surname_of(self, surname: str) -> str:
        table = self._surname_table
        return table.get(surname) or self._other(tuple(table), "surname", surname)

    # Numbers keep their form: every digit and letter becomes another, signs stay.

    def _digits(self, original: str, *, keep: int = 0) -> str:
        fresh = []
        for place, character in enumerate(original):
            choice = self.number("digit", original, str(place), below=260)
            if place < keep:
                fresh.append(character)
            elif character.isdigit():
                fresh.append(str(choice % 10))
            elif character.isascii() and character.isalpha():
                fresh.append(chr((65 if character.isupper() else 97) + choice % 26))
            else:
                fresh.append(character)
        new = "".join(fresh)
        if new == original and original[-1:].isdigit() and keep < len(original):
            return new[:-1] + str((int(new[-1]) + 1) % 10)
        return new

    def _record_number(self, original: str) -> str:
        letters = re.match(r"[A-Za-z]*", original).end()  # the prefix names a kind of number
        return self._digits(original, keep=letters)

    _other_number = _ward = _record_number

    def _identity_card(self, original: str) -> str:
        new = self._digits(original)
        digits = re.sub(r"\D", "", new[:-1])
        if len(digits) != 17:
            return new
        wrong = (int(numbers.check_character(digits).replace("X", "0")) + 1) % 10
        return new[:-1] + str(wrong)

    def _bank_card(self, original: str) -> str:
        new = self._digits(original)
        wrong = (int(numbers.luhn_digit(re.sub(r"\D", "", new)[:-1])) + 1) % 10
        return new[:-1] + str(wrong)

    def _telephone(self, original: str) -> str:
        digits = re.sub(r"\D", "", original)
        new = self._digits(original)
        # 142 is no prefix of a Chinese operator; 555-01xx is kept free in North America.
        if re.fullmatch(r"(?:86)?1\d{10}", digits) and not re.match(r"1-?\D", original):
            return _overwrite(original, new, "142", at=len(digits) - 11)
        if len(digits) in (10, 11) and re.search(r"\d{3}[-. )]+\d{3}[-. ]\d{4}", original):
            return _overwrite(original, new, "55501", at=len(digits) - 7)
        return new

    def _email(self, original: str) -> str:
        return f"user{self.number('email', original.lower(), below=10**8):08d}@example.com"

    def _url(self, original: str) -> str:
        return f"https://example.com/{self.number('url', original, below=10**8):08d}"

    def _age(self, original: str) -> str:
        """Ages over 89 become one class, as the Safe Harbor rule asks."""
        return "90+" if original.isdigit() else "九十余"

    # Places keep their units (省, 市, 路, 号); the names before them become neutral words.

    def _address(self, original: str) -> str:
        if not re.search(r"[\u4e00-\u9fff]", original):
            return self._english_place(original)
        return self._renamed(original, spans.words("place_units"))

    def _organisation(self, original: str) -> str:
        chinese = re.search(r"[\u4e00-\u9fff]", original)
        return (
            self._renamed(original, spans.words("place_units"))
            if chinese
            else self._english_place(original)
        )

    def _hospital(self, original: str) -> str:
        if not re.search(r"[\u4e00-\u9fff]", original):
            *_, tail = re.split(
                r"(?=\b(?:Hospital|Medical|Clinic|Infirmary|Health|Nursing|Hospice|Rehab|Cancer|"
                r"Surgery|Institute))",
                original,
                maxsplit=1,
            )
            return f"{self._english_place_word(original)} {re.split(' of ', tail)[0]}"
        tail = next(
            (tail for tail in spans.in_order("hospital_endings") if original.endswith(tail)), "医院"
        )
        return self._place_word("hospital", original) + tail

    def _renamed(self, original: str, units: frozenset[str]) -> str:
        pattern = rf"([\u4e00-\u9fff·]+?)({spans.alternatives(units)})|(\d+)|([A-Za-z]+)"
        new, last = [], 0
        for match in re.finditer(pattern, original):
            skipped = original[last : match.start()]
            new.append(self._left_over(skipped))
            if match[1]:
                new.append(self._region(match[1], match[2]) + match[2])
            else:
                new.append(self._digits(match[0]))
            last = match.end()
        return "".join(new) + self._left_over(original[last:])

    def _region(self, name: str, unit: str) -> str:
        if unit in ("省", "自治区"):
            return self._other(spans.in_order("provinces")[:23], "province", name, avoid=name)
        return self._place_word("place", name)

    def _left_over(self, text: str) -> str:
        """Return signs and one-character units (号, 栋, 室) as they are, other Han as a word."""

        def replace(match: re.Match) -> str:
            word = match[0]
            units = "号栋幢座楼层室房户单元组队期附之门支"
            return word if set(word) <= set(units) else self._place_word("place", word)

        return re.sub(r"[\u4e00-\u9fff]+", replace, text)

    def _place_word(self, purpose: str, original: str) -> str:
        return self._other(spans.in_order("place_words"), purpose, original, avoid=original)

    def _english_place(self, original: str) -> str:
        kept = (
            r"Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Court|Ct|Way|Place|Pl|"
            r"Apt|Suite|Unit|Box|P|O"
        )

        def replace(match: re.Match) -> str:
            word = match[0]
            if any(map(str.isdigit, word)):
                return self._digits(word)
            return word if re.fullmatch(kept, word) else self._english_place_word(word)

        return re.sub(r"[A-Za-z][\w']*|\d\w*", replace, original)

    def _english_place_word(self, original: str) -> str:
        return self._other(
            spans.in_order("english_places"), "english place", original.lower(), avoid=original
        )

    def _other(self, options: tuple[str, ...], purpose: str, original: str, avoid: str = "") -> str:
        choice = self.number(purpose, original, below=len(options))
        return options[choice] if options[choice] != avoid else options[(choice + 1) % len(options)]


def _overwrite(original: str, new: str, digits: str, *, at: int) -> str:
    """Return `new` with `digits` at the digit place `at`."""
    characters = list(new)
    places = [place for place, character in enumerate(original) if character.isdigit()]
    for place, digit in zip(places[at:], digits, strict=False):
        characters[place] = digit
    return "".join(characters)
