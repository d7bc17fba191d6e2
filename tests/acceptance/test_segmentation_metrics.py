"""Values that the test suites of other libraries expect, on arrays written anew.

Sources: surface_distance_test.py (google-deepmind/surface-distance); test_hausdorff_distance.py,
test_compute_meandice.py, test_compute_meaniou.py and test_compute_panoptic_quality.py
(Project-MONAI/MONAI).
"""

import numpy as np
import pytest

from vesalius.segment.metrics import evaluate, panoptic_quality
from vesalius.segment.metrics.surface import surface_distances

NAN, INF = np.nan, np.inf
SURFACE = ("hd", "hd95", "assd", "nsd", "dice")


def scores(truth, prediction, profile, **options):
    values = evaluate(truth, prediction, labels=[1], profile=profile, **options)[1]
    return [values[name] for name in SURFACE]


def one_voxel(shape, at):
    mask = np.zeros(shape, np.uint8)
    mask[at] = 1
    return mask


@pytest.mark.parametrize("profile", ["surface-distance", "vesalius"])
@pytest.mark.parametrize(
    ("shape", "truth", "prediction", "spacing"),
    [
        ((128, 128), (50, 70), (50, 72), (2, 1)),
        ((128, 128, 128), (50, 60, 70), (50, 60, 72), (3, 2, 1)),
    ],
)
def test_two_voxels_two_millimetres_apart(profile, shape, truth, prediction, spacing):
    pair = one_voxel(shape, truth), one_voxel(shape, prediction)
    assert scores(*pair, profile, spacing=spacing, tolerance=1) == pytest.approx(
        [2.0, 2.0, 1.5, 0.5, 0.0]
    )


def test_the_contour_of_two_pixels_has_their_lengths_and_distances():
    pair = (one_voxel((128, 128), at).astype(bool) for at in ((50, 70), (50, 72)))
    found = surface_distances(*pair, spacing=(2.0, 1.0))
    for distances, lengths in found.sides:
        assert sorted(distances) == [1, 1, 2, 2]
        np.testing.assert_allclose(lengths, 0.5 * np.sqrt(5))


def test_half_a_volume_against_one_slice_more():
    truth, prediction = np.zeros((2, 100, 100, 100), np.uint8)
    truth[:50] = 1
    prediction[:51] = 1
    hd, hd95, assd, nsd, dice = scores(
        truth, prediction, "surface-distance", spacing=(2, 1, 1), tolerance=1
    )
    assert (hd, hd95) == (2.0, 2.0)
    assert (assd, nsd, dice) == pytest.approx(((0.322 + 0.339) / 2, 0.836, 0.990), abs=5e-4)
    # Counting border voxels instead: another surface, another score.
    plain = evaluate(truth, prediction, spacing=(2, 1, 1), profile="monai", metrics="nsd")[1]
    assert plain["nsd"] == pytest.approx(0.755, abs=5e-4)
    found = surface_distances(truth.astype(bool), prediction.astype(bool), spacing=(2.0, 1.0, 1.0))
    averages = [distances @ areas / areas.sum() for distances, areas in found.sides]
    assert averages == pytest.approx([0.322, 0.339], abs=5e-4)


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (True, False, [INF, INF, NAN, 0.0, 0.0]),
        (False, True, [INF, INF, NAN, 0.0, 0.0]),
        (False, False, [INF, INF, NAN, NAN, NAN]),
    ],
)
def test_empty_masks_as_surface_distance_scores_them(truth, prediction, expected):
    pair = [one_voxel((128, 128), (50, 60)) * flag for flag in (truth, prediction)]
    np.testing.assert_equal(scores(*pair, "surface-distance", spacing=(3, 2)), expected)


def ball(radius, centre, size=99):
    x, y, z = np.ogrid[:size, :size, :size]
    a, b, c = centre
    return (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 <= radius**2


SPHERES = [
    ((20, (20, 20, 20)), (20, (19, 19, 19)), (3**0.5, 3**0.5), (1, 1), (3, 3)),
    ((33, (19, 33, 22)), (33, (20, 33, 22)), (1, 1), (1, 1), (1, 1)),
    ((20, (20, 33, 22)), (40, (20, 33, 22)), (20.09975124, 20.22374842), (15, 20), (24, 35)),
]


@pytest.mark.parametrize(("predicted", "true", "euclidean", "chessboard", "taxicab"), SPHERES)
def test_hausdorff_distances_of_spheres(predicted, true, euclidean, chessboard, taxicab):
    prediction, truth = ball(*predicted), ball(*true)
    norms = {"euclidean": euclidean, "chessboard": chessboard, "taxicab": taxicab}
    for norm, (directed, symmetric) in norms.items():
        found = surface_distances(truth, prediction, elements="voxels", norm=norm)
        assert found.prediction.max() == pytest.approx(directed)
        assert found.hausdorff() == pytest.approx(symmetric)
    assert evaluate(truth, prediction, profile="monai", metrics="hd")[1]["hd"] == pytest.approx(
        euclidean[1]
    )


def test_a_sphere_against_nothing_is_infinitely_far():
    sphere = ball(20, (20, 20, 20)).astype(int)
    for pair in ((sphere, 0 * sphere), (0 * sphere, sphere)):
        for profile in ("monai", "vesalius"):
            assert evaluate(*pair, profile=profile, metrics="hd")[1]["hd"] == INF


def test_dice_and_iou_of_monais_example():
    values = evaluate([[1, 0], [1, 1]], [[1, 0], [0, 1]], profile="monai")[1]
    assert values["dice"] == pytest.approx(0.8)
    assert values["iou"] == pytest.approx(0.6667, abs=1e-4)


@pytest.mark.parametrize(
    ("truth", "prediction", "dice", "iou"),
    [
        ([[1, 1], [1, 2]], [[1, 0], [0, 0]], (0.5, 0.0), (0.3333, 0.0)),
        ([[0, 1], [2, 2]], [[0, 1], [1, 2]], (0.6667, 0.6667), (0.5, 0.5)),
    ],
)
def test_dice_and_iou_of_two_images_with_three_classes(truth, prediction, dice, iou):
    values = evaluate(truth, prediction, profile="monai")
    assert [values[label]["dice"] for label in (1, 2)] == pytest.approx(dice, abs=1e-4)
    assert [values[label]["iou"] for label in (1, 2)] == pytest.approx(iou, abs=1e-4)


def test_panoptic_quality_of_monais_example():
    prediction = [[0, 1, 1, 1], [0, 0, 0, 0], [2, 0, 3, 3], [4, 2, 2, 0]]
    truth = [[1, 1, 2, 1], [0, 0, 0, 0], [1, 3, 0, 0], [4, 3, 3, 3]]
    renamed = np.array([0, 7, 1, 8, 9])[np.array(prediction)]
    for labels in (np.array(prediction), renamed):
        assert panoptic_quality(np.array(truth), labels)["pq"] == pytest.approx(0.25)
        loose = panoptic_quality(np.array(truth), labels, threshold=0.3)
        assert loose["sq"] == pytest.approx(0.6)
        assert loose["rq"] == pytest.approx(0.75)
