"""Vesalius: biomedical deep learning that measures which ideas help."""

__version__ = "0.1.0"
