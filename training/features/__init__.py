"""Cache the outputs of frozen layers."""
