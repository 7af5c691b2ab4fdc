"""The Open Inference Protocol, version 2, with its binary tensor extension: what is said, apart from the paths."""
