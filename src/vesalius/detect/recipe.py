"""What can be configured of a detection. Importing this module imports no torch."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vesalius.block import Block
from vesalius.detect.model_blocks import FasterRCNNBlock, ModelBlock
from vesalius.engine.optim import AdamW, OptimizerBlock
from vesalius.engine.recipe import Held, Recipe
from vesalius.images.transforms import (
    Brightness,
    Contrast,
    Flip,
    Gamma,
    Normalise,
    Scale,
    TransformBlock,
)

AUGMENTATION = (
    Flip(),
    Scale(probability=0.5, factor=(0.8, 1.25), padding="zeros"),
    Brightness(probability=0.3),
    Contrast(probability=0.3),
    Gamma(probability=0.3),
)
NOT_FOR_BOXES = ("elastic", "crop_foreground", "random_crop", "centre_crop", "pad_to", "normalise")


class ProposalOptions(Block):
    """Where regions come from, for networks that make none of their own."""

    file: str | None = None
    """.npz, .npy, .json, .csv or .mat with boxes per image; null: selective search"""
    mode: Literal["single", "fast", "quality"] = "fast"
    """settings of selective search (Uijlings et al. 2013)"""
    most: PositiveInt = 2000
    """the best so many per image"""
    min_size: PositiveFloat = 10.0
    """shortest side in pixels of the image as the network sees it"""
    folder: str | None = None
    """where found regions are kept; null: below the user's cache folder"""


class Data(Held):
    """How files become what the model sees."""

    format: Literal["coco", "voc", "yolo", "labelme", "csv", "masks"] | None = None
    """of the annotations; null: recognised"""
    images: str | None = None
    """folder of the images, where they do not lie beside the annotations"""
    boxes: Literal["refuse", "repair"] = "refuse"
    """wrong boxes are listed, or clipped and dropped"""
    classes: tuple[str, ...] | None = None
    """names in order; null: what the data declare, else all that occur"""
    colour: Literal["auto", "grey", "rgb"] = "auto"
    """of pictures; auto: rgb where any picture has colours"""
    normalise: Normalise = Normalise()
    """how intensities are brought to one scale"""
    shortest: PositiveInt | None = None
    """images are scaled so that their shortest side has so many pixels; null: as they are"""
    longest: PositiveInt | None = None
    """but the longest not more than so many"""
    crop: tuple[PositiveInt, ...] | None = None
    """size of training crops around an object, for large images and volumes; null: whole images"""
    proposals: ProposalOptions = ProposalOptions()
    """regions from outside, for Fast R-CNN and R-CNN"""
    cache: Literal["auto", "memory", "none"] = "auto"
    """keep prepared images in memory; auto: where they fit into a quarter of what is free"""


class Scoring(Block):
    """How detections are scored."""

    headline: Literal["AP", "AP50", "FROC"] = "AP50"
    """the score that decides which weights are kept"""
    kind: Literal["auto", "bbox", "segm"] = "auto"
    """overlap of boxes or of masks; auto: masks where the network predicts them"""


class Prediction(Block):
    """How a trained model is used."""

    score: float = Field(0.5, ge=0, le=1)
    """detections below are neither drawn nor counted as hits or false alarms; files hold all"""
    mirror: bool = False
    """detect in the mirrored image as well and fuse both"""


class DetectRecipe(Recipe):
    """The complete recipe of a detection."""

    named = Path(__file__).with_name("presets.yaml")

    batch_size: PositiveInt = 4
    """images per optimiser step, over all processes and micro-steps together"""
    optimizer: OptimizerBlock = AdamW(learning_rate=1e-3)
    """how weights move"""
    clip: PositiveFloat | None = 10.0
    """upper bound of the gradient's norm; null: none"""
    data: Data = Data()
    """how files become what the model sees"""
    augment: tuple[TransformBlock, ...] = AUGMENTATION
    """random changes of training images, in this order; boxes and masks move along"""
    model: ModelBlock = FasterRCNNBlock()
    """the network"""
    score: Scoring = Scoring()
    """how detections are scored"""
    predict: Prediction = Prediction()
    """how images are predicted"""

    @model_validator(mode="after")
    def _boxes_can_follow(self) -> Self:
        wrong = [item.name for item in self.augment if item.name in NOT_FOR_BOXES]
        if wrong:
            raise ValueError(f"augment: boxes cannot follow {', '.join(wrong)}; leave it out")
        if self.model.name == "rcnn" and self.keep == "best":
            raise ValueError("rcnn has its SVMs at the end of training alone: set keep=last")
        if self.score.kind == "segm" and not self.model.masks:
            raise ValueError("score.kind=segm needs a network with masks: model.name=mask_rcnn")
        return self


RECIPE = DetectRecipe
