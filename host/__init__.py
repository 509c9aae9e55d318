"""Android NNAPI delegate and device-deployment toolkit."""

__version__ = "0.1.0"
