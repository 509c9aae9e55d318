"""CPU reference kernels in numpy, one file per operator family."""
