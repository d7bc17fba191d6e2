"""What can be configured of a pre-training. Importing this module imports no torch."""

from typing import Self

from pydantic import Field, model_validator

from vesalius.block import Block
from vesalius.diagnose.model_blocks import ModelBlock, TransformerBlock
from vesalius.diagnose.record_schema import Schema
from vesalius.engine.optim import AdamW, Cosine, OptimizerBlock, ScheduleBlock
from vesalius.engine.recipe import Recipe
from vesalius.text.cleaning import CleanOptions


class PretrainData(Block):
    """How text becomes what the model sees."""

    clean: CleanOptions | None = CleanOptions()
    """value-safe cleaning of the text; null: none"""
    valid_share: float = Field(0.05, ge=0, lt=1)
    """share of the records whose masked tokens are only predicted"""
    length: int = Field(256, ge=8)
    """tokens of a record that are read at once; training reads another stretch each time"""
    subwords: int = Field(8000, ge=100)
    """size of the vocabulary that is trained where the model brings none"""
    share: float = Field(0.15, gt=0, lt=1)
    """share of the tokens that are to be predicted"""
    whole_words: bool = False
    """hide all pieces of a word together"""


class PretrainRecipe(Recipe):
    """The complete recipe of a pre-training."""

    epochs: int = Field(10, ge=1)
    """how long to train"""
    batch_size: int = Field(16, ge=1)
    """texts per optimiser step, over all processes and micro-steps together"""
    optimizer: OptimizerBlock = AdamW(learning_rate=1e-3)
    """how weights move"""
    schedule: ScheduleBlock = Cosine(warmup=100)
    """how the learning rate runs"""
    clip: float | None = Field(1.0, gt=0)
    """upper bound of the gradient's norm; null: none"""
    records: Schema = Schema()
    """which columns are text"""
    data: PretrainData = PretrainData()
    """how text becomes what the model sees"""
    model: ModelBlock = TransformerBlock()
    """the network that is pre-trained; train with the same block"""

    @model_validator(mode="after")
    def _the_model_reads_tokens(self) -> Self:
        if self.model.name == "tfidf":
            raise ValueError("model tfidf cannot be pre-trained; choose one that reads tokens")
        return self


RECIPE = PretrainRecipe
