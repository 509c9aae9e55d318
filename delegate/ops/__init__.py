"""Support rules and lowerings, one file per operator family."""
