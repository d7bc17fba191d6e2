"""What is composed around a step, as blocks of a recipe. The pieces are in `pieces.py`."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vesalius.block import Block

if TYPE_CHECKING:
    from vesalius.engine.pieces import Piece


class _PieceBlock(Block):
    def build(self) -> "Piece":
        """Return the piece."""
        from vesalius.engine import pieces

        return pieces.BY_NAME[self.name](**self.model_dump(exclude={"name"}))  # pyright: ignore


class EMABlock(_PieceBlock):
    """Exponential moving average of the weights; evaluation and the saved model use it."""

    name: Literal["ema"] = "ema"
    decay: float = Field(0.999, gt=0, lt=1)
    """share of the old average that a step keeps; it starts lower: (1 + n) / (10 + n)"""


class SWABlock(_PieceBlock):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the last part's weights."""

    name: Literal["swa"] = "swa"
    start: float = Field(0.75, ge=0, lt=1)
    """share of the steps after which averaging begins"""
    every: int = Field(1, ge=1)
    """steps between two weights that enter the mean"""


class MixupBlock(_PieceBlock):
    """mixup (Zhang et al. 2018): convex mixtures of two inputs; the loss is mixed likewise."""

    name: Literal["mixup"] = "mixup"
    alpha: float = Field(0.2, gt=0)
    """parameter of Beta(alpha, alpha), from which the share is drawn"""


class UnfreezeBlock(_PieceBlock):
    """Gradual unfreezing (Howard and Ruder 2018): the top layer trains first, then one more at a
    time; for models that know their layers, such as text encoders."""

    name: Literal["unfreeze"] = "unfreeze"
    until: float = Field(0.5, gt=0, le=1)
    """share of the steps after which every layer trains"""


PieceBlock = Annotated[
    EMABlock | SWABlock | MixupBlock | UnfreezeBlock, Field(discriminator="name")
]
