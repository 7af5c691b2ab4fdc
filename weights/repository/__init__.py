"""The model folder, which has models with names and versions: its layout, changes to it, and private copies of its files."""
