"""The kinds of augmentation by name. Their modules are imported when a kind is built."""

import importlib
import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from vesalius.errors import RecipeError
from vesalius.language import say
from vesalius.text.augmenters.base import Augmenter


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of augmentation without importing it.

    Attributes:
        name: as it is given to `augment`.
        place: "module:Class" under `vesalius.text.augmenters`.
        language: "any", "zh" or "en".
        paper: where it comes from.
        needs: what must be installed or given, "" where nothing is.
        english: what it does.
        chinese: the same in Chinese.
    """

    name: str
    place: str
    language: str
    paper: str
    needs: str
    english: str
    chinese: str

    @property
    def description(self) -> str:
        """Return what it does, in the user's language."""
        return say(self.english, self.chinese)


_EDA = "Wei & Zou 2019, EDA"
_ALL = (
    Kind("duplicate", "tokens:Duplicate", "any", "control", "", "the text itself", "原文（对照）"),
    Kind("eda", "tokens:EDA", "any", _EDA, "", "one of its four operations", "四种操作之一"),
    Kind("insertion", "tokens:Insertion", "any", _EDA, "", "insert synonyms", "插入同义词"),
    Kind("swap", "tokens:Swap", "any", _EDA, "", "swap two words", "交换词语"),
    Kind("deletion", "tokens:Deletion", "any", _EDA, "", "delete words", "删除词语"),
    Kind(
        *("sentence-shuffle", "tokens:SentenceShuffle", "any", "Yan et al. 2019", ""),
        *("another order of the sentences", "打乱句序"),
    ),
    Kind(
        *(
            "thesaurus",
            "chinese:Thesaurus",
            "any",
            "Zhang et al. 2015; Mei et al. 1983 (Cilin)",
            "",
        ),
        *("words by synonyms", "同义词替换"),
    ),
    Kind(
        *("homophone", "chinese:Homophone", "zh", "Liu et al. 2010", "pypinyin"),
        *("characters of the same sound", "同音字替换"),
    ),
    Kind(
        *("shape", "chinese:Shape", "zh", "Liu et al. 2010", ""),
        *("characters of similar shape", "形近字替换"),
    ),
    Kind(
        *("pinyin", "chinese:PinyinTyping", "zh", "Chen & Lee 2000", "pypinyin"),
        *("slips of Pinyin typing", "拼音输入错误"),
    ),
    Kind(
        *("tf-idf", "corpus:TfIdf", "any", "Xie et al. 2020, UDA", "corpus"),
        *("uninformative words by others", "按 TF-IDF 替换非关键词"),
    ),
    Kind(
        *("unigram-noise", "corpus:UnigramNoise", "any", "Xie et al. 2017", "corpus"),
        *("words by their frequency", "按词频随机替换"),
    ),
    Kind(
        *("blank-noise", "corpus:BlankNoise", "any", "Xie et al. 2017", ""),
        *("words by a blank", "以空白符替换"),
    ),
    Kind(
        *("crossover", "corpus:Crossover", "any", "Luque 2019", "corpus or partners"),
        *("halves of two texts with equal labels", "同标签文本交叉"),
    ),
    Kind(
        *("contraction", "english:Contraction", "en", "Coulombe 2018", ""),
        *("contract or expand (isn't, is not)", "英文缩写变换"),
    ),
    Kind(
        *("spelling", "english:Spelling", "en", "Coulombe 2018", ""),
        *("common misspellings", "常见拼写错误"),
    ),
    Kind(
        *(
            "wordnet",
            "wordnet:WordNet",
            "en",
            "Zhang et al. 2015; Miller 1995",
            "nltk and its data",
        ),
        *("synonyms of WordNet", "WordNet 同义词替换"),
    ),
    Kind(
        *("qwerty", "typing_errors:Qwerty", "en", "Belinkov & Bisk 2018", ""),
        *("neighbouring keys", "键盘邻键错误"),
    ),
    Kind(
        *("embedding", "embeddings:EmbeddingNeighbours", "any", "Wang & Yang 2015", "vectors"),
        *("neighbours in an embedding", "词向量近邻替换"),
    ),
    Kind(
        *("masked-lm", "models:MaskedLanguageModel", "any", "Garg & Ramakrishnan 2020", "a model"),
        *("what a masked language model expects", "掩码语言模型替换"),
    ),
    Kind(
        *(
            "back-translation",
            "translation:BackTranslation",
            "any",
            "Sennrich et al. 2016",
            "two models",
        ),
        *("translate and back", "回译"),
    ),
    Kind(
        *("generate", "generation:ConditionalGeneration", "any", "Kumar et al. 2020", "a model"),
        *("a language model, the label in front", "按标签条件生成"),
    ),
    Kind(
        *("passive", "grammar:Passive", "en", "Min et al. 2020", ""),
        *("active and passive voice", "英文主动被动转换"),
    ),
    Kind(
        *("ba-bei", "grammar:BaBei", "zh", "Min et al. 2020", ""),
        *("sentences with 把 and 被", "把字句、被字句转换"),
    ),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def find(name: str) -> Kind:
    """Return what is known of a kind.

    Raises:
        RecipeError: there is none of this name; the message lists all.
    """
    if name in KINDS:
        return KINDS[name]
    near = get_close_matches(name, KINDS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise RecipeError(f"There is no augmentation '{name}'.{hint} Known: {', '.join(KINDS)}.")


def build(name: str, **options: Any) -> Augmenter:
    """Return the augmenter of a kind.

    Raises:
        RecipeError: unknown name, or options that this kind does not have.
        MissingDependencyError: what it needs is not installed.
    """
    module, _, cls = find(name).place.partition(":")
    make = getattr(importlib.import_module(f"vesalius.text.augmenters.{module}"), cls)
    known = [key for key in inspect.signature(make).parameters if key != "self"]
    unknown = [key for key in options if key not in known]
    if unknown:
        takes = f"its options are {', '.join(known)}" if known else "it has none"
        raise RecipeError(f"'{name}' has no option '{unknown[0]}'; {takes}.")
    missing = [
        key
        for key, parameter in inspect.signature(make).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.KEYWORD_ONLY
        and key not in options
    ]
    if missing:
        raise RecipeError(f"'{name}' needs the option '{missing[0]}'.")
    return make(**options)
