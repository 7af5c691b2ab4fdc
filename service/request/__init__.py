"""Parsing of requests: images, forms, JSON, and the request context."""
