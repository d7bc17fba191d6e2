import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.engine.test_loop import train
from vesalius.engine.run import (
    History,
    Run,
    from_json,
    load_weights,
    read_history,
    save_weights,
    to_json,
    weights_header,
)
from vesalius.engine.task import Scores
from vesalius.errors import DataError, StorageError


def test_numbers_that_json_lacks_become_null_and_words():
    text = to_json({"nan": math.nan, "up": math.inf, "down": -math.inf, "list": [math.nan, 1.5]})
    strict = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert strict == {"nan": None, "up": "inf", "down": "-inf", "list": [None, 1.5]}
    assert from_json(text) == {"nan": None, "up": math.inf, "down": -math.inf, "list": [None, 1.5]}


def test_numbers_of_numpy_and_torch_are_written_as_numbers():
    values = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": torch.tensor(2.0),
        "d": np.bool_(True),
        "e": np.array(1.0),
        "f": np.float64("inf"),
        7: (1, 2),
    }
    found = from_json(to_json(values))
    expected = {"a": 0.5, "b": 3, "c": 2.0, "d": True, "e": 1.0, "f": math.inf, "7": [1, 2]}
    assert found == expected


numbers = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.booleans() | st.none()
texts = st.text().filter(lambda word: word not in ("inf", "-inf"))
tables = st.recursive(
    st.dictionaries(st.text(), numbers | texts, max_size=4),
    lambda inner: st.dictionaries(st.text(), inner | numbers | texts, max_size=4),
    max_leaves=8,
)


@given(tables)
def test_tables_of_numbers_and_words_read_back_equal(table):
    assert from_json(to_json(table)) == table


def history(path, rows):
    path.write_text("".join(f"{to_json(row)}\n" for row in rows), encoding="utf-8")


def test_history_keeps_the_rows_up_to_the_step_and_drops_an_end(tmp_path):
    path = tmp_path / "history.jsonl"
    rows = [{"kind": kind, "step": step} for step in (1, 2, 3) for kind in ("train", "valid")]
    history(path, [*rows, {"kind": "end", "step": 3}])
    History(path, keep_until=3)
    assert read_history(path) == rows
    kept = History(path, keep_until=2)
    kept.add(kind="train", step=3, loss=math.inf, word="瘤")
    found = read_history(path)
    assert found == [*rows[:4], {"kind": "train", "step": 3, "loss": math.inf, "word": "瘤"}]
    assert "瘤" in path.read_text(encoding="utf-8")


def test_history_begins_empty_and_a_damaged_middle_is_named(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    History(path, keep_until=0)
    assert path.read_text() == ""
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "tr\n{"kind": "train", "step": 2}\n')
    with pytest.raises(DataError, match=r"history\.jsonl line 2 is not JSON"):
        read_history(path)
    path.write_text('{"kind": "train", "step": 1}\n{"kind": "tr')
    assert read_history(path) == [{"kind": "train", "step": 1}]


def test_history_that_cannot_be_written_is_a_storage_error(tmp_path):
    kept = History(tmp_path / "history.jsonl", keep_until=0)
    kept.path = tmp_path
    with pytest.raises(StorageError):
        kept.add(kind="train", step=1)


class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.first = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width)


def test_weights_and_their_header_read_back_bit_for_bit(tmp_path):
    path, net = tmp_path / "model.safetensors", Net()
    scores = Scores(
        "dice",
        {"dice": 0.75, "hd": math.inf},
        labels={"瘤": {"dice": 0.5}},
        cases={"a": {"dice": 1.0}},
        higher_is_better=False,
    )
    save_weights(path, net, step=12, scores=scores)
    header = weights_header(path)
    assert header["step"] == "12"
    assert header["format"] == "pt"
    assert Scores.from_dict(from_json(header["scores"])) == scores
    other = Net()
    load_weights(other, path)
    for key, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    save_weights(path, net, step=0, scores=None)
    assert "scores" not in weights_header(path)


def test_shared_and_strided_weights_are_stored_whole(tmp_path):
    net = nn.Module()
    net.one = nn.Parameter(torch.randn(3, 4).t())
    net.two = net.one
    save_weights(tmp_path / "model.safetensors", net, step=0, scores=None)
    other = nn.Module()
    other.one = nn.Parameter(torch.zeros(4, 3))
    other.two = other.one
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(other.one, net.one)


def test_weights_of_another_model_are_refused_with_the_parts_that_differ(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, Net(width=3), step=0, scores=None)
    with pytest.raises(DataError, match=r"does not fit the model of recipe\.yaml") as caught:
        load_weights(Net(width=5), path)
    assert "first.weight" in str(caught.value)
    assert "[3, 2]" in str(caught.value).replace("torch.Size", "")
    with pytest.raises(DataError, match=r"(?s)does not fit.*Unexpected key"):
        load_weights(nn.Linear(2, 3), path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_damaged_or_missing_weights_are_a_data_error(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        load_weights(Net(), path)
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        weights_header(path)


def test_a_run_folder_opens_predicts_and_scores_as_in_training(tmp_path):
    run = train(tmp_path / "run", "epochs=2", "keep=last")
    opened = Run(tmp_path / "run")
    assert opened.finished
    assert opened.department == "toy"
    assert opened.recipe.epochs == 2
    assert opened.scores == run.scores
    stored = from_json((tmp_path / "run" / "scores.json").read_text())
    assert stored["values"] == opened.scores.values
    source = tmp_path / "cases.json"
    source.write_text('{"n": 48}')
    state = torch.get_rng_state()
    found = opened.predict(source, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)  # opening draws no random numbers
    assert len(found) == 48
    task = opened.task
    again = task.score(task.cases(source)[32:], found[32:])
    assert again.values == opened.scores.values
    assert not opened.model().training


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"{broken",
        b"[1]",
        b"{}",
        b'{"department": "toy"}',
    ],
)
def test_a_damaged_config_is_one_clear_error(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        Run(tmp_path)


def test_an_unknown_department_is_named_when_it_is_needed(tmp_path):
    (tmp_path / "config.json").write_text('{"department": "alchemy", "task": {}}')
    with pytest.raises(DataError, match="names the department 'alchemy'"):
        _ = Run(tmp_path).recipe
