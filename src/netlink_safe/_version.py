"""The version, alone in its file: the build reads it, and it imports nothing."""

__version__ = "0.1.0"
