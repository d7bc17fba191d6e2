"""Budgets of length, cutting, padding, and the order of batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.diagnose.data import Collate, Records, allot, bucketed, cut
from vesalius.diagnose.reading import TokenReader, joined, special_of, tokenizer_from
from vesalius.engine.data import Loader
from vesalius.engine.task import Case

LENGTHS = st.lists(st.integers(0, 500), min_size=1, max_size=8)


@given(LENGTHS, st.integers(0, 1000))
def test_no_field_gets_more_than_it_has_and_all_together_no_more_than_the_budget(lengths, budget):
    given_ = allot(lengths, budget)
    assert all(0 <= part <= length for part, length in zip(given_, lengths, strict=True))
    assert sum(given_) <= budget


@given(LENGTHS, st.integers(0, 1000))
def test_the_budget_is_used_up_to_rounding_where_the_fields_could_fill_it(lengths, budget):
    missing = min(budget, sum(lengths)) - sum(allot(lengths, budget))
    assert 0 <= missing < len(lengths)


def test_short_fields_stay_whole_and_leave_their_rest_to_the_long_ones():
    assert allot([5, 400, 300], 205) == [5, 100, 100]
    assert allot([5, 400, 300], 205, [1, 3, 1]) == [5, 150, 50]
    assert allot([10, 20], 100) == [10, 20]
    assert allot([0, 0], 7) == [0, 0]


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from(["head", "tail", "ends"]))
def test_what_is_cut_keeps_its_order_and_its_ends(size, length, keep):
    tokens = np.arange(size)
    kept = cut(tokens, length, keep)
    assert len(kept) == min(size, length)
    assert (np.diff(kept) > 0).all()
    if len(kept) and keep in ("head", "ends"):
        assert kept[0] == 0
    if len(kept) >= 2 and keep in ("tail", "ends"):
        assert kept[-1] == size - 1


def test_ends_are_two_thirds_head():
    assert cut(np.arange(100), 9, "ends").tolist() == [0, 1, 2, 3, 4, 5, 97, 98, 99]


@pytest.fixture(scope="module")
def tokenizer():
    from vesalius.text.subwords import train_subwords

    texts = ["发热咳嗽三天", "头痛头晕", "fever and cough for three days"] * 20
    return train_subwords(texts, kind="wordpiece", size=150).tokenizer


def reader(tokenizer, **options):
    fields = ("主诉", "现病史")
    return TokenReader(tokenizer, special_of(tokenizer), fields, **{"length": 64, **options})


def test_a_record_is_one_sequence_that_knows_its_fields(tokenizer):
    found = reader(tokenizer).read({"主诉": "发热", "现病史": "咳嗽三天"})
    special = special_of(tokenizer)
    tokens, fields = found["tokens"].tolist(), found["fields"].tolist()
    assert tokens[0] == special["cls"]
    assert tokens.count(special["sep"]) == 2
    first = tokens.index(special["sep"])
    assert set(fields[: first + 1]) == {0}
    assert set(fields[first + 1 :]) == {1}
    assert found["mask"].all()


def test_a_missing_field_takes_no_place_and_an_empty_record_is_still_a_record(tokenizer):
    both = reader(tokenizer).read({"主诉": "发热", "现病史": ""})
    alone = reader(tokenizer).read({"主诉": "发热"})
    assert both["tokens"].tolist() == alone["tokens"].tolist()
    assert len(reader(tokenizer).read({})["tokens"]) == 1


@given(st.integers(8, 40))
def test_a_record_is_never_longer_than_its_length(tokenizer, length):
    found = reader(tokenizer, length=length).read({"主诉": "发热" * 30, "现病史": "头痛" * 30})
    assert len(found["tokens"]) <= length
    assert set(found["fields"]) == {0, 1}


def test_the_names_of_fields_can_be_written_in_front(tokenizer):
    plain = reader(tokenizer).read({"主诉": "发热"})
    named = reader(tokenizer, names=True).read({"主诉": "发热"})
    assert len(named["tokens"]) > len(plain["tokens"])


def test_words_are_counted_through_the_record(tokenizer):
    found = reader(tokenizer, words=True).read({"主诉": "fever cough", "现病史": "days"})
    words = found["words"]
    assert len(words) == len(found["tokens"])
    special = [special_of(tokenizer)[name] for name in ("cls", "sep")]
    assert (words[np.isin(found["tokens"], special)] == -1).all()
    real = words[words >= 0]
    assert (np.diff(real) >= 0).all()
    assert len(set(real.tolist())) == 3


def test_a_tokenizer_comes_back_from_its_text(tokenizer):
    again = tokenizer_from(tokenizer.to_str())
    assert again.encode("发热咳嗽").ids == tokenizer.encode("发热咳嗽").ids


def test_fields_are_joined_by_lines_in_the_order_of_the_names():
    assert joined({"b": "2", "a": "1", "c": ""}, ["a", "b", "c"]) == "1\n2"


# --- batches --------------------------------------------------------------------------------------


class Lengths:
    padding = {"tokens": 0, "mask": False}  # noqa: RUF012

    def read(self, fields):
        size = len(fields["text"])
        return {"tokens": np.full(size, 7), "mask": np.ones(size, bool)}


def records(sizes, **options):
    cases = [Case(f"c{i}", {"text": "x" * n}) for i, n in enumerate(sizes)]
    settings = {"targets": np.eye(len(sizes), 3, dtype=bool), "augment": None, **options}
    return Records(cases, Lengths(), settings.pop("targets"), **settings)


def test_shorter_records_are_padded_and_the_mask_says_where():
    fetch = records([2, 5, 3])
    rng = np.random.default_rng(0)
    batch = Collate(Lengths.padding)([fetch(i, rng) for i in range(3)])
    assert batch.inputs["tokens"].shape == (3, 5)
    assert batch.inputs["mask"].sum(1).tolist() == [2, 5, 3]
    assert (batch.inputs["tokens"][~batch.inputs["mask"]] == 0).all()
    assert batch.targets.tolist() == np.eye(3).tolist()
    assert "mixture" not in batch.extra


def test_mixing_draws_a_share_and_a_permutation_from_the_records_own_generators():
    fetch = records([2, 2, 2, 2], targets=np.zeros((4, 3), bool), mixing=0.4)
    items = [fetch(i, np.random.default_rng(i)) for i in range(4)]
    mixture = Collate(Lengths.padding)(items).extra["mixture"]
    assert sorted(mixture.partners.tolist()) == [0, 1, 2, 3]
    again = Collate(Lengths.padding)([fetch(i, np.random.default_rng(i)) for i in range(4)])
    assert again.extra["mixture"].shares.tolist() == mixture.shares.tolist()
    assert again.extra["mixture"].partners.tolist() == mixture.partners.tolist()


def test_augmented_records_are_read_anew_and_the_others_kept():
    fetch = records([3, 4], augment=lambda fields, rng: {"text": fields["text"] * 2})
    assert len(fetch(0, np.random.default_rng(0))[1]["tokens"]) == 6
    untouched = records([3, 4], augment=lambda fields, rng: fields)
    assert untouched(1, np.random.default_rng(0))[1] is untouched.arrays(1)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=90), st.integers(1, 9))
def test_every_pass_holds_every_record_once(lengths, batch_size):
    order = bucketed(lengths, batch_size)(0, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(len(lengths)))


def test_records_of_a_batch_are_of_similar_length_and_passes_differ():
    lengths = np.random.default_rng(0).integers(1, 1000, 640)
    make = bucketed(lengths, 16)
    first, second = (make(n, np.random.default_rng(n)) for n in range(2))
    assert first.tolist() != second.tolist()
    spread = np.ptp(lengths[first].reshape(-1, 16), axis=1).mean()
    assert spread < 0.1 * np.ptp(lengths.reshape(-1, 16), axis=1).mean()


def test_a_loader_takes_the_buckets():
    fetch = records([5, 1, 4, 2], targets=np.zeros((4, 3), bool))
    loader = Loader(
        fetch, 4, collate=Collate(Lengths.padding), batch_size=2, order=bucketed([5, 1, 4, 2], 2)
    )
    (batch,) = next(loader.steps(0))
    assert sorted(batch.inputs["mask"].sum(1).tolist()) in ([1, 2], [4, 5])
