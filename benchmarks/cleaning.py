"""How fast cleaning is, and who changes values: Vesalius, NFKC, ftfy, OpenCC, jionlp, clean-text.

    python benchmarks/cleaning.py [--sentences 2000] [--repeats 5]

One thread (set OMP_NUM_THREADS=1). Clinical Chinese sentences of about 36 characters in three
mixes: "tidy" (as most records are), "mixed" (one in five has full-width digits, traditional
characters, markup or half-width punctuation), "untidy" (every one has). All sides take turns over
the same blocks of sentences in one process; of each block the quickest of the repeats counts, so
that other programs on the machine disturb less. CPU seconds of the process.

The second table counts, on sentences with measurements, how often a side's output no longer holds
the values that were written in (read by one parser for all sides).
"""

import argparse
import importlib
import random
import re
import time
import unicodedata
from collections.abc import Callable

from vesalius.text import clean

BLOCK = 100
TIDY = (
    "患者{n}年前无明显诱因出现胸闷、气促，活动后加重，休息后可缓解，未诊治",
    "查体：血压{n}/80mmHg，心率{n}次/分，双肺呼吸音清，未闻及干湿性啰音。",
    "白细胞{n}.5×10⁹/L，中性粒细胞百分比{n}%，C反应蛋白升高↑，尿蛋白阴性",
    "既往有高血压病史{n}年，最高（180/110mmHg），否认糖尿病、冠心病及结核病史。",
    "入院后给予抗感染、化痰、平喘等对症支持治疗{n}天，病情好转，准予出院。",
)
UNTIDY = (
    "查体:血压１２０／{n}ｍｍＨｇ,心率８０次／分,神志清,双肺呼吸音清,未闻及啰音",
    "患者於{n}年前出現頭暈、噁心，未予診治，現來我院就診，門診以高血壓收入院",
    "白细胞 10×10<sup>9</sup>/L，血红蛋白&nbsp;{n}g/L，尿蛋白<b>阴性</b>",
    "主诉:头痛{n}天,伴发热;无咳嗽(轻度),,休息后好痛好痛啊啊啊啊啊,遂来就诊。。。",
    "体温３６．５℃，脉搏{n}次/分，呼吸２０次/分，体重　６０ｋｇ，神志清楚，步入病房",
)
MEASURED = (
    ("白细胞{n}×10⁹/L（高）", ("{n}×10⁹/L",)),
    ("血压（最高{n}/110mmHg）5年", ("{n}/110mmHg",)),
    ("①体温{n}.5℃ ②pH7.35", ("①", "{n}.5℃", "pH7.35")),
    ("血钾≥{n}.2mmol/L↑，蛋白＋＋", ("≥{n}.2mmol/L↑", "++")),
    ("体表面积{n}m²，服药3～5天", ("{n}m²", "3~5")),
    ("WBC {n}×10^9/L；Ⅱ型糖尿病", ("{n}×10^9/L", "Ⅱ型")),
)


def sentences(share: float, count: int) -> list[str]:
    """Return sentences of which `share` are untidy."""
    rng = random.Random(0)
    chosen = (rng.choice(UNTIDY if rng.random() < share else TIDY) for _ in range(count))
    return [sentence.replace("{n}", str(rng.randrange(1, 200))) for sentence in chosen]


def peers() -> dict[str, Callable[[str], str]]:
    """Return the sides that are installed, and name those that are not."""
    found: dict[str, Callable[[str], str]] = {
        "vesalius": clean,
        "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    }
    wanted = {
        "ftfy": lambda: importlib.import_module("ftfy").fix_text,
        "OpenCC t2s": lambda: importlib.import_module("opencc").OpenCC("t2s").convert,
        "jionlp": lambda: importlib.import_module("jionlp").clean_text,
        "clean-text": lambda: importlib.import_module("cleantext").clean,
    }
    for name, load in wanted.items():
        try:
            found[name] = load()
            found[name]("试 try")
        except Exception as error:  # a peer that cannot be imported or called is named as missing
            found.pop(name, None)
            print(f"{name} is missing here: {type(error).__name__}: {str(error)[:80]}")
    return found


def seconds(sides: dict[str, Callable[[str], str]], texts: list[str], repeats: int) -> dict:
    """Return the CPU seconds of each side, taking turns."""
    total = dict.fromkeys(sides, 0.0)
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        best = dict.fromkeys(sides, float("inf"))
        for _ in range(repeats):
            for name, side in sides.items():
                began = time.process_time()
                for text in block:
                    side(text)
                best[name] = min(best[name], time.process_time() - began)
        for name in sides:
            total[name] += best[name]
    return total


def violations(side: Callable[[str], str], count: int) -> float:
    """Return the share of sentences whose values are no longer there."""
    rng, wrong = random.Random(1), 0
    for _ in range(count):
        template, values = rng.choice(MEASURED)
        number = str(rng.randrange(2, 200))
        found = re.sub(r"\s", "", side(template.replace("{n}", number))).replace("～", "~")
        found = found.replace("＋", "+")
        wrong += any(value.replace("{n}", number) not in found for value in values)
    return wrong / count


def main() -> None:
    """Print sentences per CPU second, ratios, and shares of changed values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    sides = peers()
    for mix, share in (("tidy", 0.0), ("mixed", 0.2), ("untidy", 1.0)):
        texts = sentences(share, asked.sentences)
        length = sum(map(len, texts)) / len(texts)
        print(f"\n{mix}: {len(texts)} sentences, {length:.1f} characters on average")
        times = seconds(sides, texts, asked.repeats)
        for name, value in times.items():
            ratio = value / times["vesalius"]
            print(
                f"  {name:12} {len(texts) / value:10,.0f} per CPU second   {ratio:6.2f} x our time"
            )
    print("\nsentences whose values were changed")
    for name, side in sides.items():
        print(f"  {name:12} {violations(side, 1000):6.1%}")


if __name__ == "__main__":
    main()
