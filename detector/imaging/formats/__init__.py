"""Headers of the accepted image formats, one module per format: the claimed size, and the work of decoding."""
