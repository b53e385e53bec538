"""The version, which stores and results name too."""

__version__ = "0.1.0"
