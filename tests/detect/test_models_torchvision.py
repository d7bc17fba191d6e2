"""Our networks with torchvision's names and weights give torchvision's numbers.

The numbers are in tests/acceptance/detect/torchvision.json, which says how they were made.
"""

import functools
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vesalius.detect.masks import paste
from vesalius.detect.models import PRESETS, build
from vesalius.detect.models.blocks import FrozenBatchNorm
from vesalius.detect.models.pretrained import (
    TorchvisionDetector,
    normalise,
    open_torchvision,
    resize,
)
from vesalius.detect.models.state_dicts import load, migrate, set_frozen_eps
from vesalius.errors import DataError, RecipeError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "acceptance" / "detect" / "torchvision.json").read_text()
)["networks"]
PERIOD = 1_000_003
SIZES = ((80, 120), (100, 70))


def formula_weights(state):
    """Values for every tensor of a state dict, from the place of its elements alone."""
    wave = torch.sin(torch.arange(PERIOD, dtype=torch.float64) * 12.9898) * 43758.5453
    noise = (wave - wave.floor()).float()
    made, offset = {}, 0
    for key, value in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        count = value.numel()
        u = noise.roll(-(offset % PERIOD)).repeat(count // PERIOD + 1)[:count].view(value.shape)
        offset += count
        if value.ndim > 1:
            spread = math.sqrt(24 / value[0].numel())
            for part, factor in ((".fpn.", 0.2), ("bbox_pred", 0.3), ("cls_", 0.5)):
                spread *= factor if part in key else 1
            made[key] = (u - 0.5) * spread
        elif key.endswith("running_var"):
            made[key] = u + 0.5
        elif key.endswith("weight"):
            made[key] = (u + 0.5) * (0.4 if "bn3" in key else 1)
        else:
            made[key] = (u - 0.5) * 0.2
    return made


def wave_picture(height, width, *, shift):
    y = torch.arange(height, dtype=torch.float64)[:, None]
    x = torch.arange(width, dtype=torch.float64)
    channels = [
        (torch.sin((x + shift) / (5 + c)) * torch.cos(y / (7 - c)) + 1) / 2 for c in range(3)
    ]
    return torch.stack(channels).float()


@functools.cache
def network(name):
    # Drawing 40 million weights takes longer than all else; anchors are no weights, though.
    with torch.device("meta"):
        model = build(name, in_channels=3, classes=4, after_nms=(2000, 50), detections_per_image=12)
        weights = model.state_dict()
    model.rpn.anchors = build(
        "faster_rcnn",
        **{"in_channels": 3, "classes": 1, "encoder": None, "head_width": 1, "pyramid_width": 1},
        **{"encoder_options": {"widths": (1,) * 6}, "rounded_anchors": True},
        **{"fitted_strides": True},
    ).rpn.anchors
    model.load_state_dict(formula_weights(weights), strict=False, assign=True)
    return model


@pytest.mark.parametrize("name", [name for name in REFERENCE if "images" in REFERENCE[name]])
def test_detections_and_masks_are_those_of_torchvision(name):
    model = network(name)
    set_frozen_eps(model, 0.0)
    detector = TorchvisionDetector(model, short_side=96, long_side=144).eval()
    images = [wave_picture(*SIZES[0], shift=0), wave_picture(*SIZES[1], shift=3)]
    with torch.no_grad():
        found = detector(images)
    for one, expected, size in zip(found, REFERENCE[name]["images"], SIZES, strict=True):
        assert one.labels.tolist() == expected["labels"]
        assert (one.boxes - torch.tensor(expected["boxes"])).abs().max() / max(size) < 1e-5
        assert (one.scores - torch.tensor(expected["scores"])).abs().max() < 1e-5
        assert (one.masks[:, 9, ::4] - torch.tensor(expected["mask_rows"])).abs().max() < 1e-5
        pasted = paste(one.masks, one.boxes, size, method="torchvision").sum(dim=(1, 2))
        assert torch.allclose(pasted, torch.tensor(expected["pasted_sums"]), rtol=1e-4, atol=0.02)


def test_losses_are_those_of_torchvision_with_the_same_draws():
    name = "maskrcnn_resnet50_fpn"
    model = network(name).train()
    set_frozen_eps(model, 0.0)
    targets = [
        {"boxes": torch.tensor([[10, 12, 60, 70], [70, 20, 120, 50.5]]), "labels": [0, 3]},
        {"boxes": torch.tensor([[30.0, 5, 50, 90]]), "labels": [1]},
    ]
    for target in targets:
        target["labels"] = torch.tensor(target["labels"])
        target["masks"] = torch.zeros(len(target["boxes"]), 96, 128, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(
            target["masks"], target["boxes"].int().tolist(), strict=True
        ):
            mask[y1 + 3 : y2, x1 : x2 - 5] = True
    images = [normalise(wave_picture(96, 128, shift=shift)) for shift in (0, 3)]
    torch.manual_seed(7)
    for _ in images:
        torch.empty(1).uniform_()  # torchvision draws a size for each image first
    with torch.no_grad():
        losses = model(images, targets).losses
    theirs = REFERENCE[name]["losses"]
    names = {
        "classes": "loss_classifier",
        "boxes": "loss_box_reg",
        "masks": "loss_mask",
        "objectness": "loss_objectness",
        "proposal_boxes": "loss_rpn_box_reg",
    }
    assert {names[key] for key in losses} == set(theirs)
    for key, value in losses.items():
        assert float(value) == pytest.approx(theirs[names[key]], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "norm", "tensors", "numbers"),
    [
        ("fasterrcnn_resnet50_fpn", "batch", 348, 41_861_579),
        ("maskrcnn_resnet50_fpn", "batch", 360, 44_507_686),
        ("fasterrcnn_resnet50_fpn_v2", "batch", 404, 43_771_607),
        ("maskrcnn_resnet50_fpn_v2", "batch", 432, 46_420_790),
        ("fasterrcnn_resnet50_fpn", "frozen", 295, 41_861_579 - 53),
        ("maskrcnn_resnet50_fpn", "frozen", 307, 44_507_686 - 53),
    ],
)
def test_presets_have_as_many_tensors_and_numbers_as_torchvisions_networks(
    name, norm, tensors, numbers
):
    with torch.device("meta"):
        state = build(name, in_channels=3, classes=90, norm=norm).state_dict()
    assert len(state) == tensors
    assert sum(value.numel() for value in state.values()) == numbers


SMALL = {
    **{"in_channels": 3, "classes": 2, "encoder": None, "norm": "frozen"},
    **{"encoder_options": {"widths": (4,) * 5}, "pyramid_width": 4, "head_width": 4},
}


def old_names(state):
    """The same weights as torchvision named them before version 0.13."""
    old = {}
    for key, value in state.items():
        parts = key.split(".")
        if "_blocks" in key:
            del parts[4]
        elif key.startswith("rpn.head.conv"):
            del parts[3:5]
        elif key.startswith("roi_heads.mask_head"):
            parts[2:4] = [f"mask_fcn{int(parts[2]) + 1}"]
        old[".".join(parts)] = value
    return old


def test_files_with_the_old_names_load(tmp_path):
    model, other = (build("mask_rcnn", mask_width=4, **SMALL) for _ in range(2))
    old = old_names(model.state_dict())
    assert "backbone.fpn.inner_blocks.0.weight" in old
    assert "rpn.head.conv.weight" in old
    assert "roi_heads.mask_head.mask_fcn4.bias" in old
    assert migrate(old).keys() == model.state_dict().keys()
    save_file({key: value.contiguous() for key, value in old.items()}, tmp_path / "old.safetensors")
    load(other, tmp_path / "old.safetensors", frozen_eps=0.0)
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    norms = [part for part in other.modules() if isinstance(part, FrozenBatchNorm)]
    assert norms
    assert {norm.eps for norm in norms} == {0.0}


def test_counters_of_batches_are_added_or_left_out():
    frozen = build("faster_rcnn", **SMALL)
    batch = build("faster_rcnn", **{**SMALL, "norm": "batch"})
    counted = batch.state_dict()
    assert len(counted) == len(frozen.state_dict()) + 10
    load(frozen, counted)
    load(batch, frozen.state_dict())


def test_weights_that_do_not_fit_are_refused_with_their_names(tmp_path):
    model = build("faster_rcnn", **SMALL)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    del state["rpn.head.cls_logits.bias"]
    state["roi_heads.box_predictor.cls_score.bias"] = torch.zeros(91)
    state["head.weight"] = torch.zeros(1)
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    with pytest.raises(DataError) as caught:
        load(model, path)
    message = str(caught.value)
    assert str(path) in message
    assert "missing: rpn.head.cls_logits.bias" in message
    assert "unknown: head.weight" in message
    assert "cls_score.bias (91,) instead of (3,)" in message


def test_a_file_of_another_network_is_no_detector(tmp_path):
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "resnet.safetensors")
    with pytest.raises(DataError, match=r"holds no Faster or Mask R-CNN"):
        open_torchvision(tmp_path / "resnet.safetensors", preset="fasterrcnn_resnet50_fpn")
    with pytest.raises(RecipeError, match="Did you mean 'fasterrcnn_resnet50_fpn'"):
        open_torchvision(tmp_path / "resnet.safetensors", preset="fasterrcnn_resnet50")


def test_opening_a_file_chooses_classes_and_eps(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS["fasterrcnn_resnet50_fpn"].options, "encoder", None)
    small = {key: SMALL[key] for key in ("encoder_options", "pyramid_width", "head_width")}
    for key, value in small.items():
        monkeypatch.setitem(PRESETS["fasterrcnn_resnet50_fpn"].options, key, value)
    for norm, eps in (("frozen", 0.0), ("batch", 1e-5)):
        model = build("fasterrcnn_resnet50_fpn", in_channels=3, classes=6, norm=norm)
        save_file(model.state_dict(), tmp_path / f"{norm}.safetensors")
        opened = open_torchvision(
            tmp_path / f"{norm}.safetensors", preset="fasterrcnn_resnet50_fpn"
        )
        assert opened.network.classes == 6
        assert not opened.training
        norms = [part for part in opened.modules() if isinstance(part, FrozenBatchNorm)]
        assert {part.eps for part in norms} == {eps}


@pytest.mark.parametrize(
    ("size", "resized"),
    [((480, 640), (800, 1066)), ((100, 400), (333, 1333)), ((800, 800), (800, 800))],
)
def test_images_are_resized_to_a_short_side_or_else_to_a_long_one(size, resized):
    assert tuple(resize(torch.zeros(1, *size)).shape[1:]) == resized
