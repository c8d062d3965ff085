"""`ferlib VERB`: the command line.

Each verb's options stand beside the function that runs it. That function imports torch and the rest of ferlib only
when it runs, so that `ferlib --help` is fast and `ferlib doctor` runs where torch is missing.
"""

from ferlib.cli.parser import main

__all__ = ["main"]
