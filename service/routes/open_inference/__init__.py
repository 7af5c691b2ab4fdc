"""The Open Inference Protocol, version 2, with its binary tensor extension."""

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
"""Number of bytes of JSON at the start of the body. Binary tensors follow."""
