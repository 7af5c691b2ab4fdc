"""Headers of the accepted image formats, one module per format: what a file claims, and the work of decoding it."""
