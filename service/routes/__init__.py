"""The endpoints, one module for each way in."""
