"""What is passed on: folders and ONNX files. What comes with the package."""

import json

import numpy as np
import pytest
import torch
from tests.segment.discs import write_pictures

from vesalius import segment
from vesalius.engine import shipped
from vesalius.engine.onnx import export_onnx
from vesalius.engine.run import Run
from vesalius.errors import DataError, RecipeError, TrainingError
from vesalius.segment import models

SMALL = {"model": {"name": "unet", "widths": [4, 6, 8]}, "batch_size": 2, "workers": 0}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), count=5)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "r"
    return segment.train(pictures, recipe=SMALL, out=out, quiet=True, epochs=1, batches_per_epoch=2)


def test_an_exported_folder_predicts_alike_and_names_no_case(run, pictures, tmp_path):
    folder = segment.export(run, tmp_path / "model")
    assert "case0" not in (folder / "config.json").read_text() + str(Run(folder).scores)
    ours, theirs = run.predict(pictures), Run(folder).predict(pictures)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    with pytest.raises(RecipeError, match="exists already"):
        segment.export(run, folder)


def test_half_precision_weights_take_half_the_room_and_predict_nearly_alike(
    run, pictures, tmp_path
):
    whole = segment.export(run, tmp_path / "whole") / "model.safetensors"
    half = segment.export(run, tmp_path / "half", half=True) / "model.safetensors"
    header = len(json.dumps(Run(tmp_path / "whole").scores.to_dict()))
    assert half.stat().st_size - header < 0.65 * (whole.stat().st_size - header)
    assert next(Run(tmp_path / "half").model().parameters()).dtype == torch.float32
    for one, other in zip(
        run.predict(pictures), Run(tmp_path / "half").predict(pictures), strict=True
    ):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=0.01)


def test_a_model_that_comes_with_the_package_is_opened_by_its_name(run, tmp_path, monkeypatch):
    segment.export(run, tmp_path / "weights" / "segment" / "discs")
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    assert Run("discs").department == "segment"
    with pytest.raises(DataError, match=r"Models that come with the package: discs\."):
        Run("disks")


def test_only_what_a_trained_model_leaves_open_can_be_changed(run, pictures, tmp_path):
    out = tmp_path / "masks"
    segment.predict(run, pictures, out=out, overrides=["predict.largest_component=true"])
    assert len(list(out.iterdir())) == 5
    changed = segment.evaluate(run, pictures, overrides=["predict.smallest=100000"])
    assert changed.values["dice"] == 0.0
    with pytest.raises(RecipeError, match=r"only predict\.\*"):
        segment.evaluate(run, pictures, overrides=["model.widths=[4]"])


def test_an_onnx_file_answers_like_the_network_at_any_size(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = segment.export(run, tmp_path / "model.onnx", onnx=True)
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["vesalius"])["labels"] == dict(run.task.facts.labels)
    images = torch.randn(3, run.task.facts.channels, 37, 50)
    (answer,) = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(answer, run.model()(images).numpy(), atol=1e-4)
    for wrong in ("model.onnx", "model.bin"):
        with pytest.raises(RecipeError):
            segment.export(run, tmp_path / wrong, onnx=True)


def test_an_onnx_file_that_answers_otherwise_is_not_written(tmp_path):
    pytest.importorskip("onnxruntime")

    class Moody(torch.nn.Module):
        """Answers otherwise when asked again."""

        asked = 0

        def forward(self, images):
            Moody.asked += 1
            return images * Moody.asked

    with pytest.raises(TrainingError, match="nothing was written"):
        export_onnx(Moody(), tmp_path / "m.onnx", examples=[torch.randn(1, 1, 8, 8)])
    assert not (tmp_path / "m.onnx").exists()


def test_a_folder_is_not_named_like_an_onnx_file(run, tmp_path):
    with pytest.raises(RecipeError, match="for an ONNX file say onnx"):
        segment.export(run, tmp_path / "model.onnx")


def test_blanked_classes_do_not_hide_a_difference_of_the_others(tmp_path):
    pytest.importorskip("onnxruntime")

    class Blanking(torch.nn.Module):
        """One class is blanked; the other's answer drifts."""

        asked = 0

        def forward(self, images):
            Blanking.asked += 1
            return torch.cat([images + 0.01 * Blanking.asked, images * 0 - 1e4], dim=1)

    with pytest.raises(TrainingError, match="nothing was written"):
        export_onnx(Blanking(), tmp_path / "m.onnx", examples=[torch.randn(1, 1, 8, 8)])


def test_a_network_that_answers_nan_is_not_exported(tmp_path):
    pytest.importorskip("onnxruntime")

    class Broken(torch.nn.Module):
        def forward(self, images):
            return images * float("nan")

    with pytest.raises(TrainingError, match="NaN"):
        export_onnx(Broken(), tmp_path / "m.onnx", examples=[torch.randn(1, 1, 8, 8)])


def test_a_level_of_the_pyramid_may_have_the_size_of_the_traced_map(tmp_path):
    pytest.importorskip("onnxruntime")
    options = {"encoder": "resnet18", "width": 4, "auxiliary": False}
    model = models.build("pspnet", in_channels=1, classes=2, **options).eval()
    examples = [torch.randn(1, 1, *size) for size in ((48, 48), (49, 70))]  # 48 / 8 is a bin of 6
    assert export_onnx(model, tmp_path / "m.onnx", examples=examples) < 1e-4


def test_the_held_out_cases_are_found_again_though_the_export_does_not_name_them(
    run, pictures, tmp_path
):
    folder = segment.export(run, tmp_path / "model")
    assert Run(folder).config["split"]["valid"] == 1
    scores = segment.evaluate(folder, pictures, held_out=True)
    assert list(scores.cases) == run.config["split"]["valid"]
    assert scores.values == segment.evaluate(run, pictures, held_out=True).values
    assert scores.best == pytest.approx(run.scores.best, abs=1e-6)


def test_another_source_has_no_held_out_cases_of_the_run(run, tmp_path):
    other = write_pictures(tmp_path / "other", count=9)
    folder = segment.export(run, tmp_path / "model")
    with pytest.raises(DataError, match="not what the run was trained on"):
        segment.evaluate(folder, other, held_out=True)
    (other / "images" / "case0.png").unlink()
    (other / "masks" / "case0.png").unlink()
    held = run.config["split"]["valid"][0]
    for part in ("images", "masks"):
        (other / part / f"{held}.png").unlink(missing_ok=True)
    with pytest.raises(DataError, match=held):
        segment.evaluate(run, other, held_out=True)
