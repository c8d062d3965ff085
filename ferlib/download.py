"""FER2013, fetched when asked for: Kaggle's class folders, or the challenge's own archive from a mirror; then counted.

Kaggle's copy comes through `kagglehub`, without an account; where the server wants one, `kagglehub` itself reads
`KAGGLE_API_TOKEN` from the environment, or Colab's secret of that name. The addresses are other people's and may go.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm.auto import tqdm

from ferlib import data
from ferlib.emotions import FER2013_COUNTS

KAGGLE = "msambare/fer2013"
MIRRORS = (  # the first names a revision; the second a branch, which can change: the checksum alone holds it
    "https://raw.githubusercontent.com/Abidali178/FERD-using-SSD-OpenCV-MTCNN/"
    "c9d7b8ba11f5b349818de559932c7e2958e9ee22/fer2013.tar.gz",
    "https://huggingface.co/datasets/JimmyUnleashed/FER-2013/resolve/main/fer2013.tar.gz",
)
MD5 = "ca95d94fe42f6ce65aaae694d18c628a"  # of the archive, as R torchvision's `fer_dataset` has it
TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces
NOTICE = """FER2013: 60 to 100 MB to fetch, 0.5 GB of disk in all. No licence of the images could be established: they
are for study only. To cite: I. Goodfellow et al. 2013, Challenges in representation learning: a report on three machine
learning contests."""


def fetch(name: str = "fer2013", folder: str | Path = "data", *, source: str = "auto", progress: bool = True) -> Path:
    """Fetch FER2013 into `folder` unless it is there already; returns the path that `ferlib.data.load` reads.

    `source` is `"kaggle"` (class folders, in `fer2013/`), `"mirror"` (`fer2013.tar.gz`) or `"auto"`: one after another
    until one comes, with a warning for each that fails. What came, or was there, is decoded into the cache and held
    against the official counts; `PrivateTest` stays sealed.

    Raises `ValueError` for another name or source and for missing images, `ConnectionError` for a server that fails or
    sends something else, `PermissionError` for a folder that cannot be written to, `OSError` for a full disk.
    """
    ways = {"auto": (KAGGLE, *MIRRORS), "kaggle": (KAGGLE,), "mirror": MIRRORS}
    if name != "fer2013":
        raise ValueError(f"{name!r} cannot be fetched; known is fer2013: ferlib data fetch fer2013")
    if source not in ways:
        raise ValueError(f"source is {source!r}; allowed are {', '.join(ways)}")
    folder = Path(folder).expanduser()
    paths = [folder] if (folder / "train").is_dir() else map(folder.joinpath, data.FER2013_NAMES)
    there = [path for path in paths if path.exists()]
    try:
        return _whole(there[0], "move it away") if there else _whole(_get(ways[source], folder, progress))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise
        full = f"no room is left on the disk of {folder} or of the caches"
        raise OSError(f"{full}: free 0.5 GB and run the same command again") from error


def _whole(path: Path, remedy: str = "") -> Path:
    """The path, if every split has its official counts; else `ValueError`, and without a remedy the path is removed."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*FER2013's")  # those of its notes that the error repeats
            faces = data.load(path)
        due = sum(sum(FER2013_COUNTS[split]) for split in ("Training", "PublicTest"))
        off = [f"{len(faces):,} images are open where {due:,} are due"] * (len(faces) != due)
        lacks = "; ".join([note for note in faces.notes if "FER2013's" in note] or off)
    except ValueError as error:
        lacks = str(error)
    if lacks and not remedy:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        remedy = "it was removed; take the other of --source kaggle and --source mirror"
    if lacks:
        raise ValueError(f"{path} is not the whole of FER2013: {lacks}; {remedy}, and run the same command again")
    return path


def _get(ways: tuple[str, ...], folder: Path, progress: bool) -> Path:
    """What the first way that works puts into the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise PermissionError(f"{folder} cannot be written to ({error.strerror}); name another folder: --to") from error
    for way in ways:
        try:
            return _from_kaggle(folder) if way == KAGGLE else _from_mirror(way, folder / "fer2013.tar.gz", progress)
        except ConnectionError as error:
            if way == ways[-1]:
                raise
            warnings.warn(f"{error}. Now the next source is tried", stacklevel=3)
    raise AssertionError("there is always a way")


def _from_kaggle(folder: Path) -> Path:
    """Kaggle's class folders as `folder`/fer2013, whole or not at all."""
    try:
        import kagglehub

        found = Path(kagglehub.dataset_download(KAGGLE))
    except ImportError as error:
        raise ValueError('kagglehub is missing: pip install "kagglehub>=0.4", or add --source mirror') from error
    except Exception as error:  # kagglehub's own errors, and those of a broken archive, share no other class
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            raise
        raise _plain(error, "Kaggle") from error
    # A copy, for on Colab and Kaggle it lies in a read-only mount, elsewhere in kagglehub's cache; file by file, since
    # copytree would bring the mount's rights along and, on a full disk, try all that are left.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fer2013-", ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / "fer2013"
        for file in (file for file in found.rglob("*") if file.is_file()):
            copy = made / file.relative_to(found)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        return made.rename(folder / "fer2013")


def _from_mirror(url: str, target: Path, progress: bool) -> Path:
    """Stream an archive into `target`.part, going on with what is there, and into place once its MD5 is right."""
    part, host = target.with_name(f"{target.name}.part"), f"the mirror {urlsplit(url).hostname}"
    have = part.stat().st_size if part.exists() else 0
    # Packed once more on its way, lengths and ranges would be those of other bytes: "identity".
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code != 416:  # which says that the part is all there is
                answer.raise_for_status()
                have *= answer.status_code == 206  # else the server ignores ranges and sends all of it again
                total = have + int(answer.headers.get("Content-Length", 0)) or None
                bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=host, disable=not progress)
                with bar, open(part, "ab" if have else "wb") as file:
                    for piece in answer.iter_content(1 << 16):
                        bar.update(file.write(piece))
    except requests.RequestException as error:
        raise _plain(error, host) from error
    if hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest() != MD5:
        part.unlink()
        wrong = f"what {host} sent has a wrong checksum and was removed"
        raise ConnectionError(f"{wrong}; run the same command again, or put fer2013.csv into data/ by hand")
    os.replace(part, target)
    return target


def _plain(error: Exception, who: str) -> ConnectionError:
    """One sentence for a server's failure: what happened, and what to do next or in its place."""
    by_hand = "put fer2013.csv into data/ by hand"
    other = "add --source mirror" if who == "Kaggle" else by_hand
    again = "run the same command again, which goes on where it stopped"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in (401, 403) and who == "Kaggle":
        token = "set KAGGLE_API_TOKEN (environment or Colab secret) to a token made at kaggle.com/settings"
        what, then = f"refused (HTTP {status})", token
    elif status == 429 or status >= 500:
        what, then = f"answered HTTP {status}", "wait some minutes and run the same command again"
    elif status:
        what, then = f"does not hand it out (HTTP {status})", ""
    elif isinstance(error, requests.Timeout) or "timed out" in str(error):
        what, then = "did not answer in time", again
    elif isinstance(error, requests.exceptions.ChunkedEncodingError):
        what, then = "broke off half way", again
    elif isinstance(error, requests.ConnectionError):
        what, then, other = f"cannot be reached ({type(error).__name__})", "check the network", by_hand
    else:
        what = f"sent something broken ({type(error).__name__}: {error})"
        then = f"delete ~/.cache/kagglehub/datasets/{KAGGLE} and run the same command again"
    return ConnectionError(f"{who} {what}: {then}{', or ' * bool(then)}{other}")
