"""The Open Inference Protocol, version 2, with its binary tensor extension: what is said, apart from the paths."""

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header that says where the JSON of a body ends, and tensors begin."""
