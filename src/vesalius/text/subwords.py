"""Subword units learnt from the user's own texts, saved as a Hugging Face tokenizer folder.

WordPiece (Schuster and Nakajima 2012, as in BERT), byte-pair encoding (Sennrich et al. 2016) and
the unigram language model (Kudo 2018), trained with `tokenizers`. Every Chinese character and every
punctuation mark is a unit of its own before anything is learnt, so a unit never crosses a border of
Chinese words; white space is kept by "▁" in BPE and unigram, and lost in WordPiece. There is no
Unicode normalisation: 10⁹ and 109 stay different.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vesalius import files
from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

Kind = Literal["wordpiece", "bpe", "unigram"]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The special tokens, with the ids 0 to 4."""

_UNIT = (
    "[\\u3400-\\u4DBF\\u4E00-\\u9FFF\\uF900-\\uFAFF\\x{20000}-\\x{3FFFF}]"  # Chinese characters
    r"|[^\p{L}\p{N}\p{M}\s▁]"
)
_ROLES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


def train_subwords(
    texts: Iterable[str],
    *,
    kind: Kind = "wordpiece",
    size: int = 8000,
    min_count: int = 2,
    lowercase: bool = True,
    max_length: int = 512,
) -> "Subwords":
    """Learn subword units.

    Args:
        texts: any order. WordPiece and BPE are the same in every run. The unigram model is not:
            its trainer in `tokenizers` sums in an order that changes, so its scores differ in the
            fourth digit and with them a few of its units. Keep the saved folder.
        kind: "wordpiece", "bpe" or "unigram".
        size: largest number of units, the five special ones included. Rare characters are left
            out where there are more characters than that.
        min_count: how often a pair of units must be seen to be joined (not for unigram).
        lowercase: learn and encode lower case.
        max_length: the number of tokens that a model will take; stored with the tokenizer.

    Raises:
        RecipeError: unknown kind, or a size without room for a unit.
        DataError: there is no text, or something is not a string.
    """
    if kind not in get_args(Kind):
        raise RecipeError(f"kind '{kind}': choose one of {', '.join(get_args(Kind))}.")
    if size <= len(SPECIAL) or min_count < 1 or max_length < 3:
        raise RecipeError(
            f"size {size}, min_count {min_count}, max_length {max_length}: give more than "
            f"{len(SPECIAL)}, at least 1, and at least 3."
        )
    texts = texts if isinstance(texts, Sequence) else list(texts)
    forms = _characters(texts, kind, lowercase)
    if not forms:
        raise DataError("There is no text to learn subwords from.")
    # The trainer of the unigram model overlooks its limit when the characters alone reach it.
    room = size - len(SPECIAL) * (3 if kind == "unigram" else 1)
    kept, rare = _affordable(forms, room)
    tokenizer = _untrained(kind, lowercase)
    plain = (text.lower() if lowercase else text for text in texts)
    tokenizer.train_from_iterator(
        (text.translate(rare) for text in plain), _trainer(kind, size, min_count, kept)
    )
    return Subwords(_cleaned(tokenizer, kind, lowercase), max_length=max_length)


def _characters(texts: Sequence[str], kind: Kind, lowercase: bool) -> Counter[str]:
    """Count the smallest units: characters, "▁" for white space, "##a" inside a word."""
    forms: Counter[str] = Counter()
    tokenizer = _untrained(kind, lowercase)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {number} is a {type(text).__name__}, not a string.")
        if not text.strip():
            continue
        plain = text.lower() if lowercase else text
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain):
            forms.update(word)
            if kind == "wordpiece":  # the plain form of an inner character is always there too
                forms.update(f"##{character}" for character in word[1:])
    return forms


def _affordable(forms: Counter[str], room: int) -> tuple[list[str], dict[int, str]]:
    """Return the forms of the most frequent characters that fit, and what to make of the others.

    `tokenizers` chooses among equally frequent characters at random; here the order decides.
    """
    counts: Counter[str] = Counter()
    of: dict[str, list[str]] = {}
    for form, count in forms.items():
        counts[form[-1]] += count
        of.setdefault(form[-1], []).append(form)
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    kept, rare = [], []
    for character in ranked:
        fits = not rare and len(kept) + len(of[character]) <= room
        kept += of[character] if fits else []
        rare += [] if fits else [character]
    return sorted(kept), str.maketrans(dict.fromkeys(rare, " "))


def _untrained(kind: Kind, lowercase: bool) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    unknown = SPECIAL[1]
    model = {
        "wordpiece": lambda: models.WordPiece(unk_token=unknown),
        "bpe": lambda: models.BPE(unk_token=unknown),
        "unigram": models.Unigram,
    }[kind]()
    tokenizer = Tokenizer(model)
    spaces = pre_tokenizers.WhitespaceSplit() if kind == "wordpiece" else pre_tokenizers.Metaspace()
    units = pre_tokenizers.Split(Regex(_UNIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, units])
    tokenizer.decoder = decoders.WordPiece() if kind == "wordpiece" else decoders.Metaspace()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def _trainer(kind: Kind, size: int, min_count: int, forms: Sequence[str]) -> Any:
    from tokenizers import trainers

    common = {"vocab_size": size, "show_progress": False}
    if kind == "unigram":
        # Its special tokens have places of their own, which `size` counts.
        return trainers.UnigramTrainer(
            unk_token=SPECIAL[1], special_tokens=list(SPECIAL), initial_alphabet=forms, **common
        )
    # Given as special tokens, the inner forms get numbers in a fixed order. Left to the trainer,
    # they come in the order of a hash table, and with them the decision between equal pairs.
    inner = [form for form in forms if form.startswith("##") and len(form) > 2]
    limits = {"min_frequency": min_count, "limit_alphabet": size}
    trainer = trainers.WordPieceTrainer if kind == "wordpiece" else trainers.BpeTrainer
    return trainer(special_tokens=[*SPECIAL, *inner], **common, **limits)


def _cleaned(tokenizer: "Tokenizer", kind: Kind, lowercase: bool) -> "Tokenizer":
    """Return a tokenizer with what was learnt and the five special tokens alone."""
    from tokenizers import AddedToken, models

    state = json.loads(tokenizer.to_str())["model"]
    clean = _untrained(kind, lowercase)
    if kind == "wordpiece":
        # A new tokenizer, so that "##a" is no special token that is looked for in texts.
        clean.model = models.WordPiece(state["vocab"], unk_token=SPECIAL[1])
    elif kind == "bpe":
        merges = [tuple(pair) for pair in state["merges"]]
        clean.model = models.BPE(state["vocab"], merges, unk_token=SPECIAL[1])
    else:
        # Rounded, so that a saved file read and saved again is the same file.
        scores = [(piece, round(score, 6)) for piece, score in state["vocab"]]
        clean.model = models.Unigram(scores, unk_id=1)
    clean.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return _with_frame(clean)


def _with_frame(tokenizer: "Tokenizer") -> "Tokenizer":
    from tokenizers import processors

    first, last = SPECIAL[2], SPECIAL[3]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (first, last)],
    )
    return tokenizer


class Subwords:
    """A trained tokenizer. `len(subwords)` is the number of its units.

    Args:
        tokenizer: of the package `tokenizers`, with the special tokens of `SPECIAL`.
        max_length: number of tokens that a model will take.
    """

    def __init__(self, tokenizer: "Tokenizer", *, max_length: int = 512):
        missing = [token for token in SPECIAL if tokenizer.token_to_id(token) is None]
        if missing:
            raise DataError(f"The tokenizer has no {', '.join(missing)}.")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(
        self, text: str, *, special: bool = True, max_length: int | None = None
    ) -> list[int]:
        """Return the ids of a text, between [CLS] and [SEP] if `special`.

        Args:
            text: any length.
            special: add the two.
            max_length: cut the text so that the result has no more ids; the end mark stays.

        Raises:
            RecipeError: no room for a token.
        """
        return self.encode_all([text], special=special, max_length=max_length)[0]

    def encode_all(
        self, texts: Sequence[str], *, special: bool = True, max_length: int | None = None
    ) -> list[list[int]]:
        """Return the ids of many texts; the arguments are those of `encode`."""
        frame = 2 if special else 0
        if max_length is not None and max_length <= frame:
            raise RecipeError(f"max_length {max_length}: give more than {frame}.")
        found = self.tokenizer.encode_batch(list(texts), add_special_tokens=special)
        cut = slice(max_length) if max_length is None else slice(max_length - frame // 2)
        last = [self.ids["[SEP]"]] if special else []
        return [
            ids if max_length is None or len(ids) <= max_length else ids[cut] + last
            for ids in (encoding.ids for encoding in found)
        ]

    def tokens(self, text: str) -> list[str]:
        """Return the units of a text without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).tokens

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return for each of `tokens(text)` the characters `text[start:end]` that it came from."""
        return self.tokenizer.encode(text, add_special_tokens=False).offsets

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, without special tokens.

        BPE and unigram give the text back, but for its case and unknown characters; WordPiece
        puts one space between units that did not begin inside a word.
        """
        return self.tokenizer.decode([int(number) for number in ids])

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, which `AutoTokenizer` loads.

        Raises:
            StorageError: they cannot be written.
        """
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.max_length,
            "clean_up_tokenization_spaces": False,
            **dict(zip(_ROLES, SPECIAL, strict=True)),
        }
        folder = Path(folder)
        files.write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=True) + "\n")
        files.write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Subwords":
        """Read a folder that `save` wrote.

        Raises:
            DataError: a file is missing or broken, or special tokens are.
        """
        from tokenizers import Tokenizer

        folder = Path(folder)
        try:
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            content = (folder / "tokenizer.json").read_text(encoding="utf-8")
            length = int(config.get("model_max_length", 512))
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{folder} is not a tokenizer folder: {error}") from error
        try:
            tokenizer = Tokenizer.from_str(content)
        except Exception as error:  # the package raises nothing more exact
            raise DataError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error}") from error
        return cls(tokenizer, max_length=length)

    def hugging_face(self) -> "PreTrainedTokenizerFast":
        """Return the tokenizer as an object of transformers."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(
            tokenizer_object=self.tokenizer,
            model_max_length=self.max_length,
            clean_up_tokenization_spaces=False,
            **dict(zip(_ROLES, SPECIAL, strict=True)),
        )
