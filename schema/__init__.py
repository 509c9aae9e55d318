"""FlatBuffers contracts and their generated readers."""
