"""What the endpoints read from a request: images, forms, JSON, and the context of the request."""
