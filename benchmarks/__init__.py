"""Side-by-side ratios against peers: `python -m benchmarks.NAME`."""
