import numpy as np
import torch

from vesalius.detect import rle
from vesalius.detect.answers import from_detections, parts, to_scene
from vesalius.detect.models.outputs import Detections


def found(*, masks=None):
    boxes = torch.tensor([[0.0, 0, 10, 20], [5, 5, 9, 9]])
    return Detections(boxes, torch.tensor([0.9, 0.4]), torch.tensor([1, 0]), masks)


def test_a_table_says_what_was_detected_on_the_original_grid():
    table = from_detections(found(), old=(20, 10), new=(40, 30))
    boxes, scores, labels, masks = parts(table, dims=2)
    assert boxes.tolist() == [[0, 0, 30, 40], [15, 10, 27, 18]]
    np.testing.assert_allclose(scores, [0.9, 0.4])
    assert labels.tolist() == [1, 0]
    assert masks is None


def test_masks_are_kept_in_the_table_and_pasted_into_the_image():
    masks = torch.zeros(2, 4, 4)
    masks[0, :2] = 1  # the upper half of the first box
    table = from_detections(found(masks=masks), old=(20, 10), new=(20, 10))
    scene = to_scene(table, id="a", path=None, size=(20, 10), classes=("x", "y"), masks=True)
    assert scene.labels == ("y",)  # the second's mask is empty
    mask = rle.decode(scene.masks[0])
    assert mask[:9].all()
    assert not mask[11:].any()


def test_weak_detections_can_be_left_out():
    table = from_detections(found(), old=(20, 10), new=(20, 10))
    kept = to_scene(table, id="a", path=None, size=(20, 10), classes=("x", "y"), min_score=0.5)
    assert kept.scores.round(2).tolist() == [0.9]


def test_an_image_without_detections_is_a_scene_without_objects():
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    table = from_detections(none, old=(8, 8), new=(8, 8))
    assert to_scene(table, id="a", path=None, size=(8, 8), classes=("x",)).count == 0
