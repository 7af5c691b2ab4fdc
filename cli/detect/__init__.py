"""`boxwright detect`: from files on the command line to detections, here or on a service."""
