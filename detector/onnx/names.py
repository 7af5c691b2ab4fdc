"""Names of the inputs and outputs of an ONNX graph. Running a graph imports only this module, not the `onnx` package."""

INPUT, OUTPUT, FEATURES = "images", "logits", "{}/features"  # FEATURES takes the name of a layer.
