"""The trained networks whose .cfg and .weights files are in ../shared."""

YOLO_LITE = ["yolo-lite-voc-nobn", "yolo-lite-voc-bn", "yolo-lite-coco"]
