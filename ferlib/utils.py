"""Writing a file whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a scratch file beside `path`, then put it in `path`'s place in one step; returns the path.

    Whoever reads `path` finds the old file or the new one, never a part. What `write` raises is passed on, and the
    scratch file removed.
    """
    path = Path(path)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return path
