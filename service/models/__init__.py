"""Models that are served: loading, versions, and the watched model folder."""
