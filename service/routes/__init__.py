"""HTTP endpoints, grouped by protocol."""
