"""`ferlib VERB`: the command line."""

from ferlib.cli.parser import main

__all__ = ["main"]
