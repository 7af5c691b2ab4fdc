"""Names of the trained networks with a .cfg and a .weights file in ../shared."""

YOLO_LITE = ["yolo-lite-voc-nobn", "yolo-lite-voc-bn", "yolo-lite-coco"]
