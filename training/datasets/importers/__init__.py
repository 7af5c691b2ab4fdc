"""Readers for data sets in other formats."""
