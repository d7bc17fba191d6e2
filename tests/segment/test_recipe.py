import subprocess
import sys
from pathlib import Path

import pytest

from vesalius.engine.tricks import catalogue
from vesalius.errors import RecipeError
from vesalius.segment.recipe import SegmentRecipe

RECIPES = Path(__file__).parents[2] / "recipes" / "segment"


@pytest.mark.parametrize("name", list(SegmentRecipe.presets()))
def test_the_printed_recipe_in_the_repository_is_what_the_program_prints(name):
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    about, _, body = text.partition("\n\n")
    assert about.startswith(f"# {name}: ")
    assert body == SegmentRecipe.load(name).to_yaml(comments=True)
    assert SegmentRecipe.load(RECIPES / f"{name}.yaml") == SegmentRecipe.load(name)


@pytest.mark.parametrize("name", list(catalogue("segment")))
def test_every_trick_changes_the_default_recipe_or_names_it(name):
    trick = catalogue("segment")[name]
    changed = trick.apply(SegmentRecipe.load())
    # The default has these two already.
    had = {"hybrid-loss": ["loss.name=dice"], "deep-supervision": ["model.deep_supervision=false"]}
    base = SegmentRecipe.load(None, had.get(name, []))
    assert trick.apply(base) != base
    assert isinstance(changed, SegmentRecipe)


def test_a_trick_of_ones_own_joins_the_catalogue(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "slow:\n  {kind: k, about: a, paper: p, patch: {optimizer.learning_rate: 1e-5}}"
    )
    mine = catalogue("segment", extra=path)["slow"]
    assert mine.apply(SegmentRecipe.load()).optimizer.learning_rate == 1e-5
    path.write_text("slow: {kind: k}")
    with pytest.raises(RecipeError, match="'slow' needs the keys"):
        catalogue("segment", extra=path)


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(RecipeError, match="Did you mean 'unet'"):
        SegmentRecipe.load("unett")


def test_reading_a_recipe_loads_no_torch():
    code = (
        "import sys; from vesalius.segment.recipe import SegmentRecipe; SegmentRecipe.load();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
