"""Where models come from and how they are stored: Darknet's files, our own model file, the catalogue and its cache.

Imports `detector` and nothing else of Boxwright. TensorFlow comes only when it is asked for; of a pickle nothing is taken but
arrays of numbers.
"""
