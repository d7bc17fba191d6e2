import collections
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.engine.data import Batch, Loader, choose_workers
from vesalius.errors import DataError, StorageError


def collate(items):
    """Keep what the loader decided: which case, and its first random number."""
    return Batch([str(index) for index, _ in items], torch.tensor([x for _, x in items]))


def fetch(index, rng):
    return index, float(rng.random())


def loader(size, batch_size, **options):
    return Loader(fetch, size, collate=collate, batch_size=batch_size, **options)


def draws(batches):
    """(case, random number) of every draw, in order."""
    return [draw for b in batches for draw in zip(map(int, b.ids), b.inputs.tolist(), strict=True)]


def steps(made, start, count, **options):
    stream = made.steps(start, **options)
    return [next(stream) for _ in range(count)]


def whole(made, start, count):
    """The single process's draws, step by step."""
    return [draws(step) for step in steps(made, start, count)]


sizes = st.integers(1, 12)
seeds = st.integers(0, 2**32)


@given(sizes, sizes, st.integers(0, 7), seeds)
def test_the_stream_from_a_step_is_the_tail_of_the_stream_from_the_beginning(
    size, batch_size, start, seed
):
    made = loader(size, batch_size, seed=seed)
    assert whole(made, start, 3) == whole(made, 0, start + 3)[start:]


@given(sizes, sizes, seeds)
def test_every_pass_holds_every_case_once(size, batch_size, seed):
    passes = 3
    count = -(-passes * size // batch_size)
    stream = [
        index for step in whole(loader(size, batch_size, seed=seed), 0, count) for index, _ in step
    ]
    for n in range(passes):
        assert sorted(stream[n * size : (n + 1) * size]) == list(range(size))


@given(
    size=sizes,
    share=st.integers(1, 3),
    world=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    start=st.integers(0, 5),
    seed=seeds,
)
def test_processes_and_micro_steps_share_the_single_processs_batch(
    size, share, world, accumulate, start, seed
):
    made = loader(size, share * world * accumulate, seed=seed)
    expected = whole(made, start, 2)
    parts = [
        steps(made, start, 2, accumulate=accumulate, rank=rank, world=world)
        for rank in range(world)
    ]
    for step in range(2):
        assert all(len(part[step]) == accumulate for part in parts)
        assert all(len(batch) == share for part in parts for batch in part[step])
        # In order: micro-step by micro-step, and in each process by process.
        together = [parts[r][step][micro] for micro in range(accumulate) for r in range(world)]
        assert draws(together) == expected[step]


@given(sizes, sizes, st.integers(1, 4))
def test_the_shares_of_an_evaluation_hold_every_case_once_and_in_order(size, batch_size, world):
    made = loader(size, batch_size)
    parts = [draws(made.part(rank, world)) for rank in range(world)]
    for part in parts:
        assert [index for index, _ in part] == sorted(index for index, _ in part)
    assert sorted(draw for part in parts for draw in part) == draws(made)
    assert [index for index, _ in draws(made)] == list(range(size))
    assert len(list(made)) == len(made) == -(-size // batch_size)


def test_seeds_change_the_order_and_the_random_numbers():
    one, same, other = (whole(loader(9, 3, seed=s), 0, 6) for s in (1, 1, 2))
    assert one == same
    assert one != other
    numbers = [x for step in one for _, x in step]
    assert len(set(numbers)) == 18  # a case that returns is augmented anew
    assert [i for step in one[:3] for i, _ in step] != [i for step in one[3:] for i, _ in step]


def test_a_batch_larger_than_the_number_of_cases_goes_round():
    made = loader(3, 8)
    assert len(made) == 1
    counts = collections.Counter(index for index, _ in whole(made, 0, 1)[0])
    assert sorted(counts.values()) == [2, 3, 3]
    assert len({x for _, x in whole(made, 0, 1)[0]}) == 8
    assert [index for index, _ in draws(made)] == [0, 1, 2]


def test_an_order_of_its_own_may_repeat_and_leave_out():
    seen = []

    def order(n, rng):
        seen.append((n, float(rng.random())))
        return [0, 0, 4] if n % 2 == 0 else np.array([1, 2])

    made = loader(5, 2, order=order)
    found = [[index for index, _ in step] for step in whole(made, 0, 5)]
    assert found == [[0, 0], [4, 1], [2, 0], [0, 4], [1, 2]]
    assert [[i for i, _ in step] for step in whole(made, 3, 2)] == found[3:]
    first = {n: x for n, x in seen if n == 0}
    assert all(x == first[0] for n, x in seen if n == 0)  # a pass's randomness is its own


def test_an_order_without_cases_is_an_error_and_no_endless_search():
    with pytest.raises(ValueError, match="holds no case in pass 0"):
        steps(loader(5, 2, order=lambda n, rng: []), 0, 1)


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match=r"2 process\(es\) x 3 micro-step\(s\).*multiple of 6"):
        steps(loader(20, 8), 0, 1, accumulate=3, world=2)
    with pytest.raises(ValueError, match="at least one case"):
        loader(0, 1)


# --- loading processes --------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_loading_processes_yields_the_same(workers):
    alone, helped = loader(7, 4), loader(7, 4, workers=workers)
    expected = [draws(step) for step in steps(alone, 2, 3, accumulate=2)]
    assert [draws(step) for step in steps(helped, 2, 3, accumulate=2)] == expected
    assert draws(helped) == draws(alone)


def test_loading_processes_leave_torchs_random_state_alone():
    before = torch.get_rng_state()
    draws(loader(4, 2, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


class Failing:
    """Fails at one case; stands at module level so that it reaches a loading process."""

    def __init__(self, error):
        self.error = error

    def __call__(self, index, rng):
        if index == 3:
            raise self.error
        return fetch(index, rng)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        DataError("case_3.nii.gz: not a NIfTI file", ["magic is wrong", "size is wrong"]),
        StorageError("no space left"),
        FileNotFoundError(2, "No such file", "case_3.png"),
    ],
    ids=["data", "storage", "file"],
)
def test_an_error_arrives_from_a_loading_process_as_it_was_raised(error, workers):
    made = Loader(Failing(error), 5, collate=collate, batch_size=2, workers=workers)
    with pytest.raises(type(error)) as caught:
        list(made)
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "problems", None) == getattr(error, "problems", None)


def test_an_error_that_nobody_foresaw_keeps_its_type():
    made = Loader(Failing(KeyError("voxels")), 5, collate=collate, batch_size=2, workers=1)
    with pytest.raises(KeyError, match="voxels"):
        list(made)


def test_cases_before_a_failing_one_are_yielded():
    made = Loader(Failing(DataError("broken")), 5, collate=collate, batch_size=1, workers=1)
    stream = iter(made)
    assert [next(stream).ids for _ in range(3)] == [["0"], ["1"], ["2"]]
    with pytest.raises(DataError):
        next(stream)


def test_auto_loads_in_this_process_on_a_cpu_and_beside_a_gpu_in_up_to_eight():
    assert choose_workers("auto", torch.device("cpu")) == 0
    assert 1 <= choose_workers("auto", torch.device("cuda")) <= 8
    assert choose_workers(3, torch.device("cpu")) == 3


# --- batches ------------------------------------------------------------------------------------


def test_a_batch_moves_with_all_that_is_nested_in_it():
    inputs = {"image": torch.ones(2), "more": [torch.ones(2), (torch.ones(2), "word")]}
    batch = Batch(["a", "b"], inputs, None, {"frame": 1})
    moved = batch.to(torch.device("meta"))
    assert len(moved) == 2
    assert moved.inputs["image"].device.type == "meta"
    assert moved.inputs["more"][1][0].device.type == "meta"
    assert moved.inputs["more"][1][1] == "word"
    assert moved.targets is None
    assert moved.extra == {"frame": 1}
    assert pickle.loads(pickle.dumps(batch)).ids == ["a", "b"]
