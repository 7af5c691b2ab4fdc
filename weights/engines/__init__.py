"""Engines for a model: built from its arrays, or read from the engine cache on disk."""
