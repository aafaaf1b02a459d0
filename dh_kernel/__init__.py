"""A Jupyter kernel backed by Deephaven. Nothing is imported here, so that a server's plugin entry point stays cheap."""

__version__ = "0.1.0"
