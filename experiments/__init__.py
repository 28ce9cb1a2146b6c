"""What entries of LOG.md ran, once: `python -m experiments.NAME`."""
