"""Post-training quantization to 8 bits."""
