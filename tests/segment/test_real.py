"""The same three commands on real data, a few cases of each set. Skipped where it is absent."""

import json

import pytest

from vesalius.cli import main
from vesalius.engine.run import Run

SETS = {
    "hippocampus": ("imagesTr", "labelsTr", "*.nii.gz", ()),
    "nuclei": ("images", "labels", "*.png", ("data.target=foreground", "data.patch=[64, 64]")),
}
SMALL = (
    *("epochs=2", "batches_per_epoch=8", "batch_size=2", "workers=0"),
    *("model.widths=[6, 12, 24]", "model.skip_width=4", "model.normalisation=instance"),
    *("loss.name=dice_cross_entropy", "optimizer.learning_rate=5e-3"),
)


def table(folder, name, count, path):
    """Write a manifest of the first cases."""
    images, masks, pattern, _ = SETS[name]
    rows = [
        {"image": f"{image}", "mask": f"{folder / name / masks / image.name}"}
        for image in sorted((folder / name / images).glob(pattern))[:count]
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("name", sorted(SETS))
def test_real_cases_train_evaluate_and_predict(name, shared_data, tmp_path, capsys):
    source = str(table(shared_data, name, 10, tmp_path / "cases.jsonl"))
    out, masks = str(tmp_path / "run"), str(tmp_path / "masks")
    options = [*SMALL, *SETS[name][3]]
    assert main(["segment", "train", source, *options, "--out", out]) == 0
    capsys.readouterr()
    assert main(["segment", "evaluate", out, source, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert len(scores["cases"]) == 10
    losses = [row["loss"] for row in Run(out).history if row["kind"] == "train"]
    assert sum(losses[-4:]) / 4 < 0.9 * losses[0]
    assert main(["segment", "predict", out, source, "--out", masks]) == 0
    assert len(list((tmp_path / "masks").iterdir())) == 10


@pytest.mark.slow
def test_a_small_unet_learns_nuclei(shared_data, tmp_path):
    from vesalius import segment

    source = table(shared_data, "nuclei", 80, tmp_path / "cases.jsonl")
    run = segment.train(
        source,
        recipe="unet",
        out=tmp_path / "run",
        quiet=True,
        epochs=12,
        evaluate_every=4,
        **{"data.target": "foreground", "data.patch": [96, 96], "model.widths": [8, 16, 32, 64]},
    )
    assert run.scores.values["dice"] > 0.75
