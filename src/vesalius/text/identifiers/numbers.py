"""Numbers that stand for a person: identity cards, records, telephones, bank cards, and addresses
of the net.

A bare number is personal only where its own form proves it (a check digit, a telephone prefix);
otherwise a word in front of it has to say what it is. Values with units never match.
"""

import re
from collections.abc import Iterator
from datetime import date

from vesalius.text.identifiers.spans import Found

_LINK = r"\s*(?:号码|号|编号|码|number|no\.?|num\.?|#|id)?\s*(?:为|是|is|was)?\s*[:#=]?\s*"
_CODE = r"(?P<value>[A-Za-z]{0,6}[-_]?\d[\dA-Za-z]*(?:[-_/][\dA-Za-z]+)*)"

_RECORD = re.compile(
    r"(?:住院|病历|病案|门诊|急诊|就诊卡?|登记|挂号|影像|检查|检验|标本|条形?码|病理|体检|放射|"
    r"超声|心电图?|申请单?|流水|患者|病人|档案|健康卡|诊疗卡|条码|入院|健康档案|CT|MRI|MR|DR|X线|"
    r"胃镜|内镜|血库|处方|医嘱|随访|入组|受试者)\s*(?:号码|号|编号|ID号?|序号)\s*(?:为|"
    r"是)?\s*[:#=]?\s*" + _CODE,
    re.IGNORECASE,
)
_RECORD_EN = re.compile(
    r"\b(?:MRN|MR ?#|med(?:ical)?\.? rec(?:ord)?\.?|hospital|admission|patient|chart|account|"
    r"acct\.?|"
    r"accession|encounter|visit|case|specimen|record|unit|file|study|lab|sample|registration|FIN|"
    r"CSN|"
    r"PID|HRN)(?:(?:\s*(?:number|no\.?|num\.?|#|ID)\s*(?:is|was)?\s*[:#=]?\s*)|\s*[:#]\s*)"
    r"(?P<value>[A-Za-z]{0,4}[-_]?\d[\dA-Za-z]*(?:-[\dA-Za-z]+)*)",
    re.IGNORECASE,
)
_ID = re.compile(r"(?<![A-Za-z\u4e00-\u9fff-])ID\s?[:#=]\s?" + _CODE)
_MRN = re.compile(r"\b(?:MRN|HRN|CSN)\s*(?:is|was)?\s*[:#=]?\s*" + _CODE, re.IGNORECASE)
_CARD_CUE = r"(?:身份证|公民身份|居民身份|证件|identity card|ID card|national ID|identification)"
_CARD_NAMED = re.compile(
    _CARD_CUE + _LINK + r"(?P<value>\d[\d \-]{12,20}[\dXx]|[A-Za-z]{0,2}\d{6,17}[\dXx]?)",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<![\dA-Za-z.])(?:\d{6}[ -]?\d{8}[ -]?\d{3}[\dXx]|\d{15})(?![\dA-Za-z])")
_BANK_NAMED = re.compile(
    r"(?:银行卡|银行账|账户|账号|帐号|储蓄卡|信用卡|借记卡|工资卡|卡号|credit card|debit card|"
    r"bank account|"
    r"bank card|card)" + _LINK + r"(?P<value>\d[\d -]{6,22}\d)",
    re.IGNORECASE,
)
_BANK = re.compile(
    r"(?<![\d.A-Za-z-])(?:\d{16,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{1,3})?)(?![\d.A-Za-z-])"
)
_OTHER = re.compile(
    r"(?:护照|医保卡?|社保卡?|社会保障|医疗保险|保险单?|保单|军官证|士兵证|驾驶证|驾照|学生证|"
    r"工作证|工号|学号|执业证书?|"
    r"港澳通行证|通行证|残疾证|QQ|微信|wechat|passport|driver'?s? licen[cs]e|licen[cs]e|insurance|"
    r"policy|member|"
    r"medicare|medicaid|social security|SSN|NHS|NI|health card|device|serial|employee)"
    r"\s*(?:号码|号|编号|码|卡号|证号|number|no\.?|num\.?|#|ID)?\s*(?:为|是|is|was)?\s*[:#=]?\s*"
    r"(?P<value>(?=(?:[\w-]*\d){4}|[\d ]{6})[A-Za-z0-9][\w-]*(?: \d{2,4}){0,3})",
    re.IGNORECASE | re.ASCII,
)
_WECHAT = re.compile(
    r"(?:微信|wechat)(?:号|ID)?\s*(?:为|是)?\s*[:#]?\s*(?P<value>[A-Za-z][\w-]{5,19})", re.I | re.A
)
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z] ?·? ?"
    r"(?=[A-HJ-NP-Z0-9]*\d)[A-HJ-NP-Z0-9]{5,6}(?![A-Za-z0-9])"
)
_PHONES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Chinese mobile, with spaces or hyphens 3-4-4.
        r"(?<![\d.A-Za-z])(?:\(?\+?86\)?[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?![\d%]|\.\d)",
        # Chinese landline: the area code begins with 0; and 400/800 numbers.
        r"(?<![\d.])(?:\(?\+?86\)?[- ]?)?(?:\(0\d{2,3}\)|0\d{2,3}[- ])\s?[2-9]\d{6,7}(?:-\d{1,6})?"
        r"(?![\d%.])",
        r"(?<![\d.])0(?:10|2\d|[3-9]\d{2})[2-9]\d{6,7}(?![\d%.])",
        r"(?<![\d.-])[48]00-\d{3,4}-\d{3,4}(?![\d-])",
        # North America.
        r"(?<![\d.-])(?:\+?1[-. ])?(?:\(\d{3}\)\s?|\d{3}[-. ])\d{3}[-. ]\d{4}(?:\s*(?:x|ext\.?)"
        r"\s*\d{1,5})?(?![\d-])",
        # International, and the United Kingdom.
        r"(?<![\d.])\+\d{1,3}[- ]?(?:\(0\)[- ]?)?\d{1,5}(?:[- ]?\d{2,5}){1,4}(?!\d)",
        r"(?<![\d.])(?:\(0\d{2,4}\)|0\d{2,4}) \d{3,4} ?\d{3,4}(?![\d.])",
    )
)
_PHONE_NAMED = re.compile(
    r"(?:电话|手机|联系方式|传真|座机|热线|tel(?:ephone)?|phone|mobile|cell|fax|pager?|beeper|call"
    r"(?:ed)? (?:at|on))"
    r"(?:号码?|\s*(?:number|no\.?|#))?\s*(?:为|是|is|at)?\s*[.:#]?\s*"
    r"(?P<value>\(?\+?\d[\d() -]{4,18}\d)",
    re.IGNORECASE,
)
_MORE = re.compile(r"\s*(?:[,/、;]|或|和|or|and)\s*(?P<value>\d{7,12}|\d{3,4}-\d{7,8})(?!\d)")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}\s?@\s?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_URL = re.compile(r"(?:https?://|www\.)[A-Za-z0-9./?=&_%#:~-]+", re.IGNORECASE)
_IP = re.compile(
    r"(?<![\d.])(?<!EC )(?<!EC:)(?=(?:\d+\.){3}\d)(?=\S*\d\d\S*\d\d)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)"
    r"\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])"
)

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def check_character(digits: str) -> str:
    """Return the 18th character of a resident identity card (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(digits[:17], _WEIGHTS, strict=True))
    return "10X98765432"[total % 11]


def luhn_digit(digits: str) -> str:
    """Return the digit that completes a card number (ISO/IEC 7812-1, Luhn)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def is_identity_card(number: str) -> bool:
    """Whether it is the number of an identity card: birthday possible, check digit right."""
    digits = re.sub(r"[ -]", "", number).upper()
    if len(digits) == 15:  # issued until 1999: a year of two digits and no check digit
        return digits[0] in "12345678" and _possible("19" + digits[6:12])
    return (
        len(digits) == 18 and _possible(digits[6:14]) and check_character(digits[:17]) == digits[17]
    )


def _possible(day: str) -> bool:
    try:
        born = date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return False
    return 1880 <= born.year <= 2100


def find(text: str) -> Iterator[Found]:
    """Yield numbers, mail and net addresses in folded text."""
    yield from _fixed(text)
    for pattern, kind, rank in (
        (_CARD_NAMED, "identity_card", 91),
        (_BANK_NAMED, "bank_card", 75),
        (_OTHER, "other_number", 87),
        (_WECHAT, "other_number", 79),
        (_RECORD, "record_number", 85),
        (_RECORD_EN, "record_number", 84),
        (_MRN, "record_number", 86),
        (_ID, "record_number", 83),
    ):
        for match in pattern.finditer(text):
            yield Found(*match.span("value"), kind, rank)
    yield from _telephones(text)


def _fixed(text: str) -> Iterator[Found]:
    for pattern, kind, rank in (
        (_EMAIL, "email", 99),
        (_URL, "url", 98),
        (_IP, "other_number", 60),
        (_SSN, "other_number", 88),
        (_PLATE, "other_number", 70),
    ):
        for match in pattern.finditer(text):
            yield Found(*match.span(), kind, rank)
    for match in _CARD.finditer(text):
        if is_identity_card(match[0]):
            yield Found(*match.span(), "identity_card", 95)
    for match in _BANK.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        grouped = len(match[0]) > len(digits)
        if grouped or luhn_digit(digits[:-1]) == digits[-1]:
            yield Found(*match.span(), "bank_card", 92)


def _telephones(text: str) -> Iterator[Found]:
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            yield Found(*match.span(), "telephone", 82)
            yield from _further(text, match.end())
    for match in _PHONE_NAMED.finditer(text):
        yield Found(*match.span("value"), "telephone", 83)
        yield from _further(text, match.end())


def _further(text: str, at: int) -> Iterator[Found]:
    """Yield the second number of "电话 ... / ..."."""
    match = _MORE.match(text, at)
    if match:
        yield Found(*match.span("value"), "telephone", 81)
