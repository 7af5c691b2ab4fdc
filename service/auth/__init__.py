"""API keys: creation, hashing and checks."""
