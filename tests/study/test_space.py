import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.study.toys import toy
from vesalius.errors import RecipeError
from vesalius.study.space import Choices, Span, candidates, check, space


def test_ranges_and_choices_are_read_as_written():
    found = space(["a.b=1e-4..1e-2 log", "n=5..20", "x = 0.5 .. 1.5", "loss.name=bce | focal"])
    assert found == {
        "a.b": Span(1e-4, 1e-2, log=True),
        "n": Span(5, 20, whole=True),
        "x": Span(0.5, 1.5),
        "loss.name": Choices(("bce", "focal")),
    }


def test_choices_are_yaml_and_may_be_lists():
    found = space(["pieces=[] | [{name: ema}]", "on=true|false"])
    assert found["pieces"] == Choices(([], [{"name": "ema"}]))
    assert found["on"] == Choices((True, False))


def test_a_file_says_the_same(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("optimizer.learning_rate: 1e-4..1e-2 log\nwidth: [8, 16]\n")
    assert space(path) == space(["optimizer.learning_rate=1e-4..1e-2 log", "width=8|16"])


def test_everything_that_cannot_be_read_is_listed_at_once():
    wrong = ["a=1..x", "b=3..2", "c=0..1 log", "d=5"]
    with pytest.raises(RecipeError) as caught:
        space(wrong)
    assert [problem[0] for problem in caught.value.problems] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("line", ["a", "a=", "=1..2"])
def test_lines_that_are_no_entries_are_refused(line):
    with pytest.raises(RecipeError, match="cannot be read"):
        space([line])


@given(
    low=st.integers(1, 1000),
    more=st.integers(1, 1000),
    log=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_draws_stay_within_their_range(low, more, log, seed):
    rng = np.random.default_rng(seed)
    for whole in (True, False):
        span = Span(low / 1 if whole else low / 7, low + more, log=log, whole=whole)
        values = [span.draw(rng) for _ in range(20)]
        assert all(span.low <= value <= span.high for value in values)
        assert all(isinstance(value, int if whole else float) for value in values)


def test_logarithmic_draws_are_even_over_the_logarithm():
    rng = np.random.default_rng(0)
    values = [Span(1e-4, 1.0, log=True).draw(rng) for _ in range(4000)]
    counts = np.bincount([min(3, int(math.log10(v) + 4)) for v in values], minlength=4)
    assert (abs(counts - 1000) < 120).all()


def test_every_whole_number_of_a_logarithmic_range_can_be_drawn():
    rng = np.random.default_rng(0)
    seen = {Span(1, 4, log=True, whole=True).draw(rng) for _ in range(500)}
    assert seen == {1, 2, 3, 4}


def test_a_key_or_value_that_the_recipe_lacks_is_refused_before_anything_trains():
    known = space(["optimizer.learning_rat=1e-4..1e-2", "epochs=-3..5"])
    with pytest.raises(RecipeError) as caught:
        check(toy().recipe, known)
    text = "\n".join(caught.value.problems)
    assert "learning_rate" in text  # the nearest valid name
    assert "epochs=-3" in text


def test_candidates_differ_from_each_other_and_from_the_recipe():
    base = toy("width=8").recipe
    found = candidates(base, space(["width=8|16|24"]), 10, seed=0)
    assert sorted(patch["width"] for patch in found) == [16, 24]


def test_a_space_without_anything_new_is_refused():
    base = toy("width=8").recipe
    with pytest.raises(RecipeError, match="other than"):
        candidates(base, {"width": Choices((8, 8))}, 3, seed=0)
