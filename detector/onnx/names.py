"""What the ends of a network's ONNX graph are called; apart, since whoever runs a graph need not be able to build one."""

INPUT, OUTPUT, FEATURES = "images", "logits", "{}/features"
"""FEATURES is for the name of a layer."""
