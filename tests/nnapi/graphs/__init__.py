"""Random graphs of NNAPI operations, valid by construction, with a numpy reference for each node.

`build` holds the graph and what a maker draws with, the files named by family the makers, `run` the ways to run a graph:
whole, with all intermediate results as outputs, split into parts, with shapes left open.
"""
