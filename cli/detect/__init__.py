"""`boxwright detect`: detection in files from the command line, by a local model or a service."""
