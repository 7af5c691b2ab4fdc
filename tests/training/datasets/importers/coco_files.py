"""A COCO file with one image and one annotation."""

import json


def write_coco(tmp_path, save_image, annotation, *, place="instances.json", path="a.jpg", byte_order_mark=b"", **image):
    save_image(tmp_path / path, 1)
    entry = {"id": 1, "file_name": "a.jpg", "width": 60, "height": 40} | image
    content = {"images": [entry], "annotations": [{"image_id": 1, "category_id": 1} | annotation], "categories": [{"id": 1, "name": "dog"}]}
    annotations = tmp_path / place
    annotations.parent.mkdir(parents=True, exist_ok=True)
    annotations.write_bytes(byte_order_mark + json.dumps(content).encode())
    return annotations
