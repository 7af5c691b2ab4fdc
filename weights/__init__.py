"""Where models come from and how they are stored: Darknet's files, our own model file, the catalogue and its cache.

Imports `detector` and nothing else of Boxwright. TensorFlow comes only when it is asked for, and of pickles nothing but arrays of numbers is taken.
"""
