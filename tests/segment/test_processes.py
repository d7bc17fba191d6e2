"""Segmentation in two processes: copies (DDP) and shards (FSDP2)."""

import pytest
import torch
from safetensors.torch import load_file
from tests.processes import torchrun
from tests.segment.discs import write_pictures

from vesalius import segment

OPTIONS = (
    *("epochs=2", "batches_per_epoch=2", "batch_size=4", "workers=0", "keep=last"),
    *("model.widths=[4, 8]", "model.skip_width=4", "optimizer.name=sgd"),
)


@pytest.mark.parametrize("sharding", ["replicate", "fsdp"])
def test_two_processes_train_the_network_that_one_trains(tmp_path, sharding):
    source = write_pictures(tmp_path / "data")
    segment.train(source, out=tmp_path / "one", overrides=OPTIONS, quiet=True)
    out = tmp_path / "two"
    arguments = ("segment", "train", str(source), "--out", str(out), *OPTIONS)
    torchrun("vesalius", *arguments, f"sharding={sharding}")
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "two"))
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-4)
    assert (tmp_path / "two" / "report.html").exists()


def test_several_processes_need_a_named_run_folder(tmp_path, monkeypatch):
    from vesalius.errors import RecipeError

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="give --out"):
        segment.train(write_pictures(tmp_path / "data"), overrides=OPTIONS, quiet=True)
