import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect import roi as roi_module
from vesalius.detect import roi_align as align_module
from vesalius.detect import roi_pool as pool_module
from vesalius.detect.roi import roi_align, roi_pool
from vesalius.errors import DataError, RecipeError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "acceptance/detect/roi.json").read_text("utf-8")
)["result"]

WORKED = torch.tensor(
    [
        [0.88, 0.44, 0.14, 0.16, 0.37, 0.77, 0.96, 0.27],
        [0.19, 0.45, 0.57, 0.16, 0.63, 0.29, 0.71, 0.70],
        [0.66, 0.26, 0.82, 0.64, 0.54, 0.73, 0.59, 0.26],
        [0.85, 0.34, 0.76, 0.84, 0.29, 0.75, 0.62, 0.25],
        [0.32, 0.74, 0.21, 0.39, 0.34, 0.03, 0.33, 0.48],
        [0.20, 0.14, 0.16, 0.13, 0.73, 0.65, 0.96, 0.32],
        [0.19, 0.69, 0.09, 0.86, 0.88, 0.07, 0.01, 0.48],
        [0.83, 0.24, 0.97, 0.04, 0.24, 0.35, 0.50, 0.91],
    ]
)[None, None]
WORKED_BOX = torch.tensor([[0.0, 0, 3, 7, 8]])

BOXES = torch.tensor(
    [
        [0, 1, 1, 7, 6],
        [1, 0, 0, 9, 8],
        [1, 2.5, 1.5, 3.5, 2.25],
        [0, -4, -3, 5, 4],
        [1, 6, 5, 14, 12],
        [0, 3, 4, 5, 4],
        [0, 5, 6, 4, 5],
        [1, 20, 20, 30, 30],
    ],
    dtype=torch.float64,
)


def reference_features():
    n = torch.arange(2 * 2 * 8 * 9, dtype=torch.float64)
    return torch.sin(n * n * 0.37 + n).reshape(2, 2, 8, 9)


def volume_boxes(number, seed, images=2):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(number, 3, generator=generator, dtype=torch.float64) * 6 - 2
    high = low + torch.rand(number, 3, generator=generator, dtype=torch.float64) * 7
    image = torch.randint(images, (number, 1), generator=generator)
    return torch.cat([image, low, high], dim=1)


def check_against_reference(case, operator):
    features = reference_features().requires_grad_()
    out = operator(features, BOXES, (3, 2), **case["options"])
    weights = torch.cos(torch.arange(out.numel(), dtype=out.dtype)).reshape(out.shape)
    (out * weights).sum().backward()
    assert out.flatten().tolist() == pytest.approx(case["output"], abs=2e-9)
    assert features.grad.flatten().tolist() == pytest.approx(case["gradient"], abs=2e-9)


@pytest.mark.parametrize("case", REFERENCE["align"], ids=lambda case: str(case["options"]))
def test_align_and_its_gradient_equal_torchvision(case):
    check_against_reference(case, roi_align)


@pytest.mark.parametrize("case", REFERENCE["pool"], ids=lambda case: str(case["options"]))
def test_pooling_and_its_gradient_equal_torchvision(case):
    check_against_reference(case, roi_pool)


# --- known answers -------------------------------------------------------------------------------


def test_align_gives_the_numbers_of_detectron():
    features = torch.arange(25.0).view(1, 1, 5, 5)
    box = torch.tensor([[0.0, 1, 1, 3, 3]])
    first = torch.tensor([[7.5, 8, 8.5, 9]]) + torch.arange(4.0)[:, None] * 2.5
    assert torch.allclose(roi_align(features, box, 4)[0, 0], first)
    assert torch.allclose(roi_align(features, box, 4, aligned=True)[0, 0], first - 3)


def test_the_worked_example_of_align():
    align = {"sampling_ratio": 2, "aligned": False}
    mean = roi_align(WORKED, WORKED_BOX, 2, **align)[0, 0]
    assert torch.allclose(
        mean, torch.tensor([[0.366328, 0.550117], [0.459805, 0.375234]]), atol=1e-6
    )
    largest = roi_align(WORKED, WORKED_BOX, 2, **align, reduce="max")[0, 0]
    expected = torch.tensor([[0.581094, 0.813594], [0.588281, 0.55125]])
    assert torch.allclose(largest, expected, atol=1e-6)
    align["aligned"] = True
    mean = roi_align(WORKED, WORKED_BOX, 2, **align)[0, 0]
    assert torch.allclose(
        mean, torch.tensor([[0.476953, 0.470977], [0.456914, 0.455234]]), atol=1e-6
    )
    largest = roi_align(WORKED, WORKED_BOX, 2, **align, reduce="max")[0, 0]
    expected = torch.tensor([[0.702812, 0.612344], [0.770313, 0.794063]])
    assert torch.allclose(largest, expected, atol=1e-6)


def test_the_worked_example_of_pooling():
    disjoint = roi_pool(WORKED, WORKED_BOX, 2, mode="disjoint")[0, 0]
    assert torch.equal(disjoint, torch.tensor([[0.85, 0.84], [0.97, 0.96]]))
    overlapping = roi_pool(WORKED, WORKED_BOX, 2)[0, 0]
    assert torch.equal(overlapping, torch.tensor([[0.85, 0.96], [0.97, 0.91]]))
    inclusive = roi_pool(WORKED, torch.tensor([[0.0, 0, 3, 6, 7]]), 2)[0, 0]
    assert torch.equal(inclusive, torch.tensor([[0.85, 0.96], [0.97, 0.96]]))


def test_pooling_gives_the_numbers_of_the_textbook():
    features = torch.arange(16.0).view(1, 1, 4, 4)
    boxes = [torch.tensor([[0.0, 0, 20, 20], [0, 10, 30, 30]])]
    pooled = roi_pool(features, boxes, 2, spatial_scale=0.1)[:, 0]
    assert pooled.tolist() == [[[5, 6], [9, 10]], [[9, 11], [13, 15]]]


def test_halves_are_rounded_away_from_zero():
    features = torch.arange(6.0).view(1, 1, 1, 6)
    for corner, pixel in ((0.5, 1), (1.5, 2), (2.5, 3), (2.4999998, 2), (-0.5, 0)):
        box = torch.tensor([[0.0, corner, 0, corner, 0]])
        found = roi_pool(features, box, 1).item()
        assert found == (0.0 if corner < 0 else pixel)
    assert roi_pool(features + 1, torch.tensor([[0.0, -0.5, 0, -0.5, 0]]), 1).item() == 0


def test_align_resamples_a_plane_exactly():
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    plane = (3 * y - 2 * x + 1)[None, None]
    found = roi_align(plane, torch.tensor([[0.0, 2, 1, 8, 7]]), (3, 3), aligned=True)[0, 0]
    rows, columns = 1 + 2 * torch.arange(3.0) + 0.5, 2 + 2 * torch.arange(3.0) + 0.5
    assert torch.allclose(found, 3 * rows[:, None] - 2 * columns + 1, atol=1e-5)


# --- against slow code ---------------------------------------------------------------------------


def interpolate(volume, point):
    """Return the interpolated values (C,) of one image at an array index, point by point."""
    if any(not -1 <= p <= side for p, side in zip(point, volume.shape[1:], strict=True)):
        return torch.zeros(volume.shape[0], dtype=volume.dtype)
    values, fractions = volume, []
    for p, side in zip(point, volume.shape[1:], strict=True):
        p = min(max(p, 0.0), side - 1.0)
        low = min(int(p), max(side - 2, 0))
        values = values.narrow(len(fractions) + 1, low, min(2, side))
        fractions.append(p - low)
    for fraction in fractions:
        first, last = values[:, 0], values[:, -1]
        values = first + (last - first) * fraction if values.shape[1] > 1 else first
    return values


def slow_align(features, boxes, size, ratio, aligned, reduce):
    dims = len(size)
    out = torch.zeros(len(boxes), features.shape[1], *size, dtype=features.dtype)
    for k, box in enumerate(boxes.tolist()):
        start = [box[1 + dims - 1 - a] - 0.5 * aligned for a in range(dims)]
        end = [box[1 + 2 * dims - 1 - a] - 0.5 * aligned for a in range(dims)]
        side = [e - s if aligned else max(e - s, 1.0) for s, e in zip(start, end, strict=True)]
        bins = [s / n for s, n in zip(side, size, strict=True)]
        count = [ratio if ratio > 0 else max(math.ceil(b), 0) for b in bins]
        for place in torch.cartesian_prod(*[torch.arange(n) for n in size]).view(-1, dims).tolist():
            grid = [torch.arange(n) for n in count]
            points = torch.cartesian_prod(*grid).view(-1, dims).tolist() if all(count) else []
            samples = [
                interpolate(
                    features[int(box[0])],
                    [
                        start[a] + bins[a] * (place[a] + (point[a] + 0.5) / count[a])
                        for a in range(dims)
                    ],
                )
                for point in points
            ]
            if samples:
                stack = torch.stack(samples)
                value = stack.mean(0) if reduce == "mean" else stack.amax(0)
                out[(k, slice(None), *place)] = value
    return out


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 2])
def test_align_in_volumes_equals_slow_code(reduce, aligned, ratio):
    torch.manual_seed(0)
    features = torch.randn(2, 2, 4, 5, 6, dtype=torch.float64)
    boxes = volume_boxes(5, 1)
    size = (2, 1, 3)
    found = roi_align(features, boxes, size, sampling_ratio=ratio, aligned=aligned, reduce=reduce)
    assert torch.allclose(found, slow_align(features, boxes, size, ratio, aligned, reduce))


@pytest.mark.parametrize("ratio", [-1, 3])
def test_align_with_the_maximum_equals_slow_code(ratio):
    features = reference_features()
    boxes = BOXES[[0, 2, 3, 4, 7]]
    found = roi_align(features, boxes, (3, 2), sampling_ratio=ratio, reduce="max")
    assert torch.allclose(found, slow_align(features, boxes, (3, 2), ratio, False, "max"))


def slow_pool(features, boxes, size, mode):
    dims = len(size)
    out = torch.zeros(len(boxes), features.shape[1], *size, dtype=features.dtype)
    for k, box in enumerate(boxes.tolist()):
        whole = [math.copysign(math.floor(abs(v) + 0.5), v) for v in box]
        slices = []
        for a, (bins, side) in enumerate(zip(size, features.shape[2:], strict=True)):
            start, end = whole[1 + dims - 1 - a], whole[1 + 2 * dims - 1 - a]
            if mode == "caffe":
                length = max(end - start + 1, 1)
                cuts = [
                    (math.floor(i * length / bins), math.ceil((i + 1) * length / bins))
                    for i in range(bins)
                ]
            else:
                length = max(end - start, 0)
                cuts = [(i * length // bins, (i + 1) * length // bins) for i in range(bins)]
            slices.append(
                [slice(*(int(min(max(start + c, 0), side)) for c in cut)) for cut in cuts]
            )
        for place in torch.cartesian_prod(*[torch.arange(n) for n in size]).view(-1, dims).tolist():
            index = tuple(slices[a][p] for a, p in enumerate(place))
            part = features[(int(box[0]), slice(None), *index)]
            if part.numel():
                out[(k, slice(None), *place)] = part.flatten(1).amax(1)
    return out


@pytest.mark.parametrize("mode", ["caffe", "disjoint"])
@given(st.integers(0, 2**31), st.sampled_from([1.0, 0.5]))
@settings(max_examples=8, deadline=None)
def test_pooling_equals_slow_code(mode, seed, scale):
    torch.manual_seed(seed)
    flat, volume = torch.randn(2, 3, 9, 13).double(), torch.randn(2, 2, 4, 5, 6).double()
    low = torch.rand(6, 2).double() * 14 - 4
    boxes = torch.cat([torch.randint(2, (6, 1)), low, low + torch.rand(6, 2) * 16 - 1], dim=1)
    scaled = torch.cat([boxes[:, :1], boxes[:, 1:] * scale], dim=1)
    found = roi_pool(flat, boxes, (3, 4), mode=mode, spatial_scale=scale)
    assert torch.equal(found, slow_pool(flat, scaled, (3, 4), mode))
    assert torch.equal(
        roi_pool(flat.float(), boxes, (3, 4), mode=mode, spatial_scale=scale), found.float()
    )
    boxes = volume_boxes(4, seed)
    found = roi_pool(volume, boxes, (2, 2, 3), mode=mode)
    assert torch.equal(found, slow_pool(volume, boxes, (2, 2, 3), mode))


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(max_examples=5, deadline=None)
def test_every_pixel_of_a_box_is_in_one_disjoint_bin(seed, number):
    torch.manual_seed(seed)
    corner = torch.randint(0, 20, (number, 2))
    boxes = torch.cat(
        [torch.zeros(number, 1), corner, corner + torch.randint(1, 20, (number, 2))], 1
    )
    features = torch.ones(1, 1, 40, 40).requires_grad_()
    for row in boxes:
        # The largest of equal values gets the gradient, so at most one pixel of every bin.
        (gradient,) = torch.autograd.grad(
            roi_pool(features, row[None], 40, mode="disjoint").sum(), features
        )
        x1, y1, x2, y2 = row[1:].int().tolist()
        expected = torch.zeros(40, 40)
        expected[y1:y2, x1:x2] = 1
        assert torch.equal(gradient[0, 0], expected)


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("ratio", [-1, 2])
def test_the_gradient_of_align_is_the_numerical_one(reduce, ratio):
    features = reference_features()[:, :1, :5, :6].contiguous().requires_grad_()
    options = {"sampling_ratio": ratio, "reduce": reduce}
    # Where samples are equal, as those outside the map, the maximum has no gradient to compare.
    boxes = BOXES if reduce == "mean" else BOXES[[0, 2]]
    assert torch.autograd.gradcheck(lambda x: roi_align(x, boxes, 2, **options), (features,))


def test_the_gradient_of_align_can_be_differentiated_again():
    features = reference_features()[:, :1, :4, :4].contiguous().requires_grad_()
    boxes = BOXES[:2] / 2
    assert torch.autograd.gradgradcheck(lambda x: roi_align(x, boxes, 2).pow(2), (features,))


@pytest.mark.parametrize("mode", ["caffe", "disjoint"])
def test_the_gradient_of_pooling_is_the_numerical_one(mode):
    features = reference_features()[:, :1, :5, :6].contiguous().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, BOXES, 2, mode=mode), (features,))


def test_gradients_in_volumes_are_the_numerical_ones():
    torch.manual_seed(0)
    features = torch.randn(1, 1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    boxes = volume_boxes(2, 2, images=1)
    for operator in (roi_align, roi_pool):
        assert torch.autograd.gradcheck(lambda x, f=operator: f(x, boxes, (1, 2, 2)), (features,))


def test_the_gradient_of_equal_pixels_goes_to_the_first():
    features = torch.tensor([[-0.0, 0, 0], [0, 0, 0]]).view(1, 1, 2, 3).requires_grad_()
    roi_pool(features, torch.tensor([[0.0, 0, 0, 2, 1]]), 1).sum().backward()
    assert features.grad.flatten().tolist() == [1, 0, 0, 0, 0, 0]


# --- exported programs ---------------------------------------------------------------------------


def chosen(operator, options):
    """Return a module that applies an operator with options."""

    class Chosen(torch.nn.Module):
        def forward(self, features, boxes):
            return operator(features, boxes, (3, 2), **options)

    return Chosen()


@pytest.fixture
def recording(monkeypatch):
    """Take the way of an exported program."""
    monkeypatch.setattr(roi_module, "_exporting", lambda: True)


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        (roi_align, {}),
        (roi_align, {"sampling_ratio": 2, "aligned": True}),
        (roi_align, {"sampling_ratio": 2, "reduce": "max"}),
        (roi_pool, {}),
        (roi_pool, {"mode": "disjoint"}),
    ],
)
def test_both_ways_agree(operator, options, monkeypatch):
    features, volume = reference_features(), torch.randn(2, 2, 4, 5, 6).double()
    boxes = volume_boxes(5, 3)
    expected = operator(features, BOXES, (3, 2), **options)
    expected_in_volume = operator(volume, boxes, (2, 1, 3), **options)
    monkeypatch.setattr(roi_module, "_exporting", lambda: True)
    assert torch.allclose(operator(features, BOXES, (3, 2), **options), expected)
    assert torch.allclose(operator(volume, boxes, (2, 1, 3), **options), expected_in_volume)


@pytest.mark.usefixtures("recording")
def test_the_adaptive_maximum_is_not_exported():
    with pytest.raises(RecipeError, match="sampling_ratio above 0"):
        roi_align(reference_features(), BOXES, 2, reduce="max")


@pytest.mark.slow
@pytest.mark.parametrize("operator", [roi_align, roi_pool])
def test_an_exported_program_takes_any_number_of_boxes_and_images(operator):
    features, boxes = reference_features(), BOXES
    dynamic = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    program = torch.export.export(
        chosen(operator, {}), (features, boxes[:5]), dynamic_shapes=dynamic
    ).module()
    for images, number in ((2, 8), (3, 3)):
        more = features[torch.arange(images) % 2]
        expected = operator(more, boxes[:number], (3, 2))
        assert torch.allclose(program(more, boxes[:number]), expected)


@pytest.mark.slow
@pytest.mark.parametrize("operator", [roi_align, roi_pool])
def test_onnx_computes_the_same(operator, tmp_path):
    pytest.importorskip("onnxscript", reason="exporting to ONNX needs onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime runs the exported graph")
    features, boxes = reference_features().float(), BOXES.float()
    dynamic = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
    program = torch.onnx.export(
        chosen(operator, {}), (features, boxes[:5]), dynamo=True, dynamic_shapes=dynamic
    )
    program.save(str(tmp_path / "roi.onnx"))
    session = runtime.InferenceSession(str(tmp_path / "roi.onnx"))
    names = [each.name for each in session.get_inputs()]
    arrays = dict(zip(names, (features.numpy(), boxes.numpy()), strict=True))
    found = torch.from_numpy(session.run(None, arrays)[0])
    assert torch.allclose(found, operator(features, boxes, (3, 2)), atol=1e-6)


# --- what comes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", [roi_align, roi_pool])
def test_no_boxes_give_an_empty_answer_with_a_gradient(operator):
    features = torch.randn(2, 3, 8, 9, requires_grad=True)
    for boxes in (torch.zeros(0, 5), [torch.zeros(0, 4), torch.zeros(0, 4)], [torch.zeros(0)] * 2):
        out = operator(features, boxes, 7)
        assert out.shape == (0, 3, 7, 7)
        out.sum().backward()
        assert not features.grad.any()


@pytest.mark.parametrize("operator", [roi_align, roi_pool])
def test_a_list_of_boxes_numbers_the_images(operator):
    features = reference_features()
    lists = [BOXES[BOXES[:, 0] == image][:, 1:] for image in (0, 1)]
    order = BOXES[:, 0].argsort(stable=True)
    assert torch.equal(operator(features, lists, 3), operator(features, BOXES[order], 3))


@pytest.mark.parametrize("operator", [roi_align, roi_pool])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(operator, dtype):
    features = reference_features().to(dtype)
    out = operator(features, BOXES, 3)
    assert out.dtype == dtype
    assert torch.equal(out, operator(features.float(), BOXES, 3).to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = operator(features.float(), BOXES, 3)
    assert torch.equal(inside, operator(features.float(), BOXES, 3))


def test_empty_boxes_are_zero_when_aligned():
    features = torch.ones(1, 1, 5, 5, requires_grad=True)
    out = roi_align(features, torch.tensor([[0.0, 3, 4, 5, 4]]), 7, aligned=True)
    out.sum().backward()
    assert not out.any()
    assert not features.grad.any()


def test_many_boxes_are_taken_in_several_passes(monkeypatch):
    features = reference_features()
    expected = roi_align(features, BOXES, (3, 2))
    pooled = roi_pool(features, BOXES, (3, 2))
    monkeypatch.setattr(align_module, "VALUES_AT_ONCE", 40)
    monkeypatch.setattr(pool_module, "VALUES_AT_ONCE", 40)
    assert torch.equal(roi_align(features, BOXES, (3, 2)), expected)
    assert torch.equal(roi_pool(features, BOXES, (3, 2)), pooled)


def test_a_nan_in_a_bin_is_not_hidden():
    features = torch.zeros(1, 1, 2, 2)
    features[0, 0, 1, 1] = -math.nan
    box = torch.tensor([[0.0, 0, 0, 1, 1]])
    assert roi_pool(features, box, 1).isnan().all()
    assert roi_pool(features.requires_grad_(), box, 1).isnan().all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, b: roi_align(x, b, 2, reduce="sum"), RecipeError, "'mean' or 'max'"),
        (lambda x, b: roi_pool(x, b, 2, mode="new"), RecipeError, "'caffe' or 'disjoint'"),
        (lambda x, b: roi_pool(x, b, (2, 0)), RecipeError, "above 0"),
        (lambda x, b: roi_align(x, b, (2, 2, 2)), RecipeError, "2 numbers"),
        (lambda x, b: roi_align(x[0], b, 2), DataError, "floating point"),
        (lambda x, b: roi_align(x, b[:, 1:], 2), DataError, "\\(K, 5\\)"),
        (lambda x, b: roi_align(x, [b[:, 1:]], 2), DataError, "as many tensors"),
        (lambda x, b: roi_align(x, b + torch.tensor([9, 0, 0, 0, 0]), 2), DataError, "2 images"),
        (lambda x, b: roi_pool(x, b * math.inf, 2), DataError, "not finite"),
    ],
)
def test_bad_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(reference_features(), BOXES)
