"""Benchmarks of the engine on its embedded worlds: `make bench` prints them as one JSON document.

Each module measures one thing and says in its docstring what exactly; docs/benchmarks.md explains the figures.
"""
