"""Near duplicates among 20,000 templated Chinese records of about 500 characters.

    python benchmarks/near_duplicates.py [--records 16000] [--copies 4000] [--length 500]
        [--repeats 3] [--only vesalius datasketch ...]

The records are sentences of one template with varying findings, numbers and order, so that two of
them have a Jaccard index of about a third; the copies change 1 to 15 % of the characters of a
record, and about 2,600 of 4,000 stay at an index of 0.7 or more. One process, one thread, in turn;
CPU seconds include the making of shingles (a Python set for the peers, which take nothing else).
Recall: of the planted pairs whose true index is at least 0.7; and of all such pairs among the first
1,000 records, by comparing every pair. Precision: of all reported pairs, each computed again with
Python sets. A library that is not installed is named and skipped.
"""

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

from vesalius.text.duplicates import near_duplicates

THRESHOLD, NGRAM = 0.7, 5
Pairs = Iterable[tuple[int, int]]
COMPLAINTS = ["咳嗽咳痰", "胸闷气短", "腹痛腹胀", "头晕头痛", "发热畏寒", "心悸乏力"]
DISEASES = ["高血压病", "冠心病", "2型糖尿病", "慢性支气管炎", "脑梗死", "肺结核"]
DRUGS = ["阿司匹林", "氨氯地平", "二甲双胍", "阿托伐他汀", "头孢呋辛"]
SIGNS = ["清晰", "粗糙", "对称", "减弱", "正常"]
ORGANS = ["双肺", "腹部", "咽部", "双肾", "双下肢"]
FRAMES = (
    "患者{n}年前无明显诱因出现{c}，呈{s}性，伴{c}，无放射痛，",
    "于当地医院就诊，考虑“{d}”，予{r}{n}mg口服，每日{k}次，症状{s}，",
    "{n}天前上述症状加重，伴{c}，为求进一步诊治来我院，门诊以“{d}”收入院。",
    "病程中患者神志清，精神可，饮食{s}，睡眠{s}，大小便{s}，体重无明显变化。",
    "既往{d}病史{n}年，长期口服{r}，血压控制在{b}mmHg左右，否认{d}病史，",
    "否认{d}、{d}等传染病史，否认手术外伤史，否认输血史，对{r}过敏。",
    "查体：体温{t}℃，脉搏{n}次/分，呼吸{k}次/分，血压{b}mmHg，",
    "{o}{s}，{o}{s}，未闻及干湿性啰音，{o}{s}，未及包块，{o}无压痛及反跳痛，",
    "心率{n}次/分，律齐，各瓣膜听诊区未闻及病理性杂音，{o}{s}，{o}{s}，",
    "辅助检查：白细胞{t}×10^9/L，血红蛋白{n}g/L，血小板{n}×10^9/L，",
    "肌酐{n}μmol/L，空腹血糖{t}mmol/L，C反应蛋白{t}mg/L，{o}CT示{o}{s}。",
    "个人史：生于原籍，久居当地，吸烟{n}年，每日{k}支，饮酒{n}年，",
    "胸廓对称无畸形，呼吸运动正常，叩诊清音，心前区无隆起，心界不大，肠鸣音正常，肝脾肋下未触及，"
    "双肾区无叩击痛，脊柱四肢无畸形，生理反射存在，病理反射未引出，余查体未见明显异常，"
    "入院后完善血常规、尿常规、凝血功能、心电图等检查，予以对症支持治疗。",
    "家族史：父亲患{d}，母亲患{d}，否认家族遗传病史。",
)


def record(rng: random.Random, length: int) -> str:
    """Return one record of about `length` characters."""
    text, frames = "", list(FRAMES)
    while len(text) < 1.1 * length:
        text += "".join(frame.format(**_values(rng)) for frame in frames)
    return text[: length + rng.randrange(-length // 10, length // 10 + 1)]


def _values(rng: random.Random) -> dict[str, object]:
    return {
        **{"c": rng.choice(COMPLAINTS), "d": rng.choice(DISEASES), "r": rng.choice(DRUGS)},
        **{"s": rng.choice(SIGNS), "o": rng.choice(ORGANS), "n": rng.randrange(1, 10)},
        **{"k": rng.randrange(1, 9), "t": f"{rng.uniform(4, 6):.1f}"},
        "b": f"{rng.randrange(110, 170)}/{rng.randrange(7, 10)}0",
    }


def near_copy(text: str, rng: random.Random) -> str:
    """Return the text with 1 to 15 % of its characters replaced, in runs of up to eight."""
    characters, budget = list(text), int(len(text) * rng.uniform(0.01, 0.15))
    while budget > 0:
        run = min(budget, rng.randrange(1, 9))
        start = rng.randrange(len(characters) - run)
        characters[start : start + run] = rng.choices(text, k=run)
        budget -= run
    return "".join(characters)


def shingle_set(text: str) -> set[str]:
    """Return the character 5-grams as Python strings: the independent truth."""
    return {text[i : i + NGRAM] for i in range(len(text) - NGRAM + 1)}


def jaccard(left: set[str], right: set[str]) -> float:
    """Return the Jaccard index of two sets."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def ours(texts: Sequence[str]) -> Pairs:
    """Vesalius, exact verification included."""
    return [(i, j) for i, j, _ in near_duplicates(texts, threshold=THRESHOLD, ngram=NGRAM)]


def with_datasketch(texts: Sequence[str]) -> Pairs:
    """datasketch: MinHash with 128 permutations and its LSH, as its manual shows."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([part.encode() for part in shingle_set(text)])
        found += [(other, number) for other in index.query(sketch)]
        index.insert(number, sketch)
    return found


def with_rensa(texts: Sequence[str]) -> Pairs:
    """rensa: R-MinHash with 126 permutations, 18 bands, as its manual shows."""
    from rensa import RMinHash, RMinHashLSH

    index, found = RMinHashLSH(threshold=THRESHOLD, num_perm=126, num_bands=18), []
    for number, text in enumerate(texts):
        sketch = RMinHash(num_perm=126, seed=42)
        sketch.update(list(shingle_set(text)))
        found += [(other, number) for other in index.query(sketch)]
        index.insert(number, sketch)
    return found


def with_gaoya(texts: Sequence[str]) -> Pairs:
    """gaoya: its string index, which verifies by its own sketches."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        32, THRESHOLD, 18, 7, analyzer="char", lowercase=False, ngram_range=(NGRAM, NGRAM)
    )
    found = []
    for number, text in enumerate(texts):
        found += [(other, number) for other in index.query(text)]
        index.insert_document(number, text)
    return found


WAYS: dict[str, Callable[[Sequence[str]], Pairs]] = {
    "vesalius": ours,
    "datasketch": with_datasketch,
    "rensa": with_rensa,
    "gaoya": with_gaoya,
}


def corpus(options: argparse.Namespace) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the shuffled texts and the planted pairs."""
    rng = random.Random(7)
    texts = [record(rng, options.length) for _ in range(options.records)]
    sources = rng.sample(range(options.records), options.copies)
    texts += [near_copy(texts[source], rng) for source in sources]
    place = list(range(len(texts)))
    rng.shuffle(place)
    shuffled = [""] * len(texts)
    for number, text in zip(place, texts, strict=True):
        shuffled[number] = text
    pairs = [(place[s], place[options.records + n]) for n, s in enumerate(sources)]
    return shuffled, [(min(pair), max(pair)) for pair in pairs]


def main() -> None:
    """Run every way and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=16_000)
    parser.add_argument("--copies", type=int, default=4_000)
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(WAYS), choices=list(WAYS))
    options = parser.parse_args()
    texts, planted = corpus(options)
    sets = [shingle_set(text) for text in texts]
    near = {pair for pair in planted if jaccard(sets[pair[0]], sets[pair[1]]) >= THRESHOLD}
    first = {
        (i, j)
        for i, j in combinations(range(min(1000, len(texts))), 2)
        if jaccard(sets[i], sets[j]) >= THRESHOLD
    }
    rng = random.Random(1)
    drawn = [jaccard(*rng.sample(sets, 2)) for _ in range(2000)]
    print(
        f"{len(texts)} records, median of random pairs {statistics.median(drawn):.2f}, "
        f"{len(near)} planted pairs and {len(first)} of the first 1,000 at {THRESHOLD} or more"
    )
    print(
        f"{'':12}{'CPU s':>8}{'records/s':>11}{'recall':>9}{'of all':>8}{'pairs':>10}"
        f"{'precision':>11}{'ratio':>8}"
    )
    reference = None
    for name in options.only:
        if name != "vesalius" and importlib.util.find_spec(name) is None:
            print(f"{name:12} not installed (pip install {name})")
            continue
        list(WAYS[name](texts[:300]))  # imports are not counted
        seconds = []
        for _ in range(options.repeats):
            started = time.process_time()
            pairs = WAYS[name](texts)
            seconds.append(time.process_time() - started)
        found = {(min(pair), max(pair)) for pair in pairs}
        right = sum(jaccard(sets[i], sets[j]) >= THRESHOLD for i, j in found)
        used = statistics.median(seconds)
        reference = reference or used
        print(
            f"{name:12}{used:8.2f}{len(texts) / used:11.0f}{len(found & near) / len(near):9.4f}"
            f"{len(found & first) / max(len(first), 1):8.3f}{len(found):10}"
            f"{right / max(len(found), 1):11.4f}{used / reference:8.1f}"
        )


if __name__ == "__main__":
    main()
