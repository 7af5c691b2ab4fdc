"""The HTTP server process: connections, their limits, and shutdown."""
