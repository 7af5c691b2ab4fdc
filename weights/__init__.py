"""Where models come from and how they are stored: Darknet's files, our own model file, the catalogue and its cache.

Imports `detector` and nothing else of Boxwright; no TensorFlow, no pickle.
"""
