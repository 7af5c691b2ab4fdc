"""What a YOLOv2 detector *is*: layers as data, boxes, decoding, suppression, drawing, and two engines that run it.

Pure: no HTTP, no command line, no downloads, no logging set-up. Importing this package imports neither TensorFlow nor Keras.
"""
