"""Fine-tuning on VOC-style data."""
