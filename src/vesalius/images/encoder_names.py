"""Names of `vesalius.images.encoders` for recipes, which are read without torch."""

from typing import Literal

EncoderName = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "vgg16_bn",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
]
