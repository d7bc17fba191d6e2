"""Augmentation of Chinese clinical sentences: violations of facts and speed, beside the peers.

    python benchmarks/augmentation.py [--sentences 100000] [--peer-sentences 2000] [--kinds a,b]

Every sentence goes through every augmenter once. The violations are counted here, by code that
shares nothing with the package's certificate: numbers with what follows them by a plain pattern,
negation words with the next term, terms by their occurrences. Its list of terms is the one that
the sentences were made of, which is not the package's lexicon; with --unknown-diseases FILE (one
name a line) the sentences name those instead, which no lexicon has seen.
A crossover has two originals and is not counted. Speed is input sentences per CPU second of one
process, one new text each.
"""

import argparse
import contextlib
import io
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path


def _list(words: str) -> list[str]:
    return words.split()


DISEASES = _list(
    "高血压 2型糖尿病 冠心病 脑梗死 慢性支气管炎 支气管哮喘 慢性阻塞性肺疾病 肺结核 乙型肝炎 "
    "肝硬化 胆囊结石 胆囊炎 急性阑尾炎 胃溃疡 慢性胃炎 肾结石 前列腺增生 子宫肌瘤 宫颈炎 盆腔炎 "
    "甲状腺结节 甲亢 类风湿关节炎 痛风 腰椎间盘突出症 白内障 青光眼 过敏性鼻炎 湿疹 银屑病 "
    "缺铁性贫血 癫痫 帕金森病 心房颤动 心力衰竭 高脂血症"
)
SYMPTOMS = _list(
    "发热 咳嗽 咳痰 胸闷 胸痛 心悸 气促 头痛 头晕 恶心 呕吐 腹痛 腹胀 腹泻 便血 尿频 尿急 血尿 "
    "乏力 纳差 盗汗 水肿 关节痛 皮疹 晕厥 咯血 黑便 耳鸣 失眠 呼吸困难 肢体麻木 视物模糊"
)
DRUGS = _list(
    "阿司匹林 硝苯地平 二甲双胍 阿莫西林 头孢呋辛 布洛芬 奥美拉唑 氨氯地平 阿托伐他汀 胰岛素 "
    "左氧氟沙星 美托洛尔 泼尼松 氯吡格雷"
)
EXAMS = _list("血常规 心电图 胸部CT 腹部彩超 头颅MRI 胃镜 肝功能 尿常规 空腹血糖 血压")
SIDES = _list("左侧 右侧 双侧 左 右")
TIMES = _list("一次 两次 三次 半年 三天 两周 十余年 数小时")
TEMPLATES = (
    "患者{n}天前无明显诱因出现{s}、{s}，伴{s}，自行服用{d}后稍好转",
    "患者{n}年前因{i}于当地医院住院治疗，经治疗后病情平稳出院",
    "既往有{i}病史{n}余年，长期规律服用{d}{m}mg，控制尚可",
    "否认{i}、{i}病史，否认外伤史，平时生活规律",
    "体温{t}℃，血压{p}/{q}mmHg，神志清楚，查体合作",
    "当地医院查{e}提示异常，为求进一步诊治来我院门诊就诊",
    "无{s}、{s}，近期饮食睡眠尚可，家属陪同送至我院",
    "{x}肢体活动不便{z}，遂来我院急诊就诊，门诊以“{i}”收入院",
    "曾在外院行{e}检查，未见明显异常，医生建议随访观察",
    "每日{z}服用{d}，{n}周后复查{e}较前好转，患者要求出院",
    "今晨起床时突然感到{s}，休息后逐渐缓解，没有{s}",
    "双肺呼吸音清，未闻及干湿啰音，{x}上腹部轻压痛，不伴{s}",
    "白细胞{t}×10^9/L↑，考虑{i}可能，予以{d}治疗后症状减轻",
)


def sentences(count: int, diseases: list[str], seed: int = 0) -> Iterator[str]:
    """Yield clinical sentences, a fifth of them of two parts; the mean has about 36 characters."""
    rng = random.Random(seed)
    for _ in range(count):
        parts = rng.sample(TEMPLATES, 2 if rng.random() < 0.2 else 1)
        yield "，".join(_filled(part, rng, diseases) for part in parts) + "。"


def _filled(template: str, rng: random.Random, diseases: list[str]) -> str:
    return re.sub(r"\{(\w)\}", lambda match: _fill(match[1], rng, diseases), template)


def _fill(what: str, rng: random.Random, diseases: list[str]) -> str:
    lists = {"s": SYMPTOMS, "i": diseases, "d": DRUGS, "e": EXAMS, "x": SIDES, "z": TIMES}
    if what in lists:
        return rng.choice(lists[what])
    low, high = {"n": (1, 20), "m": (5, 500), "p": (90, 200), "q": (50, 110)}.get(what, (360, 410))
    number = rng.randint(low, high)
    return str(number / 10) if what == "t" else str(number)


class Counts:
    """Counts what a text states, without anything of the package."""

    def __init__(self, terms: list[str]):
        known = "|".join(map(re.escape, sorted(set(terms), key=len, reverse=True)))
        self._terms = re.compile(known)
        self._numbers = re.compile(
            r"\d+(?:\.\d+)?(?:\s*(?:天前|年前|余年|℃|mmHg|mg|周|天|年|%|×10\^\d+/L|[/／]))?"
            r"|[一二两三四五六七八九十半数]+余?(?:次|天|年|周|小时|个月)|[↑↓≥≤<>]|左侧|右侧|双侧|左|右|双"
        )
        self._cue = re.compile(r"否认|未见|未闻及|没有|不伴|无|未|不|没")
        self._pair = re.compile(rf"(否认|未见|未闻及|没有|不伴|无)[^，。]*?({known})")

    def __call__(self, text: str) -> tuple[list[str], tuple, "Counter[str]"]:
        """Return numbers in order, negations with what they negate, and terms."""
        negations = (Counter(self._cue.findall(text)), Counter(self._pair.findall(text)))
        return self._numbers.findall(text), negations, Counter(self._terms.findall(text))


def measure(name: str, make: Callable[[str], str | None], texts: list[str], counts: Counts) -> str:
    """Return one line of the table."""
    for text in texts[:200]:  # dictionaries are loaded at the first use
        make(text)
    started = time.process_time()
    outputs = [make(text) for text in texts]
    spent = time.process_time() - started
    changed = [(text, new) for text, new in zip(texts, outputs, strict=True) if new and new != text]
    wrong = Counter[str]()
    for text, new in changed:
        found = [a != b for a, b in zip(counts(text), counts(new), strict=True)]
        if name == "sentence-shuffle":  # it moves sentences, and numbers with them
            found[0] = sorted(counts(text)[0]) != sorted(counts(new)[0])
        wrong.update(
            kind for kind, bad in zip(("number", "negation", "term"), found, strict=True) if bad
        )
        wrong["any"] += any(found)
    shown = " ".join(f"{wrong[kind]:>8}" for kind in ("number", "negation", "term", "any"))
    share = 100 * wrong["any"] / max(1, len(changed))
    head = f"{name:<28}{len(texts):>8}{len(changed):>9}"
    return f"{head} {shown} {share:7.2f}%{len(texts) / spent:>10.0f}"


def ours(kind: str, corpus: list[str]) -> Callable[[str], str | None]:
    """Return our augmentation as text -> text."""
    from vesalius.text.augmenting import Augmentation

    options = {"corpus": corpus} if kind in ("tf-idf", "unigram-noise") else {}
    made = Augmentation(kind, **options)
    rng = random.Random(0)

    def one(text: str) -> str | None:
        outputs = made.outputs(text, rng)
        return outputs[0].text if outputs else None

    return one


def peers() -> Iterator[tuple[str, Callable[[str], str | None] | str]]:
    """Yield peers that are installed; for the others, why not."""
    try:
        import nlpcda
    except ImportError as error:
        yield "nlpcda", f"not installed: {error}"
    else:
        for name, rate in (
            *(("Similarword", 0.05), ("Similarword", 0.3), ("RandomDeleteChar", 0.3)),
            *(("Homophone", 0.3), ("CharPositionExchange", 0.3), ("EquivalentChar", 0.3)),
        ):
            with contextlib.redirect_stdout(io.StringIO()):
                made = getattr(nlpcda, name)(create_num=2, change_rate=rate)
            yield f"nlpcda {name} {rate}", lambda text, made=made: made.replace(text)[-1]
    yield "jionlp", _jionlp()
    yield "nlpaug", _nlpaug()
    yield "TextAttack EDA", _textattack()


def _jionlp() -> Callable[[str], str | None] | str:
    try:
        import jionlp
    except Exception as error:  # a broken installation fails in many ways
        return f"cannot be imported: {type(error).__name__}: {error}"
    return lambda text: (jionlp.swap_char_position(text) or [None])[0]


def _nlpaug() -> Callable[[str], str | None] | str:
    try:
        from nlpaug.augmenter.word import RandomWordAug
    except ImportError as error:
        return f"not installed: {error}"
    import rjieba

    made = RandomWordAug(action="swap", tokenizer=rjieba.cut, reverse_tokenizer="".join)
    return lambda text: made.augment(text)[0]


def _textattack() -> Callable[[str], str | None] | str:
    try:
        from textattack.augmentation import EasyDataAugmenter
    except Exception as error:  # it needs data of nltk, too
        return f"not installed: {error}"
    made = EasyDataAugmenter(transformations_per_example=1)
    return lambda text: made.augment(text)[0]


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sentences", type=int, default=100_000)
    options.add_argument("--peer-sentences", type=int, default=2_000)
    options.add_argument("--unknown-diseases", type=Path)
    options.add_argument(
        "--kinds",
        default="eda,insertion,swap,deletion,thesaurus,homophone,shape,pinyin,tf-idf,"
        "unigram-noise,blank-noise,sentence-shuffle",
    )
    given = options.parse_args()
    diseases = DISEASES
    if given.unknown_diseases:
        diseases = given.unknown_diseases.read_text("utf-8").split()
    texts = list(sentences(given.sentences, diseases))
    counts = Counts([*diseases, *SYMPTOMS, *DRUGS, *EXAMS])
    print(f"{len(texts)} sentences, mean length {sum(map(len, texts)) / len(texts):.1f}")
    print(
        f"{'':<28}{'texts':>8}{'changed':>9}   number negation     term      any   share"
        f"{'per CPU-s':>12}"
    )
    for kind in given.kinds.split(","):
        given_texts = texts
        if kind == "sentence-shuffle":  # it needs several sentences
            given_texts = ["".join(three) for three in zip(*[iter(texts)] * 3, strict=False)]
        print(measure(kind, ours(kind, texts[:2000]), given_texts, counts), flush=True)
    for name, make in peers():
        if isinstance(make, str):
            print(f"{name:<28}{make.splitlines()[0]}")
        else:
            print(measure(name, make, texts[: given.peer_sentences], counts), flush=True)


if __name__ == "__main__":
    main()
