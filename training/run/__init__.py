"""Run, resume and record training."""
