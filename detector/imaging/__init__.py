"""Image files: decoding, resizing, drawing and encoding."""
