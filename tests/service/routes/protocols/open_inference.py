"""Names of the outputs, and parameters with which the tiny model detects something."""

NAMES = ["boxes", "scores", "classes", "labels", "num_detections"]
LOW_CONFIDENCE = {"confidence": 0.05}
