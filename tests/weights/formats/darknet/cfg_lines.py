"""Sections of small .cfg files."""

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"  # four lines
CONV = "[convolutional]\nactivation=leaky\n"
