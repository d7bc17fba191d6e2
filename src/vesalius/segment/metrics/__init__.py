"""Metrics of segmentation."""

from vesalius.segment.metrics.confusion import ConfusionMatrix

__all__ = ["ConfusionMatrix"]
