"""Pixels and voxels: read, write, find, transform, encode, draw."""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=("draw", "encode", "encoders", "layout", "resample", "transforms"),
    names={
        "Image": "image",
        "can_read": "read",
        "find_cases": "layout",
        "mask_suffix_for": "write",
        "read_channels": "read",
        "read_image": "read",
        "read_mask": "read",
        "write_dicom_seg": "write",
        "write_image": "write",
        "write_mask": "write",
    },
)
