"""What every department's recipe has in common: the training half, and how a recipe is read.

A recipe is a tree of frozen blocks. It is read from YAML, changed by `key.path=value` overrides,
validated as a whole (all problems at once) and stored complete in the run folder. This module
imports no torch.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, model_validator

from vesalius.block import Block
from vesalius.engine import recipe_errors, recipe_yaml
from vesalius.engine.optim import AdamW, Cosine, OptimizerBlock, ScheduleBlock
from vesalius.engine.piece_blocks import PieceBlock
from vesalius.engine.step_blocks import Plain, StepBlock
from vesalius.errors import RecipeError


class Held(Block):
    """Who validates; the base of a department's `data` block."""

    valid_share: float = Field(0.2, ge=0, lt=1)
    """share of the cases held out for validation where the source names none; split by patient"""
    folds: int | None = Field(None, ge=2)
    """cut the cases (or patients) into so many folds instead; the seed decides who is together"""
    fold: int = Field(0, ge=0)
    """which of the folds is held out, from 0"""

    @model_validator(mode="after")
    def _fold_is_one_of_the_folds(self) -> Self:
        if self.folds is None and self.fold:
            raise ValueError(f"data.fold is {self.fold}; it needs data.folds, say how many")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(
                f"data.fold is {self.fold}; with data.folds={self.folds} the folds are 0 to "
                f"{self.folds - 1}"
            )
        return self


class Recipe(Block):
    """The part of a recipe that the engine reads. Departments add their own blocks."""

    named: ClassVar[Path | None] = None
    """file of a department's named recipes: name -> {"about": sentence, "recipe": what differs}"""

    seed: int = Field(0, ge=0)
    """of weights, order of the cases, augmentation and dropout"""
    epochs: int = Field(100, ge=0)
    """how long to train; 0: not at all, for models that are solved rather than trained"""
    batches_per_epoch: int | None = Field(None, ge=1)
    """steps that count as one epoch; null: as many as one pass over the cases takes"""
    batch_size: int = Field(8, ge=1)
    """cases per optimiser step, over all processes and micro-steps together"""
    accumulate: int = Field(1, ge=1)
    """micro-steps into which a step is cut, to save memory"""
    optimizer: OptimizerBlock = AdamW()
    """how weights move"""
    schedule: ScheduleBlock = Cosine()
    """how the learning rate runs"""
    step: StepBlock = Plain()
    """how a step is taken: plain, or an adversarial way"""
    pieces: tuple[PieceBlock, ...] = ()
    """what is composed around the step, in this order: ema, swa, mixup, unfreeze"""
    clip: float | None = Field(None, gt=0)
    """upper bound of the gradient's norm; null: none"""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 where the hardware has it, float16 on older GPUs, else float32"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    sharding: Literal["replicate", "fsdp"] = "replicate"
    """under torchrun: copies of the model (DDP), or its parts spread over processes (FSDP2)"""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """processes that load data; auto: none on a CPU, up to 8 beside a GPU"""
    evaluate_every: int = Field(1, ge=1)
    """epochs between two evaluations; the last epoch is always evaluated"""
    checkpoint_minutes: float = Field(5.0, ge=0)
    """minutes between two checkpoints; 0: after every step"""
    keep: Literal["best", "last"] = "best"
    """which weights model.safetensors holds, by the headline score on the validation cases"""

    @model_validator(mode="after")
    def _parts_divide(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be cut into accumulate={self.accumulate} "
                "equal parts; choose a multiple"
            )
        return self

    @classmethod
    def load(
        cls, source: str | Path | Mapping[str, Any] | None = None, overrides: Iterable[str] = ()
    ) -> Self:
        """Read a recipe: defaults, then a YAML file (or a mapping), then `key.path=value` items.

        Args:
            source: a YAML file, the name of a recipe, a mapping, or None for the recipe that is
                named "default", where there is one, else the defaults alone.
            overrides: "key.path=value" strings, applied in order; a value is read as YAML. One
                that changes a block's `name` starts the block afresh: put `name` first.

        Raises:
            RecipeError: with every problem, its path and the nearest valid name.
        """
        if source is None and "default" in cls.presets():
            source = "default"
        if isinstance(source, str) and cls.named is not None and not Path(source).exists():
            source = cls.preset(source)
        where = str(source) if isinstance(source, str | Path) else "recipe"
        given = recipe_yaml.read(source)
        values = recipe_yaml.merge(cls().model_dump(mode="json"), given)
        for override in overrides:
            values = recipe_yaml.apply_override(values, override)
        return cls.validated(values, where=where)

    @classmethod
    def presets(cls) -> dict[str, dict[str, Any]]:
        """Return the named recipes: name -> {"about": sentence, "recipe": what differs}."""
        return {} if cls.named is None else recipe_yaml.read(cls.named)

    @classmethod
    def preset(cls, name: str) -> dict[str, Any]:
        """Return what a named recipe changes.

        Raises:
            RecipeError: neither a file nor a known name.
        """
        known = cls.presets()
        if name not in known:
            hint = recipe_errors.nearest(name, list(known))
            raise RecipeError(
                f"recipe '{name}' is neither a file nor a known name. {hint}"
                f"Known: {', '.join(known)}"
            )
        return known[name]["recipe"] or {}

    @classmethod
    def validated(cls, values: Mapping[str, Any], *, where: str = "recipe") -> Self:
        """Validate a complete mapping; raise a `RecipeError` that lists every problem."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = recipe_errors.explain(cls, error)
            raise RecipeError(f"{where}: {len(problems)} problem(s)", problems) from None

    def patched(self, patch: Mapping[str, Any]) -> Self:
        """Return this recipe with dotted keys replaced, as a trick does: {"step.name": "fgm"}."""
        values = self.model_dump(mode="json")
        for path, value in patch.items():
            values = recipe_yaml.set_path(values, path, value)
        return type(self).validated(values, where="patched recipe")

    def to_yaml(self, *, comments: bool = False) -> str:
        """Return the complete recipe as YAML; with `comments`, each key explained."""
        return recipe_yaml.dump(self, comments=comments)
