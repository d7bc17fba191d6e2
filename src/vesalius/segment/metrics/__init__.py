"""Metrics of segmentation."""

from vesalius.segment.metrics.comparison import Comparison, compare, holm
from vesalius.segment.metrics.confusion import ConfusionMatrix
from vesalius.segment.metrics.detections import average_precision, detection_accuracy
from vesalius.segment.metrics.evaluate import aggregate, compare_profiles, evaluate, summarise
from vesalius.segment.metrics.instances import (
    aggregated_jaccard,
    instance_f1,
    match_instances,
    overlaps,
    panoptic_quality,
    pooled_panoptic_quality,
)
from vesalius.segment.metrics.resampling import Interval
from vesalius.segment.metrics.statistics import bootstrap, bootstrap_counts

__all__ = [
    "Comparison",
    "ConfusionMatrix",
    "Interval",
    "aggregate",
    "aggregated_jaccard",
    "average_precision",
    "bootstrap",
    "bootstrap_counts",
    "compare",
    "compare_profiles",
    "detection_accuracy",
    "evaluate",
    "holm",
    "instance_f1",
    "match_instances",
    "overlaps",
    "panoptic_quality",
    "pooled_panoptic_quality",
    "summarise",
]
