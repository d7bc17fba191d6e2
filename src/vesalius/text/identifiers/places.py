"""Addresses, hospitals, wards, organisations and great ages.

A province (or Beijing, Tianjin, Shanghai, Chongqing) alone stays, as a state does in the American
Safe Harbor rule (45 CFR 164.514(b)(2)); anything smaller is an address. Hospitals that are named by
their rank alone (我院, 当地医院, 上级医院) name nobody and stay.
"""

import re
from collections.abc import Iterator
from functools import cache

from vesalius.text.identifiers import spans
from vesalius.text.identifiers.spans import Found

_HAN = r"[\u4e00-\u9fff]"
# Characters that end a place name in running text: no core of a unit holds them.
_CORE = r"[^\W\dA-Za-z在于住至到从由自来去往赴因与和及的为是系区县市省镇乡村路街道号,。;:、]"
_END = r"(?=$|[^\w]|\b)"
_PROVINCE = r"(?:{names})(?:省|市|自治区|壮族自治区|回族自治区|维吾尔自治区|特别行政区)?"
_CITY = rf"{_CORE}{{1,6}}(?:自治州|地区|市|州|盟)"
_DISTRICT = (
    rf"(?:{_CORE}{{1,8}}(?:自治县|自治旗|新区|开发区|高新区)|{_CORE}{{1,5}}(?:区(?!域|别|分|间)|县"
    rf"(?!级)|市|旗))"
)
_TOWN = (
    rf"{_CORE}{{1,6}}(?:街道办事处|街道办|街道|(?:[回满蒙苗壮侗瑶][族])?镇(?![静痛咳吐惊定])|乡"
    rf"(?!下)|苏木)"
)
_VILLAGE = (
    rf"{_CORE}{{1,7}}(?:村委会|村民小组|行政村|自然村|新村|村|社区|屯|庄(?!重)|寨|大队|农场|林场)"
    rf"(?:(?:第?[\d一二三四五六七八九十]{{1,3}})(?:组|队|社))?"
)
_ROAD = (
    rf"(?:{_CORE}|[\d一二三四五六七八九十]){{1,8}}(?:大道|大街|胡同|路(?!过|径)|街|巷|弄|里(?=\d))"
    rf"(?:[东西南北中]{{1,2}}(?:路|段|街))?(?:[东西南北中一二三四五六七八九十]段)?"
)
_NUMBER = (
    r"(?:\s?(?:附|甲|乙)?(?:\d+|[一二三四五六七八九十百]+)(?:-\d+)?\s?(?:号院|号楼|号|弄|支弄)"
    r"(?:附\d+号|之[\d一二三四五六七八九十]+)?)"
)
_ESTATE = (
    rf"(?:{_CORE}|[\dA-Za-z]){{2,10}}(?:小区|花园|家园|公寓|新苑|嘉园|花苑|苑|大厦|广场|公馆|别墅|"
    rf"宿舍|家属院|佳苑|城(?=\d))"
)
_BUILDING = r"(?:[\dA-Za-z一二三四五六七八九十]{1,4}\s?(?:期|号楼|栋|幢|座|楼|区))"
_ROOM = (
    r"(?:[\dA-Za-z一二三四五六七八九十]{1,4}\s?(?:单元|门|层|楼))?(?:[\dA-Za-z-]{1,7}\s?(?:室|房|"
    r"户|号)?)"
)
_TAIL = (
    rf"(?:{_TOWN})?(?:{_VILLAGE})?(?:{_ROAD})?(?:{_NUMBER})?(?:{_ESTATE}(?:[\dA-Z-]{{2,6}}"
    rf"(?![\dA-Za-z]))?)?(?:{_NUMBER})?"
    rf"(?:{_BUILDING}){{0,2}}"
    rf"(?:(?<=[楼栋幢座期号])-?{_ROOM})?"
)
_CUE = re.compile(
    r"(?:(?:家庭|现|常|居|户籍|户口|通讯|通信|联系|详细|单位|暂|邮寄|收件|患者|家庭现)?(?:住址|"
    r"地址|住所|居住地|所在地|住处|户籍地?|户口(?:所在地)?)|籍贯|出生地|"
    r"家住|现住在?|居住[于在]|住[于在](?!院)|长期居住[于在]?|常住|暂住[于在]?|暂居[于在]?|生[于在]"
    r"(?!我|本)|出生[于在]|原籍|祖籍)\s?(?:为|是)?\s?[:=]?\s?"
)
_FREE = re.compile(
    r"[^,。;\n、:()]{2,60}?(?=\s*(?:$|[,。;\n、()]|联系|电话|邮编|职业|民族|婚姻|工作|入院|性别|"
    r"年龄|病史|长大|无疫|否认|未到|\s))"
)
_ENGLISH_STREET = re.compile(
    r"(?<![\d.])\d{1,6}[A-Z]?,? (?:[NSEW]\.? |North |South |East |West )?(?:(?:[A-Z][\w'.-]*|"
    r"\d{1,3}(?:st|nd|rd|th)) ){1,4}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Drive|Dr|Lane|Ln|Boulevard|Blvd|Court|Ct|Way|Place|Pl|"
    r"Terrace|Ter|Square|Sq|Circle|Cir|Highway|Hwy|Parkway|Pkwy|Close|Crescent|Gardens|Row)\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|#|No)\.? ?#?\w{1,6})?"
    r"(?:,? (?:[A-Z][a-z]+ ?){1,3},? (?:[A-Z]{2}\b|[A-Z][a-z]+)(?:,? \d{5}(?:-\d{4})?)?|"
    r", [A-Z][a-z]+(?: [A-Z][a-z]+)?)?"
)
_APARTMENT = re.compile(
    r"(?<![\d.])\d{1,6} (?:[A-Z][\w'-]+ ){1,3}(?:Apt|Apartment|Suite|Ste|Unit)\.? ?#?\w{1,6}"
)
_CITY_STATE = re.compile(
    r"\b(?:[A-Z][a-z]+ ){0,2}[A-Z][a-z]+, (?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|"
    r"M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])\b(?: \d{5}(?:-\d{4})?)?"
)
_BOX = re.compile(r"\bP\.?\s?O\.? Box \d+", re.IGNORECASE)
_UK_POSTCODE = re.compile(
    r"(?:(?<=postcode )|(?<=postcode: )|(?<=, ))[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
)
_ENGLISH_CUE = re.compile(
    r"\b(?i:(?:lives?|living|resid(?:es|ing)|resident|native|moved|originally|travell?ed|home)"
    r"(?: \w+)? (?:in|at|of|from|to)|born in|[Aa]ddress(?: is)?\s?:?)\s+"
    r"(?P<value>(?:\d+ )?[A-Z][A-Za-z'-]+(?: [A-Z][A-Za-z'-]+){0,3}(?:, [A-Z][A-Za-z]+"
    r"(?: [A-Z][a-z]+)?(?: \d{5})?)?)"
)
_ZIP = re.compile(
    r"(?:邮政编码|邮编|zip(?: code)?|postcode|postal code)\s?(?:为|是|is)?\s?[:=]?\s?"
    r"(?P<value>\d{5,6}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2})",
    re.I,
)
_HOSPITAL = re.compile(
    rf"{_HAN}[\u4e00-\u9fff\d()·]{{0,22}}?(?:医院|卫生院|卫生服务(?:中心|站)|保健院|卫生所|卫生室|"
    rf"疾控中心|疾病预防控制中心|血站|康复中心|体检中心|急救中心|诊所|门诊部|医学中心|疗养院|"
    rf"养老院|护理院|福利院|医大[一二三]院)(?:[\u4e00-\u9fff]{{1,6}}(?:院区|分院))?"
)
_NUMBERED_HOSPITAL = re.compile(
    rf"{_HAN}{{2,8}}(?:附[一二三四五六属]{{1,2}}[一二三]?院|[省市县区]"
    rf"(?:第?[一二三四五六七八九十]{{1,2}}|中)院)"
)
_ENGLISH_HOSPITAL = re.compile(
    r"\b(?:(?:St\.?|Mt\.?|Mount|[A-Z][A-Za-z'.&-]+) (?:(?:of|and|the|for|de) )?){1,5}"
    r"(?:Hospitals?|Medical Cent(?:er|re)|Clinic|Infirmary|Health Cent(?:er|re)|Health System|"
    r"Healthcare|Nursing Home|Hospice|Rehabilitation Cent(?:er|re)|Cancer Cent(?:er|re)|"
    r"Surgery Center|Sanatorium|Institute)(?: of (?:[A-Z][a-z]+ ?){1,3})?"
)
_WARD = re.compile(
    rf"(?:(?!现|收|转|入|我院|住|在|于|至|由|送){_HAN}{{1,6}}?科)?"
    rf"(?:第?[\d一二三四五六七八九十]{{1,3}}\s?(?:病区|病房|病室|疗区|护理单元)|(?:病区|病房|病室)"
    rf"\s?[:]\s?[\dA-Za-z一-龥]{{1,8}})|"
    r"(?:床号|床位号?(?!\s?\d+\s?床)|病床号?|房号|病房号)\s?(?:为|是)?\s?[:#]?\s?"
    r"(?P<bed>[+加]?[\dA-Za-z]{1,4}"
    r"(?:-\d{1,3})?)|(?<![\dA-Za-z.])[+加]?\d{1,3}(?:-\d{1,2})?\s?床(?![位旁单头上边号])|"
    r"\b(?:Ward|Room|Rm|Bed|Bay|Unit)\s?(?:No\.?|#|:)?\s?(?=\w*\d)[A-Z]?-?\d{1,4}[A-Z]?"
    r"(?:-\d{1,2})?\b"
)
_ORGANISATION = re.compile(
    r"(?:工作单位|单位|就职[于在]|就读[于在]|任职[于在]|工作[于在]|毕业[于在]|雇主|学校)\s?"
    r"(?:名称)?\s?(?:为|是)?\s?[:=]?\s?(?P<value>[\u4e00-\u9fffA-Za-z()\d]{2,30}?(?:公司|集团|厂|"
    r"大学|学院|中学|小学|学校|幼儿园|银行|局|所|院|部|委员会|村委会|派出所|中心|店|站|队)"
    r"(?!\w{0,8}公司))"
    r"|(?P<school>[\u4e00-\u9fff]{2,8}?(?:中学|小学|大学|幼儿园|学院))(?=学生|"
    r"[一二三四五六七八九大]年级|读书|老师|教师|在读)"
    r"|(?P<bare>[\u4e00-\u9fff()]{3,20}?(?:有限责任公司|股份有限公司|有限公司|集团公司))"
)
_ENGLISH_WORK = re.compile(
    r"\b(?:works? (?:at|for)|employed (?:at|by)|employer:?|attends|student at)\s+(?P<value>"
    r"(?:[A-Z][\w&'.-]*)(?: (?:of |and |& )?[A-Z][\w&'.-]*){0,4})"
)
_AGE = re.compile(
    r"(?<![\d.])(?P<a>9\d|1[0-4]\d)(?=\s?(?:余|多)?\s?(?:周?岁|高龄老))(?!\s?[-~])|"
    r"(?P<han>(?:九十|一百(?:零|一)?)[一二三四五六七八九]?)(?=余?(?:周?岁|高龄))|"
    r"\b(?:aged?|age is|age:)\s*(?P<b>9\d|1[0-4]\d)\b(?!\s?(?:%|mm))|"
    r"(?<![\d.])(?P<c>9\d|1[0-4]\d)(?=[ -]?(?:years?|yrs?|y)[ -]?(?:old\b|of age\b)|[ -]?y[/.]?o\b|"
    r"[ -]?yo[MF]?\b)|"
    r"年龄\s?[:]?\s?(?P<e>9\d|1[0-4]\d)(?!\d|\.\d)",
    re.IGNORECASE,
)
_STRIP = re.compile(
    r"^.*(?:就诊于|转诊至|住院于|收住|收入|收治于|送至|送往|送入|急送|转至|转入|转往|转院至|来到|"
    r"先后在|先后到|曾在|曾到|曾于|前往|遂至|遂到|就诊|入住|外院|辗转|[系为](?=\w{4})|"
    r"[日天年月前后时并遂即再又曾先](?:在|至|到|于|去|赴|由|往|从)|[,。;:、(\d]|(?:^|"
    r"[^\u4e00-\u9fff])[在至到于去赴由往从经被]|发现|被|由|在|于|至|到|去|赴|从|往|入|送|诉|因|"
    r"我县|我市|患者|本人|请|^[和与及经来])"
)
_GENERIC = re.compile(
    r"^(?:我|本|该|外|当地|外地|某|上级|下级|基层|社区|附近|多家|各|其他|其它|另一|一家|个体|私人|"
    r"私立|公立|三甲|三级|二级|一级|甲等|综合|专科|县|市|省|区|乡镇?|镇|村|"
    r"医|国内|国外|省级|市级|县级|大型|地方|转|出|住|入|门诊|急诊|家庭|原|同|两|几|人民|中|中医|"
    r"精神|传染病|妇幼|儿童|口腔|眼科|妇产|肿瘤|胸科|结核|在|到|去|至|于|小|大|离|进|来|回|路过|过|"
    r"外省|外市|省内|市内|本市|本地|本省|社会|家附近)*"
    r"(?:第?[一二三四五六七八九十])?(?:人民|中心)?(?:医院|卫生院|诊所|卫生所|卫生室|卫生服务中心|"
    r"卫生服务站|体检中心|康复中心|门诊部|养老院|保健院|急救中心|疾控中心|院)$"
)


@cache
def _province() -> str:
    return _PROVINCE.format(names="|".join(spans.in_order("provinces")))


@cache
def _address() -> re.Pattern:
    """An address: from a province down, from a city down, or a street with a number."""
    full = rf"{_province()}\s?(?:{_CITY})?\s?(?:{_DISTRICT}){{0,2}}\s?{_TAIL}"
    city = rf"(?:{_cities()})市?\s?(?:{_DISTRICT}){{0,2}}\s?{_TAIL}"
    street = rf"(?:{_DISTRICT})?(?:{_TOWN})?{_ROAD}{_NUMBER}{_TAIL}"
    estate = rf"{_ESTATE}{_BUILDING}{{1,2}}(?:-?{_ROOM})?"
    village = (
        rf"(?:{_CITY})?{_CORE}{{1,5}}[县市区旗]{_TOWN}(?:{_TAIL})|{_TOWN}{_VILLAGE}{_TAIL}|"
        rf"{_DISTRICT}{_ROAD}{_TAIL}"
    )
    return re.compile(
        rf"(?P<full>{full})|(?P<city>{city})|(?P<village>{village})|(?P<street>{street})|"
        rf"(?P<estate>{estate})"
    )


@cache
def _cities() -> str:
    return spans.alternatives(spans.words("cities"))


@cache
def _bare_city() -> re.Pattern:
    before = (
        r"(?:来自|居住|住|于|在|到|赴|去|至|往|籍|返回|返|回|离开|抵达?|往返|途经|路经|经过|前往|"
        r"从|自)"
    )
    after = (
        r"(?=人(?!工|体)|籍|旅[居游行]|居住|接触史|出差|打工|务工|工作|生活|上学|返|来|疫区|等|"
        r"两地|、|,|"
        r"。|;|$)"
    )
    return re.compile(
        rf"{before}(?P<a>{_cities()})(?!新碱|瑞滨|西汀|地辛|医)|(?P<b>(?:{_cities()})"
        rf"){after}"
    )


def find(text: str) -> Iterator[Found]:
    """Yield addresses, hospitals, wards, organisations and ages over 89 in folded text."""
    yield from _addresses(text)
    yield from _hospitals(text)
    for match in _WARD.finditer(text):
        group = "bed" if match["bed"] else 0
        yield Found(*match.span(group), "ward", 48)
    for pattern in (_ORGANISATION, _ENGLISH_WORK):
        for match in pattern.finditer(text):
            yield Found(*match.span(match.lastgroup), "organisation", 53)
    for match in _AGE.finditer(text):
        yield Found(*match.span(match.lastgroup), "age", 66)


def _addresses(text: str) -> Iterator[Found]:
    for match in _address().finditer(text):
        if _is_specific(match):
            yield Found(*match.span(), "address", 50)
    for match in _bare_city().finditer(text):
        yield Found(*match.span(match.lastgroup), "address", 44)
    yield from _after_cue(text)
    # "Cruz, MD" is rather a doctor than a place in Maryland: names win over towns.
    for pattern, rank in (
        (_ENGLISH_STREET, 62),
        (_APARTMENT, 61),
        (_CITY_STATE, 49),
        (_BOX, 62),
        (_UK_POSTCODE, 62),
    ):
        for match in pattern.finditer(text):
            yield Found(*match.span(), "address", rank)
    for pattern in (_ENGLISH_CUE, _ZIP):
        for match in pattern.finditer(text):
            if not _is_generic(match["value"].split()[0]):
                yield Found(*match.span("value"), "address", 61)


def _is_generic(word: str) -> bool:
    """Whether "lives in" before this word says nothing: "in Stable Condition"."""
    return word.lower() in spans.words("english_generic") or word in spans.words(
        "english_not_names"
    )


def _is_specific(match: re.Match) -> bool:
    """Whether it says more than the province; a lone "心前区" or "三区" is no place."""
    if match["full"]:
        return re.fullmatch(_province(), match["full"]) is None
    return (
        bool(match["city"] and re.search(r"[市区县路街镇乡村号]", match["city"]))
        or not match["city"]
    )


def _after_cue(text: str) -> Iterator[Found]:
    """Yield what follows 住址:, up to the end of the clause, if it is more than a province."""
    for match in _CUE.finditer(text):
        value = _FREE.match(text, match.end())
        labelled = match[0].rstrip()[-1:] in ":="
        if (
            not value
            or re.fullmatch(_province() + "(?:人)?", value[0])
            or value[0] in spans.words("no_name")
        ):
            continue
        place = re.search(r"[省市县区镇乡村路街号栋楼室庄屯组州盟旗]", value[0]) or re.match(
            _cities(), value[0]
        )
        if (labelled or place) and not re.match(
            r"[原本当][籍地]|家中|农村|城[市镇]|郊区|我院|外院", value[0]
        ):
            yield Found(*value.span(), "address", 51)


def _hospitals(text: str) -> Iterator[Found]:
    for pattern in (_HOSPITAL, _NUMBERED_HOSPITAL):
        for match in pattern.finditer(text):
            lead = _STRIP.match(text[match.start() : match.end() - 2])
            start = match.start() + (len(lead[0]) if lead else 0)
            name = text[start : match.end()]
            if len(name) > 3 and not _GENERIC.match(name):
                yield Found(start, match.end(), "hospital", 52)
    for match in _ENGLISH_HOSPITAL.finditer(text):
        yield from _english_hospital(match)


def _english_hospital(match: re.Match) -> Iterator[Found]:
    pieces = list(re.finditer(r"\S+", match[0]))
    while pieces and pieces[0][0].lower().strip(".") in spans.words("english_generic") - {
        "university",
        "state",
        "children's",
    }:
        pieces.pop(0)
    named = [
        piece
        for piece in pieces[:-1]
        if piece[0].lower()
        not in spans.words("english_generic")
        | {"medical", "health", "nursing", "rehabilitation", "surgery"}
    ]
    if named:
        yield Found(match.start() + pieces[0].start(), match.end(), "hospital", 63)
