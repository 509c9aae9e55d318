"""A client of the NNAPI C interface, and tests of software NNAPI through it."""
