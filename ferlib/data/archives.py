"""Archives unpacked so that none writes outside of its folder, fills the disk, or loses a file without a word."""

import bz2
import errno
import gzip
import lzma
import os
import re
import tarfile
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

DEEPEST = 32  # folders in one another: what lies deeper is no data set, and more than Python can walk through
LARGEST = 2**30  # bytes that a small compressed file may hold; a larger one TIMES its own (FER2013's: 4, a bomb: 1,000)
TIMES = 20
BLOCK = 4096  # bytes that the smallest file takes on a disk
BAD_NAMES = (  # an entry's, by what writing it says
    None, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ,
)  # fmt: skip


def most(path: Path) -> int:
    """The bytes that a compressed file may hold."""
    return max(LARGEST, TIMES * path.stat().st_size)


def bomb_told(path: Path) -> str:
    """Why a file that holds more than `most` is refused."""
    return f"was refused: it would unpack to over {most(path):,} bytes from {path.stat().st_size:,}; unpack it by hand"


class _RefusedError(Exception):
    """Why an archive is not unpacked."""


def unpack(path: Path, folder: Path) -> None:
    """Unpack a .zip or .tgz into a folder; raises `ValueError` for one that is broken, reaches outside or is a bomb."""
    try:
        with open(path, "rb") as file:  # not `zipfile.is_zipfile`, which a tar is too whose last file is a zip
            is_zip = file.read(4) in (b"PK\3\4", b"PK\5\6")
        if is_zip or path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names: set[str] = set()
                entries = listed(archive, path)
                total = sum(_admit(entry.filename, entry.file_size, names) for entry in entries)
                if total > most(path):
                    raise _RefusedError
                archive.extractall(folder)
                files = [entry.filename for entry in entries if not entry.is_dir()]
        else:
            files = _unpack_tar(path, folder)
        written = sum(len(there) for _, _, there in os.walk(folder))
        if len(files) > written:
            raise _RefusedError(_lost(files, written))
    except (_RefusedError, getattr(tarfile, "FilterError", _RefusedError)) as error:
        raise ValueError(f"{path.name} {f'was refused: {error}' if error.args else bomb_told(path)}") from error
    except (RuntimeError, NotImplementedError) as error:  # a zip with a password, or packed in another way
        raise ValueError(f"{path.name} cannot be unpacked: {error!s:.200}") from error
    except Exception as error:  # zipfile and tarfile trust what they read, and fail in many ways
        if isinstance(error, OSError) and error.errno not in BAD_NAMES:
            raise
        raise ValueError(f"{path.name} is broken or cut short: {error!s:.200}; fetch it again") from error


def _lost(files: list[str], written: int) -> str:
    """Why fewer files were written than there are: Windows and macOS tell no A from a, nor two ways to write é."""
    seen: dict[str, str] = {}
    for name in files:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            return f"its entries {other!r:.80} and {name!r:.80} are one file on this disk; rename one"
    return f"of its {len(files)} files {written} were written"


def listed(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """A zip's entries; `BadZipFile` if they are not as many as its end says, which zipfile itself does not mind.

    `NotImplementedError` for one that zipfile would unpack in pieces without a bound, whatever its size is said to be.
    """
    with open(path, "rb") as file:
        file.seek(-min(path.stat().st_size, 22 + 0xFFFF), os.SEEK_END)
        tail = file.read()
    at, entries = tail.rfind(b"PK\x05\x06") + 10, archive.infolist()
    count = int.from_bytes(tail[at : at + 2], "little")
    if count not in (0xFFFF, len(entries) & 0xFFFF):  # the first: there are more, and another place tells how many
        raise zipfile.BadZipFile(f"{len(entries)} of its {count} entries are there")
    for entry in entries:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError(f"{entry.filename!r:.80} is packed by bzip2, LZMA or another way; zip it anew")
    return entries


def _unpack_tar(path: Path, folder: Path) -> list[str]:
    """Unpack it; returns the names of its files."""
    if not hasattr(tarfile, "data_filter"):
        raise _RefusedError("this Python cannot unpack a tar safely: take 3.10.12, 3.11.4 or newer")
    with open(path, "rb") as file:
        opener: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}.get(file.read(2), open)
    total, names, files = 0, set[str](), list[str]()
    with opener(path, "rb") as file, tarfile.open(fileobj=_Metered(file), mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            if not (member.isreg() or member.isdir()):  # links mislead, one after another even Python's own filter
                raise _RefusedError(f"its entry {member.name!r:.80} is no file; pack what a link leads to")
            total += _admit(member.name + "/" * member.isdir(), member.size, names)
            if max(total, tar.offset) > most(path):
                raise _RefusedError
            tar.extract(member, folder, filter="data")
            if member.isreg():
                files.append(member.name)
        file.seek(tar.offset)  # where a whole one ends in zeros: tarfile takes a broken header for the end
        if file.read(512) != bytes(512):
            raise tarfile.ReadError("its last header is no whole one")
        while file.read(1 << 20):  # to the end, where the checksum is
            if file.tell() > most(path):
                raise _RefusedError
    return files


class _Metered:
    """A stream of which no large part is read at once: tarfile would take from memory what a header claims."""

    def __init__(self, stream: Any):
        self.stream, self.seek, self.tell = stream, stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 1 << 16:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return self.stream.read(size)


def _admit(name: str, size: int, names: set[str]) -> int:
    """The bytes that an archive's entry takes; raises `_RefusedError` for one that is not to be unpacked."""
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise _RefusedError(f"its entry {name!r:.80} would be written outside of its folder")
    if len(parts) > DEEPEST or max(len(os.fsencode(part)) for part in parts) > 255 or size < 0:
        raise _RefusedError(f"its entry {name!r:.80} has too long a name, lies too deep or has no size")
    if name.endswith("/") and size:
        raise _RefusedError(f"its entry {name!r:.80} is called a folder, and has content")
    plain = "/".join(part for part in parts if part not in ("", "."))
    if plain in names and not name.endswith("/"):
        raise _RefusedError(f"its entry {name!r:.80} stands there twice")
    names.add(plain)
    return max(size, BLOCK)
