import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.detect.models.sampling import BACKGROUND, IGNORED, balanced_sample, match

OVERLAPS = torch.tensor([[0.8, 0.4, 0.1, 0.0, 0.35], [0.2, 0.45, 0.2, 0.0, 0.1]])


def test_candidates_are_matched_by_their_largest_overlap():
    matches = match(OVERLAPS, foreground=0.7, background=(0.0, 0.3))
    assert matches.tolist() == [0, IGNORED, BACKGROUND, BACKGROUND, IGNORED]


def test_the_best_candidate_of_an_object_can_be_kept():
    matches = match(OVERLAPS, foreground=0.7, background=(0.0, 0.3), keep_best=True)
    assert matches.tolist() == [0, 1, BACKGROUND, BACKGROUND, IGNORED]


def test_background_can_have_a_lower_bound():
    matches = match(OVERLAPS, foreground=0.7, background=(0.15, 0.5))
    assert matches.tolist() == [0, BACKGROUND, BACKGROUND, IGNORED, BACKGROUND]


def test_an_object_that_no_candidate_touches_takes_none():
    matches = match(torch.zeros(1, 3), foreground=0.7, background=(0.0, 0.3), keep_best=True)
    assert matches.tolist() == [BACKGROUND] * 3


@pytest.mark.parametrize(("low", "expected"), [(0.0, BACKGROUND), (0.1, IGNORED)])
def test_without_objects_all_is_background(low, expected):
    matches = match(torch.zeros(0, 2), foreground=0.5, background=(low, 0.5))
    assert matches.tolist() == [expected] * 2


@given(
    positives=st.integers(0, 50),
    negatives=st.integers(0, 50),
    ignored=st.integers(0, 5),
    count=st.integers(1, 60),
    share=st.sampled_from([0.25, 0.5, 1.0]),
)
def test_samples_hold_at_most_their_share_of_foreground(
    positives, negatives, ignored, count, share
):
    kinds = [0] * positives + [BACKGROUND] * negatives + [IGNORED] * ignored
    matches = torch.tensor(kinds, dtype=torch.int64)
    fore, back = balanced_sample(matches, count=count, foreground_share=share)
    assert len(fore) == min(int(count * share), positives)
    assert len(back) == min(count - len(fore), negatives)
    assert len(set(fore.tolist())) == len(fore)
    assert (matches[fore] == 0).all()
    assert (matches[back] == BACKGROUND).all()


def test_draws_follow_torchs_generator_and_reach_everything():
    matches = torch.tensor([0] * 6 + [BACKGROUND] * 6)
    drawn = set()
    for seed in range(30):
        torch.manual_seed(seed)
        one = torch.cat(balanced_sample(matches, count=4, foreground_share=0.5))
        torch.manual_seed(seed)
        again = torch.cat(balanced_sample(matches, count=4, foreground_share=0.5))
        assert torch.equal(one, again)
        drawn |= set(one.tolist())
    assert drawn == set(range(12))
