"""ONNX graphs of networks, in float32 and in 8 bits."""
