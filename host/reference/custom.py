"""Custom operators that ship with the toolkit, and the decoder of flexbuffer options."""
