"""Read pictures from image files, folders, videos and cameras.

An image is uint8, gray (h, w) or RGB (h, w, 3).
"""

import importlib
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import cv2
import numpy as np
import torch
from PIL import Image

from ferlib.data.pixels import to_array
from ferlib.data.sources import walk
from ferlib.data.words import IMAGES
from ferlib.utils import matching, require

VIDEOS = (
    ".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg",
    ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
HEIC_ADVICE = "HEIC is not supported; save it as JPEG (iPhone: Settings > Camera > Formats > Most Compatible)"
Picture = np.ndarray | Image.Image | torch.Tensor
Item = Picture | str | Path
Source = Item | Iterable[Item]


class Shot(NamedTuple):
    """One picture of a source, or the reason why there is none.

    Args:
        file: path of the image or video; "image 0" and so on for arrays.
        frame: number of the frame in a video, from 0.
        time: seconds since the start of a video; NaN for an image.
        image: uint8 gray (h, w) or RGB (h, w, 3); None if it cannot be read.
        error: why it cannot be read; "" if it can.
    """

    file: str
    frame: int = 0
    time: float = math.nan
    image: np.ndarray | None = None
    error: str = ""


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file, upright, as gray or RGB.

    The camera's rotation (EXIF) is applied. 16 bits become 8. Transparent pixels are laid over mid gray. Of an
    animation, the first frame is read.

    Args:
        path: path of the image file.

    Returns:
        uint8 gray (h, w) or RGB (h, w, 3).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is HEIC, damaged, or not an image.
    """
    try:
        with Image.open(path) as image:
            return to_array(image)
    except FileNotFoundError:
        raise
    except Exception as error:  # each decoder has its own errors
        head = Path(path).read_bytes()[4:12] if Path(path).is_file() else b""
        is_heic = head[:4] == b"ftyp" and head[4:6] in (b"he", b"mi", b"ms")  # heic, heix, hevc, mif1, msf1
        is_huge = isinstance(error, Image.DecompressionBombError)
        advice = "make it smaller" if is_huge else "save or download it again"
        reason = HEIC_ADVICE if is_heic else f"{error}; {advice}"
        raise ValueError(f"cannot read {path} as an image: {reason}") from error


def check_image(image: np.ndarray) -> np.ndarray:
    """Return an image as gray or RGB; raise `ValueError` if it is not uint8, gray, RGB or RGBA."""
    if image.dtype != np.uint8 or not image.size or not (image.ndim == 2 or image.shape[2:] in ((3,), (4,))):
        raise ValueError(f"this array is {image.dtype} {image.shape}; an image is uint8 (h, w), RGB or RGBA")
    return to_array(Image.fromarray(image)) if image.shape[2:] == (4,) else image


def to_image(picture: Picture) -> np.ndarray:
    """Return a picture that is in memory as uint8 gray (h, w) or RGB (h, w, 3).

    Args:
        picture: an array (h, w), (h, w, 1), RGB or RGBA, a tensor, whose channels may also come first, or Pillow's
            image; uint8, or fractions of 0 to 1.

    Raises:
        ValueError: it has another shape, or other numbers.

    >>> to_image(torch.full((1, 2, 2), 0.5)).tolist()
    [[128, 128], [128, 128]]
    """
    if isinstance(picture, Image.Image):
        return to_array(picture)
    if isinstance(picture, torch.Tensor):
        image = (picture.detach().float() if picture.is_floating_point() else picture).cpu().numpy()
    else:
        image = np.asarray(picture)
    if isinstance(picture, torch.Tensor) and image.ndim == 3 and image.shape[0] in (1, 3, 4):
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.dtype.kind == "f" and image.size:
        low, high = image.min(), image.max()
        if not 0 <= low <= high <= 1:
            raise ValueError(f"its fractions go from {low:.3g} to {high:.3g}; give 0 to 1, or uint8 of 0 to 255")
        image = (255 * image).round().astype(np.uint8)
    return check_image(image)


def read_shots(source: Source, *, every: int = 1, recursive: bool = False) -> Iterator[Shot]:
    """Read the pictures of a source one after another.

    A picture that cannot be read is a shot with an error.

    Args:
        source: a picture in memory (see `to_image`), the path of an image, video or folder, a pattern such as
            `faces/*.jpg`, or a list of these. An iterator, such as a camera's frames, is read as it comes.
        every: read each `every`-th frame of a video.
        recursive: read the subfolders of a folder too.

    Returns:
        An iterator over shots, which holds one picture at a time.

    Raises:
        FileNotFoundError: a path does not exist; raised at once, of an iterator when it is read.
        ValueError: a folder holds no image, or an item is no picture; raised likewise.

    >>> good, bad = read_shots([np.zeros((48, 64), np.uint8), np.zeros((2, 2), int)])
    >>> good.file, good.image.shape, good.error
    ('image 0', (48, 64), '')
    >>> print(bad.error)
    this array is int64 (2, 2); an image is uint8 (h, w), RGB or RGBA
    """
    if isinstance(source, Iterator):  # a camera's frames never end, so nothing is listed or compared first
        groups = _list_items(source, recursive)
        return (shot for group in groups for name, item in group for shot in _read_item(name, item, every))
    items = [item for group in _list_items(source, recursive) for item in group]
    once: dict[object, tuple[str, Picture | Path]] = {}
    for name, item in items:
        once.setdefault(item.resolve() if isinstance(item, Path) else name, (name, item))
    if len(once) < len(items):
        warnings.warn(f"{len(items) - len(once)} files are given more than once, and read once", stacklevel=2)
    return (shot for name, item in once.values() for shot in _read_item(name, item, every))


def list_files(source: Source, *, recursive: bool = False) -> list[Path]:
    """Return the files that `read_shots` reads.

    Args:
        source: as for `read_shots`.
        recursive: read the subfolders of a folder too.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [item for group in _list_items(source, recursive) for _, item in group if isinstance(item, Path)]


def _list_items(source: Source, recursive: bool) -> Iterator[list[tuple[str, Picture | Path]]]:
    """List the pictures and files of each item of a source, with their names."""
    one = source is None or isinstance(source, Item | bytes | dict)
    for number, item in enumerate([source] if one else source):  # type: ignore[arg-type]
        if isinstance(item, str | Path):
            yield [(str(file), file) for path in matching(item) for file in _list_files(path, recursive)]
        elif isinstance(item, Picture):
            yield [(f"image {number}", item)]
        elif item is None:
            raise ValueError(f"image {number} is None: its file was not read (OpenCV gives None); check its path")
        else:
            kind = type(item).__name__
            raise ValueError(f"image {number} is of the type {kind}; give a path, an array, a tensor or Pillow's image")


def _list_files(path: Path, recursive: bool) -> list[Path]:
    """List the pictures of a folder, sorted, or the path itself; a warning names what else is there."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the path of an image, a video or a folder of images")
    if not path.is_dir():
        require(path.is_file(), f"{path} is no ordinary file; give the path of an image, a video or a folder of images")
        return [path]
    everything = [path / name for name in walk(path)] if recursive else sorted(path.iterdir())
    content = [file for file in everything if not re.search(r"(^|[/\\])\.", str(file.relative_to(path)))]
    folders = [file.name for file in content if file.is_dir() and not recursive]  # not read
    files = [file for file in content if file.is_file()]
    images = [file for file in files if file.suffix.lower() in IMAGES]
    others = [file.name for file in files if file.suffix.lower() not in IMAGES]
    below = f"its subfolders ({_first(folders)}) are read with recursive=True (`--recursive`)"
    if not images:
        hint = below if folders else f"it holds {_first(others) or 'no file'}; give pictures such as .jpg or .png"
        raise ValueError(f"{path} holds no image; {hint}")
    if others:
        warnings.warn(f"{path}: skipped files that are not images: {_first(others)}", stacklevel=4)
    if folders:
        warnings.warn(f"{path}: {below}", stacklevel=4)
    return images


def _first(names: list[str]) -> str:
    """Return the first five names, and how many there are besides."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read_item(name: str, item: Picture | Path, every: int) -> Iterator[Shot]:
    """Read one picture in memory, image file or video."""
    if isinstance(item, Path) and item.suffix.lower() in VIDEOS:
        yield from _read_video(item, every)
        return
    try:
        yield Shot(name, image=read_image(item) if isinstance(item, Path) else to_image(item))
    except (ValueError, OSError) as error:
        yield Shot(name, error=str(error))


def _read_video(path: Path, every: int) -> Iterator[Shot]:
    """Read each `every`-th frame of a video, then a shot with the error if it ends too early."""
    # As text, a name of bytes that are no characters would end Python.
    capture, count = cv2.VideoCapture(os.fsencode(path)), 0  # type: ignore[call-overload]
    expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    try:
        while capture.grab():
            if count % every == 0:
                _, image = capture.retrieve()
                if image is None or not image.size:  # the video is damaged here
                    break
                time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield Shot(str(path), count, time, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            count += 1
    finally:
        capture.release()
    if not count:
        yield Shot(str(path), error=f"OpenCV can read no frame of {path}; convert it to .mp4 (H.264)")
    elif count < expected - 3:  # headers are wrong by a frame or two
        yield Shot(str(path), count, error=f"{path} ends after {count} of {expected:.0f} frames; download it again")


def camera_frames(device: int = 0) -> Iterator[np.ndarray]:
    """Read frames from a camera of this computer until the generator is closed.

    Args:
        device: number of the camera, from 0.

    Yields:
        uint8 RGB (h, w, 3).

    Raises:
        ValueError: there is no such camera. A server has none; on Colab call `capture_on_colab`.
    """
    capture = cv2.VideoCapture(device)
    try:
        require(capture.isOpened(), f"this computer has no camera {device}; on Colab call capture_on_colab()")
        frame = capture.read()[1]
        require(frame is not None, f"camera {device} gives no picture; does another program use it?")
        while frame is not None:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            frame = capture.read()[1]
    finally:
        capture.release()


def upload_on_colab() -> np.ndarray:
    """Ask for one picture file of the user's computer on Google Colab.

    Returns:
        uint8 gray (h, w) or RGB (h, w, 3).

    Raises:
        ValueError: this is not Colab, no file was chosen, or it is no picture.
    """
    try:
        files = importlib.import_module("google.colab.files").upload()
    except ImportError as error:
        raise ValueError("this is not Google Colab; give the picture's path to read_image here") from error
    require(len(files) == 1, f"{len(files)} files were uploaded; run this again and choose one picture")
    (name,) = files
    return read_image(name)  # Colab has written the file into the working folder


def capture_on_colab() -> np.ndarray:
    """Take one picture with the browser's camera on Google Colab.

    Returns:
        uint8 RGB (h, w, 3), taken when the user presses the button.

    Raises:
        ValueError: this is not Colab, or the browser gives no picture.
    """
    script = (Path(__file__).parent / "colab_camera.js").read_text(encoding="utf-8")
    try:
        with urlopen(importlib.import_module("google.colab.output").eval_js(script)) as file:  # data:image/jpeg;base64,
            return np.asarray(Image.open(file).convert("RGB"))
    except ImportError as error:
        raise ValueError("this is not Google Colab; call camera_frames() here") from error
    except Exception as error:  # the browser's refusals have no class of their own
        raise ValueError(f"the browser gave no picture ({error}); allow the camera and run this again") from error
