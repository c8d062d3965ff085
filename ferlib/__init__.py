"""Facial expression recognition, taught and measured honestly. Write `from ferlib import data, plots`."""

__version__ = "0.1.0"
