"""Cutting Chinese clinical sentences into words, beside rjieba itself, jieba and other cutters.

    python benchmarks/words.py [--sentences 40000] [--repeats 5] [--only vesalius rjieba ...]

One process, one thread; the ways take turns, so that a change of the machine's speed meets all. CPU
seconds are medians of the repeats, without loading the dictionaries. Whole terms: the share of 10
names of diseases, each in a sentence, that come out as one word. A package that is not installed is
named and skipped.
"""

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable

from vesalius.text.lexicons import Lexicon
from vesalius.text.wording import Cutter, words

TERMS = (
    *("慢性阻塞性肺疾病", "2型糖尿病", "冠状动脉粥样硬化性心脏病", "短暂性脑缺血发作"),
    *("蛛网膜下腔出血", "原发性高血压", "肺血栓栓塞症", "糖尿病视网膜病变", "腔隙性脑梗死"),
    "肥厚型心肌病",
)
FRAMES = (
    "患者{n}年前无明显诱因出现{t}，未予重视。",
    "既往有{t}病史{n}年，长期口服药物治疗，控制可。",
    "否认{t}病史，否认药物过敏史，吸烟{n}年，每日20支。",
    "体温36.{n}℃，血压1{n}0/80mmHg，双肺呼吸音清，考虑{t}。",
    "为求进一步诊治来我院，门诊以“{t}”收入院，精神、饮食可。",
)


def sentences(count: int) -> list[str]:
    """Return sentences of about 30 characters."""
    rng = random.Random(3)
    return [
        rng.choice(FRAMES).format(n=rng.randrange(1, 10), t=rng.choice(TERMS)) for _ in range(count)
    ]


def ways() -> dict[str, tuple[str, Callable[[], Callable[[str], list[str]]]]]:
    """Return name -> (package, function that loads and returns a cut function)."""

    def rjieba() -> Callable[[str], list[str]]:
        import rjieba

        return rjieba.cut

    def jieba() -> Callable[[str], list[str]]:
        import jieba

        jieba.initialize()
        return jieba.lcut

    def cutword() -> Callable[[str], list[str]]:
        import cutword

        return cutword.Cutter().cutword

    def nltk() -> Callable[[str], list[str]]:
        from nltk.tokenize import wordpunct_tokenize

        return wordpunct_tokenize

    return {
        "vesalius": ("vesalius", lambda: words),
        "vesalius, no lexicon": ("vesalius", lambda: Cutter(lexicon=Lexicon([]))),
        "rjieba": ("rjieba", rjieba),
        "jieba": ("jieba", jieba),
        "vesalius, jieba": ("jieba", lambda: Cutter("jieba")),
        "cutword": ("cutword", cutword),
        "nltk wordpunct": ("nltk", nltk),
    }


def whole_terms(cut: Callable[[str], list[str]]) -> float:
    """Return the share of the terms that are one word of a sentence."""
    return sum(term in cut(FRAMES[1].format(n=5, t=term)) for term in TERMS) / len(TERMS)


def seconds(cut: Callable[[str], list[str]], texts: list[str]) -> float:
    """Return the CPU seconds that cutting all texts takes."""
    started = time.process_time()
    for text in texts:
        cut(text)
    return time.process_time() - started


def main() -> None:
    """Run every way and print a table."""
    known = ways()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(known), choices=list(known))
    options = parser.parse_args()
    texts, cuts = sentences(options.sentences), {}
    print(f"{len(texts)} sentences of {sum(map(len, texts)) / len(texts):.0f} characters")
    for name in options.only:
        package, load = known[name]
        if importlib.util.find_spec(package) is None:
            print(f"{name}: not installed (pip install {package})")
            continue
        cuts[name] = load()
        cuts[name](texts[0])
    used: dict[str, list[float]] = {name: [] for name in cuts}
    for _ in range(options.repeats):
        for name, cut in cuts.items():
            # jieba is twenty times slower: a part of the sentences is enough.
            some = texts if "jieba" not in name or name == "rjieba" else texts[::10]
            used[name].append(seconds(cut, some) * len(texts) / len(some))
    reference = statistics.median(used.get("rjieba") or next(iter(used.values())))
    print(f"{'':22}{'sentences / CPU s':>18}{'of rjieba':>11}{'whole terms':>13}")
    for name, times in used.items():
        median = statistics.median(times)
        print(
            f"{name:22}{len(texts) / median:18.0f}{reference / median:11.2f}"
            f"{whole_terms(cuts[name]):13.0%}"
        )


if __name__ == "__main__":
    main()
