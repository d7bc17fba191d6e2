"""What can be configured of a diagnosis. Importing this module imports no torch."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from vesalius.block import Block
from vesalius.diagnose.decisions import Decision
from vesalius.diagnose.loss_blocks import BCEBlock, LossBlock
from vesalius.diagnose.model_blocks import ModelBlock, TransformerBlock
from vesalius.diagnose.record_schema import Schema
from vesalius.engine.optim import AdamW, Cosine, OptimizerBlock, ScheduleBlock
from vesalius.engine.recipe import Held, Recipe
from vesalius.text.cleaning import CleanOptions


class Data(Held):
    """How records become what the model sees."""

    rules: str | None = None
    """file of rules that drop, merge and rename labels; example: the seven of the contest"""
    min_count: int = Field(1, ge=1)
    """labels with fewer training records are left out, and said so"""
    clean: CleanOptions | None = CleanOptions()
    """value-safe cleaning of the text, in training and in prediction; null: none"""
    length: int = Field(512, ge=8)
    """tokens that the model sees of a record in training; its fields share them"""
    predict_length: int | None = Field(None, ge=8)
    """the same in prediction, where a model can read more than it was trained on; null: length"""
    keep: Literal["head", "tail", "ends"] = "ends"
    """what stays of a field that is too long; ends: two thirds head, one third tail"""
    field_weights: dict[str, PositiveFloat] = Field(default_factory=dict)
    """relative share of the length of each field; 1 where none is given"""
    field_names: bool = False
    """write the name of each field in front of its text"""
    subwords: int = Field(8000, ge=100)
    """size of the vocabulary that is trained where the model brings none"""


class Augmentation(Block):
    """Random changes of training texts that leave every clinical fact as it was."""

    kind: str
    """one of `vesalius text augment`: eda, swap, deletion, thesaurus, homophone, ..."""
    strength: float = Field(0.1, gt=0, le=1)
    """share of the words that change"""
    probability: float = Field(0.5, gt=0, le=1)
    """chance that a field of a record changes"""


class Mixing(Block):
    """Train on mixtures of two records (Guo, Mao and Zhang 2019)."""

    of: Literal["words", "sentences"] = "words"
    """wordMixup mixes embeddings, sentMixup the pooled sentence"""
    alpha: float = Field(0.2, gt=0)
    """parameter of Beta(alpha, alpha), from which the share is drawn"""


class Consistency(Block):
    """R-Drop (Liang et al. 2021): two passes with other dropout should agree."""

    weight: float = Field(1.0, gt=0)
    """factor of the symmetric Bernoulli divergence"""


class DiagnoseRecipe(Recipe):
    """The complete recipe of a diagnosis."""

    named = Path(__file__).with_name("presets.yaml")

    epochs: int = Field(20, ge=0)
    """how long to train; 0: not at all, for models that are solved rather than trained"""
    batch_size: int = Field(16, ge=1)
    """records per optimiser step, over all processes and micro-steps together"""
    optimizer: OptimizerBlock = AdamW(learning_rate=1e-3)
    """how weights move"""
    schedule: ScheduleBlock = Cosine(warmup=50)
    """how the learning rate runs"""
    clip: float | None = Field(1.0, gt=0)
    """upper bound of the gradient's norm; null: none"""
    records: Schema = Schema()
    """which columns are text, label, id and patient, and how the files are written"""
    data: Data = Data()
    """how records become what the model sees"""
    augment: tuple[Augmentation, ...] = ()
    """random changes of training texts, in this order"""
    mixing: Mixing | None = None
    """mixtures of two records in training"""
    consistency: Consistency | None = None
    """agreement of two passes with other dropout"""
    model: ModelBlock = TransformerBlock()
    """the network"""
    start: str | None = None
    """run folder of `vesalius diagnose pretrain` whose encoder is the start"""
    loss: LossBlock = BCEBlock()
    """what is minimised"""
    decide: Decision = Decision()
    """how probabilities become an answer"""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.model.name == "tfidf" and (self.mixing or self.consistency):
            raise ValueError("mixing and consistency need a network; the model is tfidf")
        if self.epochs == 0 and self.model.name != "tfidf":
            raise ValueError(
                f"epochs is 0, which leaves {self.model.name} untrained: set epochs=20, say, or "
                "begin from another recipe, such as transformer"
            )
        if self.epochs == 0 and (self.pieces or self.step.name != "plain" or self.augment):
            raise ValueError(
                "epochs is 0: there are no training steps that step, pieces or augment could change"
            )
        return self


RECIPE = DiagnoseRecipe
