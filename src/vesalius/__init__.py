"""Vesalius: biomedical deep learning that measures which ideas help.

The departments are attributes, loaded when first used: `vesalius.segment.train(...)`.
"""

from vesalius.lazy import lazily

__version__ = "0.1.0"

__getattr__ = lazily(
    __name__,
    modules=(
        "datasets",
        "detect",
        "diagnose",
        "doctor",
        "engine",
        "errors",
        "images",
        "report",
        "segment",
        "study",
        "text",
    ),
)
