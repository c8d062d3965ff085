"""What makes bad input of good, and judges what a reader makes of it: a right result, or an error that says what to do.

`FERLIB_TORTURE=N` asks for N examples a test in place of the few that fit into the suite, other ones each time.
"""

import contextlib
import faulthandler
import gzip
import lzma
import os
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import ferlib

Made = TypeVar("Made")
TORTURE = int(os.environ.get("FERLIB_TORTURE") or 0)
OURS = (str(Path(ferlib.__file__).parent), str(Path(__file__).parent.parent / "tools"))
PATIENCE = 30  # seconds for one input, most of which take milliseconds: more is a hang
LONGEST = 1200  # characters of an error's message
NASTY = (
    b"", b" ", b"-1", b"7", b"256", b"0x10", b"1e999", b"nan", b"9" * 400, b"18446744073709551616", b"\0", b"\0" * 600,
    b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b"\n\n", b'"', b"'", b",", b";", b"\t", b"\x1b[2J", b"\xff", b"\xc3",
    b"\xd9\xa3", b"../../x", b"/etc/passwd", b"C:\\x", b"%s%n", b"emotion,pixels,Usage\n", b"<script>", b"[" * 5000,
    b"{}", b"null", b"0 " * 2304,
)  # fmt: skip
FAULTS = ("cut", "flip", "flip", "lose", "double", "swap", "put", "put", "recode")
RECODED = ("utf-16", "utf-16-le", "utf-32", "utf-8", "utf-8-sig", "\r\n", "\r")


def examples(few: int) -> settings:
    """So many examples of a property: `few` in the suite, always the same, else FERLIB_TORTURE's."""
    return settings(
        max_examples=TORTURE or few, derandomize=not TORTURE, deadline=None, database=None, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, whole: bytes, most: int = 4) -> bytes:
    """A file that was whole, with one to `most` faults: cut, flipped, lost, doubled, swapped, overwritten, recoded."""
    raw = bytearray(whole)

    def place() -> int:  # heads and tails hold what matters most
        near = min(len(raw), 300)
        return draw(st.one_of(st.integers(0, len(raw)), st.integers(0, near), st.integers(len(raw) - near, len(raw))))

    for kind in draw(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=most)):
        at, length = place(), draw(st.integers(1, 200))
        if kind == "cut":
            del raw[at:]
        elif kind == "flip" and raw:
            raw[min(at, len(raw) - 1)] ^= draw(st.integers(1, 255))
        elif kind == "lose":
            del raw[at : at + length]
        elif kind == "double":
            raw[at:at] = raw[at : at + length]
        elif kind == "swap":
            to = place()
            raw[at : at + length], raw[to : to + length] = raw[to : to + length], raw[at : at + length]
        elif kind == "put":
            new = draw(st.sampled_from(NASTY))
            raw[at : at + draw(st.sampled_from((0, len(new))))] = new
        elif kind == "recode":
            made, text = draw(st.sampled_from(RECODED)), bytes(raw).decode("latin-1")
            new = text.replace("\n", made).encode("latin-1") if made.isspace() else text.encode(made)
            raw = bytearray(b"\xef\xbb\xbf" + bytes(raw) if made == "utf-8-sig" else new)
    return bytes(raw)


def packed(draw: st.DrawFn, raw: bytes, suffix: str) -> bytes:
    """`raw` compressed as a name's end says, at times with faults in what is compressed."""
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(suffix, bytes)
    whole = pack(raw)
    return draw(mutated(whole, 2)) if suffix in (".gz", ".xz") and draw(st.booleans()) else whole


class HangError(BaseException):
    """An input took longer than `PATIENCE`; no `except` of a reader catches it."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `HangError` when the block takes longer, where the system has alarms.

    An alarm waits for C code to return; what hangs there ends the process, at thrice the time, and shows where.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise HangError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Judge:
    """Counts what became of each input of one reader, and shows the counts at the end of the block."""

    def __init__(self, reader: str, errors: bool = True):
        self.errors = errors  # whether some inputs must be refused
        self.reader, self.inputs, self.told, self.right, self.slowest = reader, 0, 0, 0, 0.0

    def __enter__(self) -> "Judge":
        self.began = time.monotonic()
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        seconds = time.monotonic() - self.began
        counts = f"{self.inputs:>7,} inputs {self.told:>7,} errors told {self.right:>7,} right"
        print(f"\nhostile {self.reader:<22} {counts} {seconds:>7.1f} s, slowest {self.slowest:.2f} s")
        if kind is None and self.errors:
            assert self.told, "no input was bad enough to be told: the fuzz reaches nothing"

    def __call__(self, read: Callable[[], Made]) -> Made | None:
        """What `read` gives; None where it raises an error as it should be: one of ours, in a sentence.

        A user's mistake is exactly a `ValueError` or a `FileNotFoundError`, raised by a line of `ferlib` itself: what
        another package raises, or a subclass such as `UnicodeDecodeError`, comes from deep inside.
        """
        self.inputs += 1
        began = time.monotonic()
        try:
            with within(PATIENCE), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = read()
        except (ValueError, OSError) as error:
            text, last = str(error), traceback.extract_tb(error.__traceback__)[-1]
            ours = last.filename.startswith(OURS) and last.line and last.line.startswith("raise ")
            if type(error) not in (ValueError, FileNotFoundError) or not ours or len(text) > LONGEST:
                raise AssertionError(f"no clear error, {type(error).__name__}: {text[:2000]}") from error
            assert re.search(r"[a-z]{2,}.* [a-z]{2,}", text), text
            self.told += 1
            return None
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.right += 1
        return made


def emptied(folder: Path) -> Path:
    """The folder with nothing in it, made if it is missing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
