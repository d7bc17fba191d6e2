"""The base of everything that a recipe can name: a frozen, strict pydantic model."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """One block of a recipe. Unknown keys are errors; values cannot change after validation.

    A family of alternatives (losses, transforms, optimisers) is a set of blocks that each carry
    `name: Literal["..."]`; the recipe holds their union with `Field(discriminator="name")`.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
