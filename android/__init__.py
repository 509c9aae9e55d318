"""Everything that runs on the device (C11), and the Python that builds and binds it."""
