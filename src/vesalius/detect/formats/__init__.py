"""Data sets of boxes and masks: read, written, converted into one another.

One file per format: `coco`, `voc`, `yolo`, `labelme`, `tables` (CSV), `instances` (label maps,
pictures and volumes). Each reads into and writes from `vesalius.detect.scene.Scene`.
"""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=("coco", "coco_results", "instances", "labelme", "tables", "voc", "yolo"),
    names={
        "FORMATS": "reading",
        "DataSet": "reading",
        "find_scenes": "reading",
        "read": "reading",
        "Written": "writing",
        "write": "writing",
        "Conversion": "writing",
        "convert": "writing",
    },
)
