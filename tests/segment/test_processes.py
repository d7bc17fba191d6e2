"""Segmentation in two processes: copies (DDP) and shards (FSDP2)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.segment.discs import write_pictures

from vesalius import segment

ROOT = Path(__file__).parents[2]
OPTIONS = (
    *("epochs=2", "batches_per_epoch=2", "batch_size=4", "workers=0", "keep=last"),
    *("model.widths=[4, 8]", "model.skip_width=4", "optimizer.name=sgd"),
)


@pytest.mark.parametrize("sharding", ["replicate", "fsdp"])
def test_two_processes_train_the_network_that_one_trains(tmp_path, sharding):
    source = write_pictures(tmp_path / "data")
    segment.train(source, out=tmp_path / "one", overrides=OPTIONS, quiet=True)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "vesalius", "segment", "train", str(source), "--out", str(tmp_path / "two")),
        *(*OPTIONS, f"sharding={sharding}"),
    ]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
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
