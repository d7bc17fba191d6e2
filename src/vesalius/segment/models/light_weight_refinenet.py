"""Light-Weight RefineNet (Nekrasov et al. 2018, "Light-Weight RefineNet for Real-Time Semantic
Segmentation", arXiv:1810.03272).

RefineNet with its 3 x 3 convolutions outside the classifier made 1 x 1 and its residual
convolution units left out; chained residual pooling keeps its 5 x 5 windows. With 21 classes and
three channels: 27,357,525 parameters (ResNet-50), 46,349,653 (101), 61,993,301 (152).

As in the authors' code there is no dropout before the classifier. Beyond it: as in `refinenet`.
Their MobileNet-v2 variant (six maps, ReLU6) is another network and not built here.
"""

from vesalius.images import encoders
from vesalius.segment.models.refinenet import LEVELS, Refined, RefineDecoder


class LightWeightRefineNet(Refined):
    """Light-Weight RefineNet.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        dims: 2, or 3 with a ResNet encoder.
        encoder: name of an encoder of `vesalius.images.encoders`. Its four coarsest maps are used:
            strides 4 to 32, with VGG-16 2 to 16.
        encoder_weights: see `vesalius.images.encoders.build`.
        width: channels of the decoder's blocks; the coarsest has twice as many.
        pooling_stages: stages of chained residual pooling.
        dropout: probability of zeroing an element of the two coarsest maps in training.

    `forward` maps (B, in_channels, *size) to logits (B, classes, *size), in training too.

    Raises:
        RecipeError: a bad value, or an encoder that does not exist for these dimensions.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder: str = "resnet50",
        encoder_weights: str | None = None,
        width: int = 256,
        pooling_stages: int = 4,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.encoder = encoders.build(
            str(encoder), in_channels=in_channels, weights=encoder_weights, dims=dims
        )
        self.decoder = RefineDecoder(
            self.encoder.channels,
            classes,
            width=width,
            adapt_units=0,
            output_units=[0] * LEVELS,
            pooling_stages=pooling_stages,
            kernel=1,
            dropout=dropout,
            final_dropout=0.0,
            dims=dims,
        )
