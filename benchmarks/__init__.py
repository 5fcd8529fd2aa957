"""Measures the runtime of this template against its peers: `make bench`, explained in docs/benchmarks.rst."""
