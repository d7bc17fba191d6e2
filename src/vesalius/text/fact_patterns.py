"""The patterns by which `facts` finds numbers, negations and the endings of medical words."""

import re

PSEUDO = "pseudo"
"""Name of the group of phrases that only look like a negation."""
POSTPOSED = "postposed"
"""Name of the group of cues that stand behind what they negate."""

# ---------------------------------------------------------------------------------- numbers
_DIGITS = r"[0-9０-９]+(?:[.．][0-9０-９]+|,[0-9]{3}(?![0-9]))*"
_POWER = r"(?:\s?[×xX*]\s?10(?:\^[-−]?[0-9]+|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)?(?:/[A-Za-zμµ]+)?)?"
_NUMERAL = r"第?[〇零一二两三四五六七八九十百千万亿半数几壹贰叁肆伍陆柒捌玖拾廿]+"
_MEASURE = (
    r"(?:岁半|周岁|月龄|岁|天|日|年半|年|个半月|个多月|个月|个|月|周|星期|礼拜|小时|分钟|分|秒|次|片|粒|支|瓶|袋|包|颗|枚"
    r"|毫升|毫克|微克|千克|公斤|克|斤|升|厘米|毫米|公分|米|摄氏度|度|级|期|型|人|处|根|条|例|胎|孕|产|餐|顿|倍|成|单位|国际单位"
    r"|万单位|滴|块|只|口|杯|两|点|时|肋间|椎体|指|横指|楼|元|名|位|类|种|组|套|联|侧|叶|段|枕|毫米汞柱|千帕)"
)
_LATIN_UNIT = (
    r"(?:[A-Za-zμµΩ℃℉°%％‰][A-Za-zμµ℃°%％²³]*"
    r"(?:[/·.][A-Za-zμµ0-9²³]+(?:\.[0-9]+)?(?:\^[0-9]+|[⁰¹²³⁴⁵⁶⁷⁸⁹]+)?)*)"
)
_SPACED_UNIT = (
    r"(?:[\s-](?:mg|ml|mL|g|kg|mcg|[µμ]g|L|dL|mmHg|mmol|mm|cm|m|bpm|years?|yrs?|months?|weeks?|days?"
    r"|hours?|hrs?|minutes?|mins?|seconds?|times?|tablets?|capsules?|units?|percent|degrees?"
    r"|beats?|breaths?|packs?|drinks?|doses?|puffs?|drops?|lbs?|pounds?|inches|feet|°?[CF])"
    r"(?:/[A-Za-z0-9]+)*(?![A-Za-z]))"
)
_RELATION = r"(?:左右|上下|以上|以下|以内|之?内|之?前|之?后|余)?"
_SIGN = (
    r"(?:[<>≤≥＜＞≦≧=＝≈±~～+＋−-]\s?|大约|约|近|不足|超过|大于|小于|高于|低于|至少|最多|最高|最低|每"
    r"|(?:\b(?:over|under|about|approximately|at least|at most|less than|more than|up to)\s))?"
)
_ITEM = (
    rf"{_DIGITS}{_POWER}(?:(?:[余多]|[几来])?{_MEASURE}|{_SPACED_UNIT}|\s?{_LATIN_UNIT}(?![A-Za-z])"
    rf"|{_LATIN_UNIT})?{_RELATION}"
)
_ZH_ITEM = rf"{_NUMERAL}[余多来]?{_MEASURE}{_RELATION}"
_EITHER = rf"(?:{_ITEM}|{_ZH_ITEM}|{_NUMERAL}(?=[-–—~～至到]))"
_JOIN = r"\s?[-–—−~～至到/／:：×xX*、]\s?"
_WORDS = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|several|few|half)"
_QUALIFIERS = (
    r"[ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅰⅱⅲⅳⅴⅵⅶⅷⅸⅹ]+[级期度型]?[a-cA-C]?"
    r"|[IVX]+(?=[级期度型])[级期度型]"
    r"|[①-⑳]|[↑↓]+|[(（][+＋±\-－−]+[)）]|[+＋±]{1,4}"
    r"|左右|左侧|右侧|双侧|两侧|单侧|对侧|同侧|左|右|双|单纯|单"
    r"|\b(?:[Gg]rade|[Ss]tage|[Cc]lass|[Tt]ype)\s[IVX]+[a-cA-C]?\b"
    r"|\b(?:[Ll]eft|[Rr]ight|[Bb]ilateral(?:ly)?|[Uu]nilateral(?:ly)?|[Oo]nce|[Tt]wice)\b"
    r"|(?<![A-Za-z0-9])(?:[bBtTqQ][iI][dD]|[qQ][dDnNoO]|[qQ][0-9]{1,2}[hH]|[pP]\.?[oO]|[iI][vVmM]"
    r"|[pP][rR][nN])(?![A-Za-z0-9])"
    rf"|\b(?i:{_WORDS}){_SPACED_UNIT}"
)
_FIRST = (
    r"(?=[0-9０-９〇零一二两三四五六七八九十百千万亿半数几壹贰叁肆伍陆柒捌玖拾廿第<>≤≥＜＞≦≧=＝≈±~～+＋−\-大约近不超小高低至最每"
    r"Ⅰ-ⅹ①-⑳↑↓(（左右双两单对同IVXa-zA-Z])"
)
NUMBER = re.compile(
    rf"{_FIRST}(?:(?<![A-Za-z0-9]){_SIGN}{_EITHER}(?:(?:{_JOIN})?{_SIGN}{_EITHER})*"
    rf"|[A-Za-z]*{_DIGITS}|{_QUALIFIERS})"
)
"""A number with sign, power, unit, range and relation; a grade; a side; an arrow or plus sign."""

# --------------------------------------------------------------------------------- negations
_PSEUDO_CUES = (
    r"无锡|无论|无非|无菌|无名|无创|无影|无机|无意|无线|无痛(?=胃镜|肠镜|分娩|人流)|无功而返"
    r"|不仅|不但|不过|不料|不久|不同|不断|不时|不等|不管|不论|不详|不足|不得不|不由|不孕|不育|不可逆|不锈钢"
    r"|未来|未婚|未知|未成年|未必|没收|没落|莫非"
    r"|不能?除外|不能?排除"
    r"|\b(?i:not only|no doubt|not necessarily|not certain|no\.(?=\s?\d)|cannot rule out"
    r"|cannot be ruled out|not ruled out|not be excluded)\b"
)
_ZH_CUES = (
    r"否认有?|并?无明显|并?无殊|并?无|均?未见明显|均?未见|未闻及?|未触及|未扪及|未查及|未引出|未探及|未及|未诉|未予|未行|未做"
    r"|未再|未曾|未能|未明确|未|没有|没|不伴有?|并非|绝非|不能|不会|不再|不可|不愿|不宜|不予|不需|不"
)
_EN_CUES = (
    r"\b(?i:denies|denied|denying|deny|without|negative for|no evidence of|no signs? of"
    r"|no history of|absence of|free of|never|neither|nor|cannot|can't|no|not|none)\b"
    r"|(?<=[a-z])n['’]t\b"
)
_POST_CUES = (
    r"(?:均|皆|呈|为)*阴性|[(（][-－−][)）]"
    r"|\b(?i:(?:is |was |are |were )?(?:negative(?! for)|absent|ruled out))\b"
)
CUE = re.compile(
    r"(?=[否并无均未没不绝莫皆呈为阴(（aAcCdDfFiInNrRwW])"
    rf"(?:(?P<{PSEUDO}>{_PSEUDO_CUES})|(?P<{POSTPOSED}>{_POST_CUES})|{_ZH_CUES}|{_EN_CUES})"
)
"""A negation cue; the last group's name tells a phrase that is none, and a postposed cue."""

_ZH_STOP = (
    r"但|然而|不过|而(?!言)|(?<![再曾未无及])出现|伴有?|可见|后(?!负荷|壁)"
    r"|[，。；：,;:！!？?\n（）()]"
)
ZH_CLAUSE = re.compile(
    # 无明显诱因 and its like negate the cause and nothing behind it
    rf"(?:(?:明显|确切|任何)?(?:诱因|原因)下?)|(?:(?!{_ZH_STOP}).)+",
    re.DOTALL,
)
"""What a Chinese cue governs, matched from the end of the cue."""

_EN_STOP = (
    r"[;:!?()\n，。；]|\.(?=\s|$)|\b(?i:but|however|although|though|except|aside from|which|who"
    r"|because|presents?|presented|presenting|reports?|reported|complains?|has|had|with|and has"
    r"|and is|and was)\b"
)
_EN_ITEM = rf"(?:(?!{_EN_STOP}|,).)+"
ENGLISH_CLAUSE = re.compile(
    # commas belong to the scope only in a list that ends with "or", "nor" or "and"
    rf"{_EN_ITEM}(?:(?:,{_EN_ITEM})*,\s*(?i:or|nor|and)\b{_EN_ITEM})?",
    re.DOTALL,
)
"""What an English cue governs."""

BACKWARD_STOP = re.compile(r".*(?:[，。；,;！!？?\n]|阳性|阴性|[(（][+＋]+[)）]|\.\s)", re.DOTALL)
"""All before the clause that a postposed cue governs."""

# ------------------------------------------------------------------------- endings of terms
SUFFIX = re.compile(
    r"(?=[缺软劳刺裂萎坏挫下闭漏瘘障麻不异效硬变病炎癌瘤症征疝痔疮疹癣痫癫疡痿瘫癖栓痛结囊息骨梗出衰感综畸狭硬增肥积水损脱破穿中休昏术霉沙洛地他普西拉替胶颗注口片丸镜造超电彩平血尿单])"
    r"(?:(?<![疾患看治发])病(?![情史人程因房区历案例理变床毒菌])|炎|癌|瘤|(?<!适应)症(?![状])|(?<![体象特])征(?![求象])|疝|痔|疮|疹"
    r"|癣|痫|疡|痿|瘫|痛|结石|囊肿|息肉|骨折|梗死|梗塞|出血|衰竭|感染|综合征|畸形|狭窄|硬化|增生|肥大|积液|水肿|损伤|脱位|破裂"
    r"|穿孔|中毒|休克|昏迷|(?<!手)术(?![前后中者式语])|霉素|沙坦|洛尔|地平|他汀|普利|西林|拉唑|替丁|替尼|单抗|沙星|胶囊|颗粒(?!感)"
    r"|注射液|口服液|片(?![段面状刻])|丸|镜(?![下检])|造影|超声|电图|彩超|平扫|血症|尿症|病史"
    r"|缺乏|缺损|软化|劳损|骨刺|裂|萎缩|坏死|挫伤|下垂|闭锁|漏|瘘|障碍|麻痹|不全|异常|效应|硬结|病变)"
)
"""The last characters of names of diseases, signs, operations, drugs and examinations."""

CONTEXT = re.compile(
    r"(?=[“\"「考诊确拟因患])(?:[“\"「]([^”\"」]{2,20})[”\"」]"
    r"|(?:考虑|诊断|确诊|拟诊|患有)为?([\u4e00-\u9fff]{2,12})"
    r"|因([\u4e00-\u9fff]{2,12}?)(?=[于在入住就来收到]))"
)
"""A name by what stands around it: quoted, after 考虑 or 诊断为, between 因 and 入院."""

TERM_BOUNDARY = re.compile(
    r".*(?:[^\u4e00-\u9fff]|[的了有为是及和与或并在于曾均患因予行查示见后前时伴被把将从给至到达]|出现|考虑|诊断|服用|口服|提示|应用|使用"
    r"|否认|明显|反复|发生|发现|感到|觉|诉|无|未|不)",
    re.DOTALL,
)
"""All before the name, within the few characters that can belong to it."""

ENGLISH_TERM_ENDINGS = (
    *("itis", "osis", "oma", "omas", "emia", "aemia", "pathy", "pathies", "ectomy", "otomy"),
    *("ostomy", "oscopy", "algia", "uria", "rrhea", "rrhoea", "pnea", "pnoea", "plegia", "paresis"),
    *("megaly", "penia", "cytosis", "olol", "pril", "sartan", "statin", "cillin", "mycin"),
    *("azole", "tidine", "dipine", "floxacin", "cycline", "mab", "tinib", "gliptin", "gliflozin"),
    *("parin", "xaban", "solone", "sone", "caine", "zepam", "zolam", "triptan", "oxetine"),
)
"""Endings of diseases, operations and the WHO's stems of drug names."""
