"""`python -m ferlib VERB` is `ferlib VERB`."""

import sys

from ferlib.cli import main

sys.exit(main())
