"""The Open Inference Protocol, version 2, with its binary tensor extension."""
