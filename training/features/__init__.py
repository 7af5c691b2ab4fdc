"""Stored outputs of frozen layers: the feature cache of a run, and the memory of a model."""
