"""Output on the terminal: tables, progress bars, messages and JSON."""
