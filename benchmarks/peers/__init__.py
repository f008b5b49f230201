"""wdk-cloud beside other engines in one run: `make bench-peers`. docs/benchmarks.md explains the figures."""
