"""Darknet's files: .cfg and .weights, reading and writing."""
