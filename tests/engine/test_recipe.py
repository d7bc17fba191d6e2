import subprocess
import sys
import typing

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from vesalius.block import Block
from vesalius.engine import recipe_yaml
from vesalius.engine.optim import SGD, AdamW, Cosine, Polynomial
from vesalius.engine.piece_blocks import EMABlock, SWABlock
from vesalius.engine.recipe import Recipe
from vesalius.engine.step_blocks import AWPBlock, FGMBlock, Plain
from vesalius.errors import RecipeError
from vesalius.segment.recipe import SegmentRecipe


def problems(source=None, *overrides, recipe=Recipe):
    with pytest.raises(RecipeError) as caught:
        recipe.load(source, overrides)
    return caught.value.problems


def written(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# --- errors -------------------------------------------------------------------------------------


def test_an_unknown_key_is_named_with_its_nearest_and_all_known_ones():
    (problem,) = problems(None, "optimizer.learning_rat=1")
    assert problem == (
        "optimizer.learning_rat: unknown key. Did you mean 'learning_rate'? "
        "Known: name, learning_rate, weight_decay, betas, layer_decay"
    )


def test_an_unknown_name_is_named_with_its_nearest_and_all_known_ones():
    (problem,) = problems(None, "step.name=fmg")
    assert problem == (
        "step: unknown name 'fmg'. Did you mean 'fgm'? Known: plain, fgm, pgd, freelb, awp, vat"
    )


def test_a_name_in_a_list_is_found_by_its_index():
    (problem,) = problems(None, "pieces=[{name: ema}, {name: swo}]")
    assert problem.startswith("pieces.1: unknown name 'swo'. Did you mean 'swa'?")


def test_every_problem_is_reported_at_once_and_the_file_is_named(tmp_path):
    text = "epohs: 3\nclip: -1\nstep: {name: fgm, epsilom: 2}\npieces: [{name: ema, decay: 2}]\n"
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: 4 problem\(s\)") as caught:
        Recipe.load(path)
    found = {problem.split(":")[0] for problem in caught.value.problems}
    assert found == {"epohs", "clip", "step.epsilom", "pieces.0.decay"}
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    assert caught.value.exit_status == 2


def test_an_alternative_like_a_number_or_auto_is_one_problem_under_the_path_that_users_type():
    assert problems(None, "workers=many") == [
        "workers: input should be a valid integer or 'auto' (given: 'many')"
    ]
    (spacing,) = problems(None, "data.spacing=[1, wide]", recipe=SegmentRecipe)
    assert spacing.startswith("data.spacing.1: input should be a valid number")
    (patch,) = problems(None, "data.patch=big", recipe=SegmentRecipe)
    assert patch == "data.patch: input should be a valid list or 'auto' (given: 'big')"


def test_two_plain_unions_that_fail_are_two_problems():
    found = problems(None, "data.spacing=wide", "data.patch=big", recipe=SegmentRecipe)
    assert [problem.split(":")[0] for problem in found] == ["data.spacing", "data.patch"]


def test_a_word_from_a_fixed_set_gets_its_nearest():
    (problem,) = problems(None, "precision=float8")
    assert problem.endswith("(given: 'float8'). Did you mean 'float32'?")


@pytest.mark.parametrize("given", ["fgm", 3, None])
def test_a_single_value_where_a_block_belongs_gets_an_example(given):
    (problem,) = problems({"step": given})
    assert problem.startswith("step: needs a block of keys and values, for example {name: ")
    assert "freelb" in problem


def test_a_block_without_a_name_says_so():
    (problem,) = problems(None, "pieces=[{decay: 0.5}]")
    assert problem == "pieces.0: needs a name. Known: ema, swa, mixup, unfreeze"


def test_a_rule_between_two_keys_gives_its_own_words():
    (problem,) = problems(None, "batch_size=9", "accumulate=2")
    assert "batch_size 9 cannot be cut into accumulate=2 equal parts" in problem


@pytest.mark.parametrize("override", ["epochs", "=3", " =3"])
def test_an_override_without_key_or_value_is_refused(override):
    with pytest.raises(RecipeError, match=r"not of the form key\.path=value"):
        Recipe.load(None, [override])


def test_a_path_below_a_single_value_is_refused():
    with pytest.raises(RecipeError, match="'seed' is a single value"):
        Recipe.load(None, ["seed.x=1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: [1\n", "line 2, column 1: not valid YAML"),
        ("epochs: 1\nclip: 2\nepochs: 3\n", "line 3, column 1.*'epochs' stands twice"),
        ("step:\n  name: fgm\n  epsilon: 1\n  epsilon: 2\n", "line 4, column 3.*'epsilon' stands"),
        ("- epochs\n", "a recipe is a mapping"),
        ("\tepochs: 1\n", "line 1"),
    ],
)
def test_yaml_that_cannot_be_meant_names_file_and_place(tmp_path, text, message):
    with pytest.raises(RecipeError, match=f"recipe.yaml.*{message}"):
        Recipe.load(written(tmp_path, text))


def test_a_recipe_file_that_is_not_there_or_not_text_says_so(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe file"):
        Recipe.load(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read as UTF-8"):
        Recipe.load(tmp_path / "binary.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(tmp_path)


# --- switching a name ---------------------------------------------------------------------------


def test_switching_a_name_in_a_file_resets_the_block(tmp_path):
    path = written(tmp_path, "optimizer:\n  name: sgd\n  momentum: 0.5\n")
    assert SegmentRecipe.load(path).optimizer == SGD(momentum=0.5)  # not AdamW's 2e-3


def test_keeping_a_name_in_a_file_keeps_the_other_defaults(tmp_path):
    path = written(tmp_path, "optimizer:\n  name: adamw\n  weight_decay: 0.5\n")
    expected = AdamW(learning_rate=2e-3, weight_decay=0.5)
    assert SegmentRecipe.load(path).optimizer == expected
    path = written(tmp_path, "optimizer:\n  weight_decay: 0.5\n")
    assert SegmentRecipe.load(path).optimizer == expected


@pytest.mark.parametrize("overrides", [["step.name=awp"], ["step={name: awp}"]])
def test_switching_a_name_by_override_resets_the_block(overrides):
    source = {"step": {"name": "fgm", "epsilon": 9, "match": "*x*"}}
    assert Recipe.load(source, overrides).step == AWPBlock()


def test_an_override_after_the_switch_sets_the_new_blocks_keys():
    recipe = Recipe.load(None, ["step.name=fgm", "step.epsilon=0.5"])
    assert recipe.step == FGMBlock(epsilon=0.5)


def test_naming_the_same_name_again_changes_nothing():
    recipe = Recipe.load({"step": {"name": "fgm", "epsilon": 9}}, ["step.name=fgm"])
    assert recipe.step == FGMBlock(epsilon=9)


def test_a_block_without_name_in_an_override_changes_only_its_keys():
    recipe = Recipe.load({"step": {"name": "fgm", "epsilon": 9}}, ["step={match: '*q*'}"])
    assert recipe.step == FGMBlock(epsilon=9, match="*q*")


def test_a_patch_switches_as_an_override_does_and_leaves_the_recipe_alone():
    recipe = Recipe.load({"step": {"name": "fgm", "epsilon": 9}})
    patched = recipe.patched({"step.name": "pgd", "step.steps": 2, "pieces": [{"name": "ema"}]})
    assert patched.step.name == "pgd"
    assert patched.step.epsilon == 1.0
    assert patched.pieces == (EMABlock(),)
    assert recipe.step == FGMBlock(epsilon=9)
    assert type(SegmentRecipe().patched({"epochs": 3})) is SegmentRecipe
    with pytest.raises(RecipeError, match="patched recipe"):
        recipe.patched({"step.name": "no"})


def test_items_of_a_list_are_reached_by_index():
    source = {"pieces": [{"name": "ema"}, {"name": "swa", "start": 0.5}]}
    recipe = Recipe.load(source, ["pieces.0.decay=0.5", "pieces.1.every=3"])
    assert recipe.pieces == (EMABlock(decay=0.5), SWABlock(start=0.5, every=3))
    assert Recipe.load(source, ["pieces.1.name=ema"]).pieces[1] == EMABlock()
    assert Recipe.load(source, ["pieces.0={name: swa}"]).pieces[0] == SWABlock()
    assert source["pieces"][0] == {"name": "ema"}  # what was given stays as it was
    with pytest.raises(RecipeError, match=r"'pieces.2': the list has items 0 to 1, not '2'"):
        Recipe.load(source, ["pieces.2={name: ema}"])
    with pytest.raises(RecipeError, match=r"not '-1'"):
        Recipe.load(source, ["pieces.-1.decay=0.5"])
    with pytest.raises(RecipeError, match="the list is empty"):
        Recipe.load(None, ["pieces.0.name=ema"])


def test_lists_are_replaced_not_merged():
    source = {"pieces": [{"name": "ema"}, {"name": "swa"}]}
    assert Recipe.load(source, ["pieces=[{name: swa}]"]).pieces == (SWABlock(),)
    assert SegmentRecipe.load({"augment": []}).augment == ()


def test_keys_below_a_null_block_can_be_set():
    assert SegmentRecipe().data.labels is None
    recipe = SegmentRecipe.load(None, ["data.labels.background=0", "data.labels.tumour=3"])
    assert recipe.data.labels == {"background": 0, "tumour": 3}


def test_a_mapping_may_hold_tuples():
    assert (
        Recipe.load({"pieces": ({"name": "ema"},)}, ["pieces.0.decay=0.5"]).pieces[0].decay == 0.5
    )


# --- YAML as people mean it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("3e-4", 3e-4),
            ("1e5", 1e5),
            ("-2E+3", -2e3),
            (".5", 0.5),
            ("1.", 1.0),
            ("1.5e3", 1500.0),
        ],
        *[("no", "no"), ("on", "on"), ("Yes", "Yes"), ("off", "off"), ("y", "y")],
        *[("true", True), ("False", False), ("null", None), ("~", None)],
        *[("12", 12), ("-1_000", -1000), ("0x1f", 31), ("0", 0)],
        *[("010", "010"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("1e", "1e")],
        *[("'3e-4'", "3e-4"), ('"true"', "true")],
    ],
)
def test_values_are_read_as_people_mean_them(text, value):
    found = recipe_yaml.parse(text, "here")
    assert found == value
    assert type(found) is type(value)


def test_keys_are_words_as_typed():
    assert recipe_yaml.parse("{1: a, no: b, 2.50: c}", "here") == {"1": "a", "no": "b", "2.50": "c"}


def test_anchors_and_merged_blocks_work():
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n"
    assert recipe_yaml.parse(text, "here")["b"] == {"x": 1, "y": 3}


def test_an_override_reads_numbers_as_the_file_does():
    assert Recipe.load(None, ["optimizer.learning_rate=3e-4"]).optimizer.learning_rate == 3e-4
    assert Recipe.load(None, ["clip=null"]).clip is None


def test_a_file_with_a_byte_order_mark_and_an_empty_file_are_read(tmp_path):
    (tmp_path / "mark.yaml").write_text("epochs: 3\n", encoding="utf-8-sig")
    assert Recipe.load(tmp_path / "mark.yaml").epochs == 3
    assert Recipe.load(written(tmp_path, "# nothing yet\n")) == Recipe()


# --- writing ------------------------------------------------------------------------------------


class Deep(Block):
    """A block of a test, with what blocks can hold."""

    word: str = ""
    """any text"""
    words: dict[str, str] = Field(default_factory=dict)
    """named texts"""
    rows: tuple[tuple[float, str], ...] = ()
    """pairs"""


class Nested(Recipe):
    """A recipe with a block that holds free text."""

    deep: Deep | None = None
    """a block that may be missing"""
    deeps: tuple[Deep, ...] = ()
    """blocks without a name"""


finite = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1, exclude_max=True)
positive = st.floats(1e-300, 1e300)
texts = st.text(max_size=30) | st.sampled_from(
    [
        "3e-4",
        "no",
        "010",
        "1:30",
        "2020-01-01",
        "null",
        "~",
        " x ",
        "a: b",
        "- a",
        "#",
        "a\nb",
        "...",
    ]
)
deeps = st.builds(
    Deep,
    word=texts,
    words=st.dictionaries(texts, texts, max_size=3),
    rows=st.lists(st.tuples(finite, texts), max_size=2).map(tuple),
)
optimizers = st.builds(
    AdamW, learning_rate=positive, weight_decay=positive, betas=st.tuples(shares, shares)
) | st.builds(SGD, learning_rate=positive, momentum=shares, nesterov=st.booleans())
steps = st.builds(Plain) | st.builds(
    FGMBlock, epsilon=positive, on=st.sampled_from(["inputs", "weights"]), match=texts
)
pieces = st.builds(SWABlock, start=shares, every=st.integers(1)) | st.builds(
    EMABlock, decay=st.floats(1e-9, 1 - 1e-9)
)
schedules = st.builds(Cosine, floor=st.floats(0, 1), warmup=st.integers(0)) | st.builds(
    Polynomial, power=positive
)
common = {
    "seed": st.integers(0, 2**62),
    "optimizer": optimizers,
    "schedule": schedules,
    "step": steps,
    "pieces": st.lists(pieces, max_size=3).map(tuple),
    "clip": st.none() | positive,
    "device": texts,
    "workers": st.integers(0, 64) | st.just("auto"),
    "checkpoint_minutes": st.floats(0, 1e6),
}


def assert_round_trip(recipe):
    for comments in (False, True):
        text = recipe.to_yaml(comments=comments)
        values = recipe_yaml.parse(text, "dumped")
        assert type(recipe).load(values) == recipe
        if not comments:  # standard readers agree too; with comments, a bare `on:` is true to them
            assert type(recipe).load(yaml.safe_load(text)) == recipe


@given(st.builds(Nested, deep=st.none() | deeps, deeps=st.lists(deeps, max_size=2), **common))
@settings(max_examples=60, deadline=None)
def test_a_dumped_recipe_reads_back_equal(recipe):
    assert_round_trip(recipe)


def _segment_recipes():
    data = st.fixed_dictionaries(
        {},
        optional={
            "labels": st.dictionaries(texts, st.integers(0), max_size=3),
            "ignore": st.none() | st.integers(),
            "spacing": st.sampled_from([None, "median"]) | st.tuples(positive, positive),
            "patch": st.just("auto") | st.lists(st.integers(1), min_size=1, max_size=3),
            "valid_share": shares,
        },
    )
    losses = st.sampled_from(
        [{}, {"name": "dice", "smooth": 2.0}, {"name": "focal", "alpha": None}]
    )
    models = st.sampled_from([{}, {"name": "unet", "widths": [4, 8]}, {"encoder": "resnet18"}])
    augment = st.sampled_from([[], [{"name": "rotate"}, {"name": "gamma"}, {"name": "rotate"}]])
    return st.fixed_dictionaries(
        {"data": data, "loss": losses, "model": models, "augment": augment}
    )


@given(_segment_recipes())
@settings(max_examples=30, deadline=None)
def test_a_dumped_segmentation_recipe_reads_back_equal(values):
    assert_round_trip(SegmentRecipe.load(values))


def test_comments_stand_above_their_keys(tmp_path):
    lines = Recipe.load({"pieces": [{"name": "ema"}]}).to_yaml(comments=True).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("clip:"))
    assert lines[place - 1] == "# upper bound of the gradient's norm; null: none"
    assert "  - name: ema" in lines
    assert "\n".join(lines).index("  name: adamw") < "\n".join(lines).index("  learning_rate:")


# --- what is declared ---------------------------------------------------------------------------


def blocks_of(model, seen=None):
    """Every block class that a recipe can hold."""
    seen = set() if seen is None else seen
    if model in seen:
        return seen
    seen.add(model)
    for field in model.model_fields.values():
        for found in _models_in(field.annotation):
            blocks_of(found, seen)
    return seen


def _models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def bare_fields(blocks):
    return [
        f"{block.__name__}.{name}"
        for block in blocks
        for name, field in block.model_fields.items()
        if name != "name" and not field.description
    ]


def test_every_field_of_every_block_of_the_engine_is_described():
    found = blocks_of(Recipe)
    assert len(found) > 12
    assert bare_fields(found) == []
    assert [block.__name__ for block in blocks_of(SegmentRecipe) if not block.__doc__] == []


def test_every_field_of_every_block_of_segmentation_is_described():
    assert bare_fields(blocks_of(SegmentRecipe)) == []


def test_recipes_are_frozen_and_refuse_nan():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().epochs = 3
    (problem,) = problems({"clip": float("nan")})
    assert problem.startswith("clip: ")


def test_importing_recipes_loads_no_torch():
    code = (
        "import sys, vesalius.engine.recipe, vesalius.segment.recipe as s; "
        "s.SegmentRecipe.load(None, ['step.name=fgm']).to_yaml(comments=True); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
