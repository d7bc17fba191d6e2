"""What can be configured of a segmentation. Importing this module imports no torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, StrictBool, model_validator

from vesalius.block import Block
from vesalius.engine.optim import AdamW, OptimizerBlock
from vesalius.engine.recipe import Held, Recipe
from vesalius.images.transforms import (
    Brightness,
    Contrast,
    Flip,
    Gamma,
    GaussianNoise,
    Normalise,
    Rotate,
    Scale,
    TransformBlock,
)
from vesalius.segment.loss_blocks import HybridBlock, LossBlock
from vesalius.segment.model_blocks import ModelBlock, UNet3PlusBlock

AUGMENTATION = (
    Flip(axes=(0, 1)),
    Rotate(probability=0.3),
    Scale(probability=0.3),
    Brightness(probability=0.2),
    Contrast(probability=0.2),
    Gamma(probability=0.3),
    GaussianNoise(probability=0.15),
)


class Data(Held):
    """How files become what the model sees."""

    target: Literal["labels", "foreground", "instances"] = "labels"
    """labels: mask values are classes; foreground: everything but 0 is one class; instances: mask
    values number single objects, which are learned as rim and core and parted again"""
    rim: float = Field(2.0, ge=1)
    """width in pixels of an object's rim, for target=instances"""
    labels: dict[str, Annotated[int, Field(ge=0)]] | None = None
    """name -> mask value, background first; null: what dataset.json declares or the masks hold"""
    colour: Literal["auto", "grey", "rgb"] = "auto"
    """of pictures; auto: as stored, grey ones as rgb where a set mixes both; grey: luminance"""
    ignore: int | None = None
    """mask value that counts for nothing, in losses and in scores; null: none"""
    spacing: Literal["median"] | tuple[PositiveFloat, ...] | None = None
    """common voxel size in mm to resample to; median: of all cases given; null: as stored"""
    normalise: Normalise = Normalise()
    """how intensities are brought to one scale"""
    crop_foreground: bool = False
    """cut empty (zero) borders away first; predictions are put back"""
    patch: tuple[PositiveInt, ...] | Literal["auto"] = "auto"
    """size of training crops; auto: the median size, at most 256 x 256 or 96 x 96 x 96"""
    foreground: float = Field(0.33, ge=0, le=1)
    """chance that a crop is placed on a foreground class, drawn evenly among those present"""
    cache: Literal["auto", "memory", "none"] = "auto"
    """keep prepared cases in memory; auto: where they fit into a quarter of what is free"""


class Prediction(Block):
    """How a trained model is used on whole images."""

    window: Literal["patch"] | tuple[PositiveInt, ...] = "patch"
    """size of the sliding window; patch: that of the training crops"""
    overlap: float = Field(0.5, ge=0, lt=1)
    """share by which neighbouring windows overlap, where an image is larger than a window"""
    gaussian: bool = True
    """weight window centres more than borders (sigma: an eighth of the window)"""
    mirror: StrictBool | tuple[Annotated[int, Field(ge=0, le=2)], ...] = False
    """average over mirrored copies along every axis (4 or 8 passes), or along the axes named"""
    largest_component: bool = False
    """keep the largest connected piece of every label alone; for organs, of which there is one"""
    smallest: int = Field(0, ge=0)
    """drop pieces (target=instances: objects) of fewer pixels"""
    instances: bool = False
    """for target=foreground: part touching objects by a distance watershed, score and write them"""


class SegmentRecipe(Recipe):
    """The complete recipe of a segmentation."""

    named = Path(__file__).with_name("presets.yaml")

    optimizer: OptimizerBlock = AdamW(learning_rate=2e-3)
    """how weights move"""
    data: Data = Data()
    """how files become what the model sees"""
    augment: tuple[TransformBlock, ...] = AUGMENTATION
    """random changes of training crops, in this order; spatial neighbours interpolate once"""
    model: ModelBlock = UNet3PlusBlock(
        widths=(16, 32, 64, 128, 256), skip_width=16, deep_supervision=True
    )
    """the network; the default is U-Net 3+ at a quarter of the paper's widths"""
    loss: LossBlock = HybridBlock()
    """what is minimised; the default is U-Net 3+'s: focal + MS-SSIM + IoU"""
    head_weights: Literal["equal", "halving"] = "equal"
    """weights of deep supervision's heads, finest first: all the same (U-Net 3+) or 1, 1/2, 1/4"""
    predict: Prediction = Prediction()
    """how whole images are predicted"""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.predict.instances and self.data.target == "labels":
            raise ValueError(
                "predict.instances parts a foreground into objects: it needs "
                "data.target=foreground (target=instances parts them anyway)"
            )
        return self


RECIPE = SegmentRecipe
