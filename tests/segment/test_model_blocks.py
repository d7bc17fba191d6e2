import inspect

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from vesalius.segment import model_blocks
from vesalius.segment.models import MODELS, options_of

BLOCKS = {
    block.model_fields["name"].default: block
    for block in model_blocks.ModelBlock.__origin__.__args__
}
SMALL = {
    "fcn32s": {"widths": (4, 4, 8, 8, 8), "classifier_width": 8},
    "fcn16s": {"widths": (4, 4, 8, 8, 8), "classifier_width": 8},
    "fcn8s": {"widths": (4, 4, 8, 8, 8), "classifier_width": 8, "encoder": "vgg16_bn"},
    "segnet": {"widths": (4, 4, 8, 8, 8)},
    "deeplab_v1": {"widths": (4, 4, 8, 8, 8), "classifier_width": 8, "rate": 2},
    "deeplab_v2": {"encoder": "resnet18", "rates": (2, 4)},
    "deeplab_v3": {"encoder": "resnet50", "multi_grid": (1, 2, 4), "output_stride": 8},
    "deeplab_v3_plus": {"encoder": "resnet18", "separable": True},
    "pspnet": {"encoder": "resnet18", "bins": (1, 2), "auxiliary": False},
    "unet_plus_plus": {"widths": (4, 8), "deep_supervision": False},
    "refinenet": {"encoder": "resnet18", "pooling_stages": 2, "width": 8},
    "light_weight_refinenet": {"encoder": "resnet18", "width": 8},
}


def test_every_model_has_a_block():
    assert BLOCKS.keys() == MODELS.keys()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_blocks_options_and_defaults_are_the_models(name):
    fields = {key: field for key, field in BLOCKS[name].model_fields.items() if key != "name"}
    assert set(fields) == set(options_of(name))
    parameters = inspect.signature(MODELS[name]).parameters
    assert {key: field.default for key, field in fields.items()} == {
        key: parameters[key].default for key in fields
    }
    assert all(field.description for field in fields.values())


@pytest.mark.parametrize("name", SMALL)
def test_a_block_builds_its_model_with_its_options(name):
    block = TypeAdapter(model_blocks.ModelBlock).validate_python({"name": name, **SMALL[name]})
    with torch.device("meta"):
        model = block.build(in_channels=1, classes=2)
    assert type(model) is MODELS[name]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"name": "fcn8s", "encoder": "resnet50"}, "vgg16"),
        ({"name": "fcn8s", "widths": [8, 8]}, "at least 5"),
        ({"name": "deeplab_v2", "encoder": "vgg16"}, "resnet18"),
        ({"name": "deeplab_v3", "output_stride": 4}, "8, 16 or 32"),
        ({"name": "deeplab_v3", "rates": []}, "at least 1"),
        ({"name": "pspnet", "bins": [0]}, "greater than 0"),
        ({"name": "refinenet", "pooling_stages": 3}, "2 or 4"),
        ({"name": "segnet", "encoder": "vgg16"}, "Extra inputs"),
    ],
)
def test_what_a_model_does_not_take_is_refused_when_the_recipe_is_read(options, part):
    with pytest.raises(ValidationError, match=part):
        TypeAdapter(model_blocks.ModelBlock).validate_python(options)
