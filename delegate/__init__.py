"""What NNAPI can run of a `.tflite` graph, and how to say it in NNAPI. No I/O beyond the mapped file, no device."""
