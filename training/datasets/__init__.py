"""Check, repair, split, plot and import data sets."""
