"""`ferlib VERB`: the command line; `ferlib VERB --help` lists a verb's options.

Verbs: `doctor`, `data` (also `data fetch`, `data export`), `audit`, `recipes`, `train`, `evaluate`, `compare`,
`predict`, `explain`, `export`, `demo`.

Each verb's options stand beside the function that runs it. That function imports torch and the rest of ferlib only
when it runs, so that `ferlib --help` is fast and `ferlib doctor` runs where torch is missing.
"""

from ferlib.cli.parser import main

__all__ = ["main"]
