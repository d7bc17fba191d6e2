"""How a step is taken, as blocks of a recipe. The steps themselves are in `steps.py`."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vesalius.block import Block

if TYPE_CHECKING:
    from vesalius.engine.steps import Step

_MATCH = (
    "auto: the module that embeds the inputs; else a glob pattern on names: of modules "
    "(on: activations) or parameters (on: weights)"
)
_MODULES = "auto: the module that embeds the inputs; else a glob pattern on module names"


class _StepBlock(Block):
    def build(self) -> "Step":
        """Return the step object."""
        from vesalius.engine import steps

        return steps.BY_NAME[self.name](**self.model_dump(exclude={"name"}))  # pyright: ignore


class Plain(_StepBlock):
    """Forward, backward: nothing else."""

    name: Literal["plain"] = "plain"


class FGMBlock(_StepBlock):
    """Fast gradient method (Miyato et al. 2017): one adversarial pass beside the clean one."""

    name: Literal["fgm"] = "fgm"
    epsilon: float = Field(1.0, gt=0)
    """L2 length of the perturbation"""
    on: Literal["inputs", "activations", "weights"] = "activations"
    """what is perturbed: float inputs, outputs of modules (embeddings), or parameters"""
    match: str = Field("auto", description=_MATCH)


class PGDBlock(_StepBlock):
    """Projected gradient descent (Madry et al. 2018) in an L2 ball."""

    name: Literal["pgd"] = "pgd"
    epsilon: float = Field(1.0, gt=0)
    """radius of the ball"""
    alpha: float = Field(0.3, gt=0)
    """length of one ascent step"""
    steps: int = Field(3, ge=1)
    """ascent steps; only the last pass trains"""
    on: Literal["inputs", "activations", "weights"] = "activations"
    """what is perturbed: float inputs, outputs of modules (embeddings), or parameters"""
    match: str = Field("auto", description=_MATCH)


class FreeLBBlock(_StepBlock):
    """FreeLB (Zhu et al. 2020): gradients of all ascent steps are averaged, so none is wasted."""

    name: Literal["freelb"] = "freelb"
    steps: int = Field(3, ge=1)
    """ascent steps"""
    alpha: float = Field(0.1, gt=0)
    """length of one ascent step"""
    magnitude: float = Field(0.05, ge=0)
    """length of the random start"""
    max_norm: float | None = Field(None, gt=0)
    """largest length of a perturbation; null: unbounded"""
    on: Literal["inputs", "activations"] = "activations"
    """what is perturbed: float inputs, or outputs of modules (embeddings)"""
    match: str = Field("auto", description=_MODULES)


class AWPBlock(_StepBlock):
    """Adversarial weight perturbation (Wu et al. 2020): flat minima by attacking the weights."""

    name: Literal["awp"] = "awp"
    gamma: float = Field(0.01, gt=0)
    """length of the perturbation relative to each weight's norm"""
    match: str = Field("*weight", description="glob pattern on parameter names (matrices only)")


class VATBlock(_StepBlock):
    """Virtual adversarial training (Miyato et al. 2018): smooth outputs, no label needed."""

    name: Literal["vat"] = "vat"
    epsilon: float = Field(1.0, gt=0)
    """L2 length of the perturbation"""
    xi: float = Field(1e-2, gt=0)
    """length of the finite-difference probe"""
    power_iterations: int = Field(1, ge=1)
    """iterations that find the most sensitive direction"""
    weight: float = Field(1.0, gt=0)
    """weight of the smoothness term"""
    outputs: Literal["bernoulli", "categorical"] = "bernoulli"
    """logits of independent labels, or of exclusive classes along dimension 1"""
    on: Literal["inputs", "activations"] = "activations"
    """what is perturbed: float inputs, or outputs of modules (embeddings)"""
    match: str = Field("auto", description=_MODULES)


StepBlock = Annotated[
    Plain | FGMBlock | PGDBlock | FreeLBBlock | AWPBlock | VATBlock, Field(discriminator="name")
]
