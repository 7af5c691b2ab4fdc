"""Read VOC-style data sets and make training batches."""
