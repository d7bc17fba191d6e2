"""The networks as wholes: what they learn, what they return, what they refuse."""

import pytest
import torch

from vesalius.detect import boxes as box_functions
from vesalius.detect.models import MODELS, build, options_of
from vesalius.detect.models.region_proposals import RegionProposals
from vesalius.errors import DataError, RecipeError

BOXES = {
    2: ([[30, 6, 56, 24], [6, 34, 22, 58]], [[8, 10, 24, 30], [34, 36, 58, 52]]),
    3: (
        [[14, 3, 4, 28, 13, 14], [3, 16, 16, 13, 28, 28]],
        [[4, 5, 6, 14, 17, 16], [16, 18, 14, 30, 28, 28]],
    ),
}
SIDES = {2: 64, 3: 32}
TINY = {
    **{"encoder": None, "encoder_options": {"widths": (8, 16, 24, 32)}, "norm": "group"},
    **{"pyramid_width": 24, "head_width": 48, "pooled_size": 4, "canonical_size": 48.0},
    **{"rois_per_image": 32, "pyramid": True, "score_threshold": 0.5},
}
PROPOSING = {
    **{"before_nms": (100, 60), "after_nms": (40, 30), "anchors_per_image": 64},
    **{"anchor_sizes": (14, 20, 28), "aspect_ratios": (0.6, 1.0, 1.6)},
}
VOLUMES = {"finest_stride": 2, "anchor_sizes": (8, 12, 16, 24), "aspect_ratios": (1.0,)}
MASKS = {"mask_width": 16, "mask_pooled_size": 6}


def scene(dims, index):
    """A dark and a bright block in noise."""
    draw = torch.Generator().manual_seed(index)
    image = torch.randn(1, *[SIDES[dims]] * dims, generator=draw) * 0.1
    masks = torch.zeros(2, *image.shape[1:], dtype=torch.bool)
    for label, box in enumerate(BOXES[dims][index]):
        window = tuple(slice(box[axis], box[axis + dims]) for axis in reversed(range(dims)))
        masks[label][window] = True
        image[0][window] += 1 if label else -1
    boxes = torch.tensor(BOXES[dims][index]).float()
    return image, {"boxes": boxes, "labels": torch.tensor([0, 1]), "masks": masks}


def tiny(name, *, dims=2, **options):
    options = {**TINY, **options}
    if name != "fast_rcnn":
        options = {**PROPOSING, **(VOLUMES if dims == 3 else {}), **options}
    if name == "mask_rcnn":
        options = {**MASKS, **options}
    torch.manual_seed(0)
    return build(name, in_channels=1, classes=2, dims=dims, **options)


def scenes(dims=2):
    images, targets = zip(*(scene(dims, index) for index in range(2)), strict=True)
    return list(images), list(targets)


def jittered(targets):
    """Proposals around the objects and beside them."""
    draw = torch.Generator().manual_seed(3)
    beside = torch.tensor([[0.0, 0, 20, 20], [40, 0, 60, 20], [20, 20, 40, 40]])
    return [
        torch.cat([target["boxes"].repeat(10, 1) + torch.randn(20, 4, generator=draw) * 2, beside])
        for target in targets
    ]


def learn(model, images, targets, proposals=None, *, steps):
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, 2 * (1 - step / steps))
        loss = sum(model(images, targets, proposals).losses.values())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
    return model.eval()(images, None, proposals).detections


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dims", "steps"), [("mask_rcnn", 2, 80), ("faster_rcnn", 3, 60), ("fast_rcnn", 2, 60)]
)
def test_two_images_are_learnt_by_heart(name, dims, steps):
    images, targets = scenes(dims)
    model = tiny(name, dims=dims)
    assert sum(weights.numel() for weights in model.parameters()) < 300_000
    proposals = jittered(targets) if name == "fast_rcnn" else None
    found = learn(model, images, targets, proposals, steps=steps)
    for one, target in zip(found, targets, strict=True):
        for label, box in enumerate(target["boxes"]):
            best = torch.nonzero(one.labels == label).flatten()[0]
            assert float(box_functions.iou(one.boxes[best][None], box[None])) > 0.5
            if name == "mask_rcnn":
                pasted = one.subset(best[None]).paste(images[0].shape[1:])[0]
                common = (pasted & target["masks"][label]).sum()
                assert common / (pasted | target["masks"][label]).sum() > 0.7


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["fast_rcnn", "faster_rcnn", "mask_rcnn"])
@pytest.mark.parametrize("empty", ["one image", "all images"])
def test_images_without_boxes_give_finite_losses_and_gradients_for_every_weight(name, dims, empty):
    images, targets = scenes(dims)
    nothing = {
        "boxes": torch.zeros(0, 2 * dims),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, *images[0].shape[1:], dtype=torch.bool),
    }
    targets = [nothing, nothing if empty == "all images" else targets[1]]
    model = tiny(name, dims=dims)
    proposals = None
    if name == "fast_rcnn":  # the second image has none
        proposals = [torch.tensor([[0.0] * dims + [20.0] * dims]), torch.zeros(0, 2 * dims)]
    losses = model(images, targets, proposals).losses
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    for label, weights in model.named_parameters():
        assert weights.grad is not None, label
        assert weights.grad.isfinite().all(), label


def test_no_proposals_and_no_boxes_give_zero_and_nothing():
    images, _ = scenes()
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    outputs = tiny("fast_rcnn")(images[:1], [target], [torch.zeros(0, 4)], detect=True)
    assert [float(value.detach()) for value in outputs.losses.values()] == [0, 0]
    assert len(outputs.detections[0]) == 0


def test_one_call_gives_losses_and_detections_in_both_modes():
    images, targets = scenes()
    model = tiny("mask_rcnn", score_threshold=0.0)
    names = {"objectness", "proposal_boxes", "classes", "boxes", "masks"}
    assert set(model(images, targets).losses) == names
    assert not model(images, targets).detections
    assert len(model(images, targets, detect=True).detections) == 2
    model.eval()
    assert not model(images).losses
    both = model(images, targets)
    assert set(both.losses) == names
    for one in both.detections:
        assert len(one) == len(one.scores) == len(one.labels) == len(one.masks) > 0
        assert one.masks.shape[1:] == (12, 12)
        assert (one.scores.diff() <= 0).all()
        assert one.boxes.min() >= 0
        assert one.boxes.max() <= 64
        assert set(one.labels.tolist()) <= {0, 1}
    assert not model(images, targets, detect=False).detections


def test_losses_are_pure_but_for_the_draws():
    images, targets = scenes()
    model = tiny("faster_rcnn", norm="frozen")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    values = []
    for _ in range(2):
        torch.manual_seed(5)
        values.append([float(value.detach()) for value in model(images, targets).losses.values()])
    assert values[0] == values[1]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_images_of_several_sizes_are_padded_and_boxes_stay_inside_them():
    images, _ = scenes()
    images = [images[0], images[1][:, :40, :50]]
    model = tiny("faster_rcnn", score_threshold=0.0).eval()
    found = model(images).detections
    assert found[0].boxes.max() > 50
    assert found[1].boxes[:, [0, 2]].max() <= 50
    assert found[1].boxes[:, [1, 3]].max() <= 40
    batch = torch.zeros(2, 1, 64, 64)
    batch[0], batch[1, :, :40, :50] = images
    again = model(batch, sizes=[(64, 64), (40, 50)]).detections
    assert torch.equal(found[1].boxes, again[1].boxes)


def test_given_proposals_replace_those_of_the_network():
    images, targets = scenes()
    model = tiny("faster_rcnn", score_threshold=0.0, nms_threshold=1.0).eval()
    given = [torch.tensor([[8.0, 10, 24, 30], [60, 60, 90, 90], [80, 80, 90, 90]])] * 2
    found = model(images, None, given).detections
    # One lies beside the image and is left out; the others have one box for each class.
    assert [len(one) for one in found] == [4, 4]
    assert {"objectness", "proposal_boxes"} <= set(model(images, targets, given).losses)
    with pytest.raises(DataError, match="makes no proposals of its own"):
        tiny("fast_rcnn")(images)


def test_agnostic_boxes_are_one_for_all_classes():
    model = tiny("faster_rcnn", box="agnostic", score_threshold=0.0, nms_threshold=1.0).eval()
    assert model.roi_heads.box_predictor.bbox_pred.out_features == 4
    images, targets = scenes()
    given = [torch.tensor([[8.0, 10, 24, 30]])] * 2
    for one in model(images, None, given).detections:
        assert torch.equal(one.boxes[0], one.boxes[1])
    sum(model.train()(images, targets).losses.values()).backward()


@pytest.mark.parametrize("roi", ["pool", "align"])
def test_one_map_serves_as_well_as_a_pyramid(roi):
    images, targets = scenes()
    model = tiny(
        "faster_rcnn",
        **{"pyramid": False, "roi": roi, "head": "convolutions", "head_norm": "group"},
        **{"encoder_options": {"widths": (8, 8, 16, 16, 16)}, "anchor_sizes": (12, 24)},
    )
    assert model.backbone.strides == (16,)
    outputs = model(images, targets, detect=True)
    sum(outputs.losses.values()).backward()
    assert all(weights.grad is not None for weights in model.parameters())


def test_fast_rcnn_takes_easier_background_where_there_is_none_of_the_usual():
    heads = tiny("fast_rcnn").roi_heads
    target = {"boxes": torch.tensor([[10.0, 10, 30, 30]]), "labels": torch.tensor([1])}
    hard = torch.tensor([[14.0, 14, 40, 40]])  # IoU 0.31
    easy = torch.tensor([[50.0, 50, 60, 60]])
    sample = heads.sample(torch.cat([hard, easy]), target)
    assert sample.classes.tolist() == [2, 0]
    assert sample.boxes.tolist() == [[10, 10, 30, 30], [14, 14, 40, 40]]
    sample = heads.sample(easy, target)
    assert sample.classes.tolist() == [2, 0]
    assert torch.equal(sample.boxes[1:], easy)


def test_a_quarter_of_the_rois_are_of_objects():
    heads = tiny("fast_rcnn", rois_per_image=64).roi_heads
    target = {"boxes": torch.tensor([[10.0, 10, 30, 30]]), "labels": torch.tensor([0])}
    shifts = torch.linspace(0, 12, 200)[:, None] * torch.tensor([1.0, 0, 1, 0])
    sample = heads.sample(target["boxes"] + shifts, target)
    assert len(sample.classes) == 64
    assert int((sample.classes == 1).sum()) == 16
    overlaps = box_functions.iou(target["boxes"], sample.boxes)[0]
    assert (overlaps[:16] >= 0.5).all()
    assert (overlaps[16:] < 0.5).all()
    assert (overlaps[16:] >= 0.1).all()


def test_proposals_lie_inside_the_image_and_overlap_little(monkeypatch):
    seen = []
    kept = RegionProposals._select

    def spy(self, *parts):
        seen.append(kept(self, *parts))
        return seen[-1]

    monkeypatch.setattr(RegionProposals, "_select", spy)
    model = tiny("faster_rcnn", anchor_sizes=(20, 20, 20)).eval()
    model(scenes()[0])
    assert len(seen) == 2
    for boxes in seen:
        assert 0 < len(boxes) <= 30
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes.min() >= 0
        assert boxes.max() <= 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": torch.tensor([[5.0, 5, 5, 9], [1, 1, 4, 4]])}, "image b: box 0"),
        ({"boxes": torch.tensor([[1.0, 1, 4, 4], [5, 5, 9, float("nan")]])}, "image b: box 1"),
        ({"boxes": torch.tensor([[1.0, 1, float("inf"), 4], [1, 1, 4, 4]])}, "image b: box 0"),
        ({"boxes": torch.zeros(2, 6)}, r"\(2, 6\); use \(N, 4\)"),
        ({"labels": torch.tensor([0, 2])}, "the classes 0 to 1"),
        ({"labels": torch.tensor([-1, 0])}, "the classes 0 to 1"),
        ({"labels": torch.tensor([0])}, r"use \(2,\) int64"),
        ({"masks": None}, "masks is missing"),
        ({"masks": torch.zeros(2, 3, 3)}, r"use \(2, 64, 64\)"),
    ],
)
def test_objects_that_cannot_be_learnt_are_refused_with_their_image(changes, message):
    images, targets = scenes()
    targets[1] = {**targets[1], "id": "b", **changes}
    with pytest.raises(DataError, match=message):
        tiny("mask_rcnn")(images, targets)


def test_images_and_proposals_that_do_not_fit_are_refused():
    model = tiny("faster_rcnn")
    images, targets = scenes()
    with pytest.raises(DataError, match="takes 1 channels"):
        model([images[0], images[1].repeat(3, 1, 1)])
    with pytest.raises(DataError, match="takes 4 axes"):
        model(images[0])
    with pytest.raises(DataError, match="no image"):
        model([])
    with pytest.raises(DataError, match="1 targets for 2 images"):
        model(images, targets[:1])
    with pytest.raises(DataError, match="image 1 of the batch: box 0"):
        model(images, None, [torch.zeros(0, 4), torch.tensor([[5.0, 5, 4, 9]])])
    with pytest.raises(DataError, match="1 sizes for 2 images"):
        model(torch.stack(images), sizes=[(64, 64)])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("faster_rcn", {}, "Did you mean 'faster_rcnn'"),
        ("faster_rcnn", {"anchor_size": (3,)}, "Did you mean 'anchor_sizes'"),
        ("fast_rcnn", {"anchor_sizes": (3,)}, "Unknown option"),
        ("faster_rcnn", {"roi": "crop"}, "value of roi 'crop'"),
        ("faster_rcnn", {"head": "mlp"}, "value of head 'mlp'"),
        ("faster_rcnn", {"box": "one"}, "value of box 'one'"),
        ("faster_rcnn", {"head_norm": "frozen"}, "head_norm is frozen"),
        ("faster_rcnn", {"head_width": 0, "dims": 4}, "dims is 4"),
        ("faster_rcnn", {"nms_threshold": 1.5}, "between 0 and 1"),
        ("faster_rcnn", {"before_nms": (10,)}, "give two numbers"),
        ("fast_rcnn", {"background": (0.5, 0.1)}, "0 <= low < high"),
        ("faster_rcnn", {"caffe_anchors": True}, "use pyramid=false"),
        ("faster_rcnn", {"encoder": "vgg16", "dims": 3}, "VGG-16 exists for dims=2"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(name, options, message):
    with pytest.raises(RecipeError, match=message):
        build(name, in_channels=1, classes=2, **{**{"encoder": None}, **options})


def test_options_of_a_class_are_its_own_and_those_that_it_extends():
    assert {"mask_width", "anchor_sizes", "encoder"} <= set(options_of("mask_rcnn"))
    assert "mask_width" not in options_of("faster_rcnn")
    assert {"fast_rcnn", "faster_rcnn", "mask_rcnn"} <= set(MODELS)


def test_a_small_network_on_efficientnet_has_less_than_12_megabytes_of_weights():
    with torch.device("meta"):
        model = build(
            "faster_rcnn",
            **{"in_channels": 3, "classes": 3, "encoder": "efficientnet_lite0"},
            **{"pyramid_width": 64, "head_width": 128},
        )
    numbers = sum(value.numel() for value in model.state_dict().values())
    assert numbers * 4 < 17e6
    assert numbers * 2 < 12e6  # half precision, as shipped weights are stored


def test_autocast_gives_finite_losses():
    images, targets = scenes()
    model = tiny("mask_rcnn")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(images, targets).losses
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
