"""What of a recipe does not fit the data is said before anything is trained."""

import pytest

from vesalius.errors import RecipeError
from vesalius.segment.checks import check_recipe
from vesalius.segment.facts import Facts
from vesalius.segment.recipe import SegmentRecipe

PICTURES = Facts(2, 1, {"background": 0, "disc": 1, "square": 2}, (32, 32))
VOLUMES = Facts(3, 1, {"background": 0, "disc": 1}, (16, 16, 16))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["predict.window=[32]"], r"predict\.window has 1 numbers; the images have 2 axes"),
        (["loss.name=boundary", "loss.spacing=[1,1,2]"], r"loss\.spacing has 3 numbers"),
        (["predict.mirror=[2]"], "name axes from 0 to 1, each once"),
        (["predict.mirror=[0,0]"], "each once"),
        (["loss.class_weights=[1,2]"], r"loss\.class_weights has 2 numbers; there are 3 labels"),
        (["loss.alpha=[0.5,0.5]"], r"loss\.alpha has 2 numbers"),
    ],
)
def test_what_does_not_fit_the_pictures_is_named(overrides, problem):
    with pytest.raises(RecipeError, match=problem):
        check_recipe(SegmentRecipe.load(None, overrides), PICTURES)


@pytest.mark.parametrize("mirror", ["true", "false", "[]", "[2]", "[0,2]"])
def test_what_fits_the_volumes_passes(mirror):
    check_recipe(SegmentRecipe.load(None, [f"predict.mirror={mirror}"]), VOLUMES)
