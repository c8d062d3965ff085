"""Where pictures come from: image files, folders and videos, the camera of this computer, and the browser's on Colab.

An image is uint8, gray (h, w) or RGB (h, w, 3).
"""

import base64
import importlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

IMAGES = (".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")  # brands in its head
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
Source = np.ndarray | str | Path | Sequence[np.ndarray | str | Path]
MOST_PIXELS = 2**26  # of a video's frame
SNAP = """(async () => {
  const video = document.createElement("video"), button = document.createElement("button"), box = document.body;
  const stream = await navigator.mediaDevices.getUserMedia({video: true});
  button.textContent = "Take the picture";
  video.srcObject = stream;
  box.append(video, button);
  await video.play();
  google.colab.output.setIframeHeight(document.documentElement.scrollHeight, true);
  await new Promise(done => button.onclick = done);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getVideoTracks()[0].stop();
  video.remove();
  button.remove();
  return canvas.toDataURL("image/jpeg", 0.95);
})()"""


class Shot(NamedTuple):
    """One picture of a source; `error` says why there is none."""

    file: str
    frame: int = 0
    time: float = math.nan  # seconds since a video's beginning
    image: np.ndarray | None = None  # uint8 gray (h, w) or RGB (h, w, 3)
    error: str = ""


def read_image(path: str | Path) -> np.ndarray:
    """An image file as uint8 gray (h, w) or RGB (h, w, 3), upright, of an animation the first frame.

    16 bits become 8, CMYK becomes RGB, and what is transparent is laid over mid gray. Raises `ValueError` for a file
    that is no whole image, is HEIC, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (89 million), which is read
    off its header; `FileNotFoundError`.
    """
    with open(path, "rb") as file:
        head = file.read(12)
    if Path(path).suffix.lower() in (".heic", ".heif") or (head[4:8] == b"ftyp" and head[8:12] in HEIC):
        raise ValueError(f"{path} is HEIC, which is not read here; save it as JPEG (phones: Camera > Most Compatible)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.init()
            # An EPS is a program, which Pillow gives to Ghostscript to run.
            with Image.open(path, formats=[name for name in Image.ID if name != "EPS"]) as opened:
                ImageOps.exif_transpose(opened, in_place=True)
                return _pixels(opened)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} has over {Image.MAX_IMAGE_PIXELS:,} pixels; save it smaller") from error
    except Exception as error:  # decoders fail in many ways, and each is this one file's
        raise ValueError(f"{path} cannot be read as an image ({error}); fetch or save it again") from error


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise ValueError("its pixels are fractions; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits, which some formats are given in 32
        # Rounded in whole numbers, which for an odd divisor have no halves.
        return ((np.asarray(image).clip(0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def read_shots(source: Source, *, every: int = 1) -> Iterator[Shot]:
    """The pictures of what `EmotionRecognizer.predict` takes, one after another, unreadable ones with their error.

    Arrays are called "image 0", "image 1" and so on. Raises `FileNotFoundError` at once for a path that is not there.
    """
    given = [source] if isinstance(source, np.ndarray | str | Path) else source
    items: list[tuple[str, np.ndarray | Path]] = []
    for number, item in enumerate(given):
        if isinstance(item, np.ndarray):
            items.append((f"image {number}", item))
        else:
            items += [(str(path), path) for path in _files(Path(os.path.expanduser(item)))]
    return (shot for name, item in items for shot in _shots_of(name, item, every))


def _files(path: Path) -> list[Path]:
    """The path itself, or the images of a folder, sorted; the others are named in a warning."""
    if not os.path.exists(path):  # nor can a file be called so
        raise FileNotFoundError(f"{path} is not there; give the path of an image, a video or a folder of images")
    if not path.is_dir():
        if not path.is_file():
            raise ValueError(f"{path} is neither a file nor a folder; give an image, a video or a folder of images")
        return [path]
    inside = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    images = [file for file in inside if file.suffix.lower() in IMAGES and file.is_file()]
    others = [file.name for file in inside if file not in images]
    if not images:
        raise ValueError(f"{path} holds no image; looked for {', '.join(IMAGES)}")
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        warnings.warn(f"in {path}, {', '.join(others[:5])}{more} are no images and were left out", stacklevel=4)
    return images


def _shots_of(name: str, item: np.ndarray | Path, every: int) -> Iterator[Shot]:
    if isinstance(item, Path) and item.suffix.lower() in VIDEOS:
        yield from _frames(item, every)
        return
    try:
        image = read_image(item) if isinstance(item, Path) else item
        if image.dtype != np.uint8 or not image.size or not (image.ndim == 2 or image.shape[2:] in ((3,), (4,))):
            raise ValueError(f"{name} is {image.dtype} {image.shape}; an image is uint8 (h, w), RGB or RGBA")
        yield Shot(name, image=_pixels(Image.fromarray(image)) if image.shape[2:] == (4,) else image)
    except (ValueError, OSError) as error:
        yield Shot(name, error=str(error))


def _frames(path: Path, every: int) -> Iterator[Shot]:
    """Each `every`-th frame of a video, one held at a time; last, what was wrong with it."""
    with open(path, "rb") as file:
        if file.read(8).startswith((b"ffconcat", b"#EXTM3U")):  # which FFmpeg would follow
            yield Shot(str(path), error=f"{path} is a list of other files; give these")
            return
    capture, frame, fine = cv2.VideoCapture(str(path)), 0, True
    try:
        if capture.isOpened() and capture.getBackendName() == "CV_IMAGES":
            capture.release()  # it would read all files whose names are numbered like this one's
        if capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT) > MOST_PIXELS:
            yield Shot(str(path), error=f"{path} has frames of over {MOST_PIXELS:,} pixels; save it smaller")
            return
        while capture.grab():
            if frame % every == 0:
                time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                fine, image = capture.retrieve()
                fine = fine and image is not None and image.size > 0  # some of a broken file are fine, and empty
                if not fine:
                    break
                yield Shot(str(path), frame, time, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            frame += 1
        stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    if not frame:
        yield Shot(str(path), error=f"{path} holds no frame that OpenCV can read; convert it to .mp4 (H.264)")
    elif not fine or frame < stated - 3:  # headers are off by a frame or two
        yield Shot(str(path), frame, error=f"{path} breaks off after {frame} of {stated:.0f} frames")


def camera_frames(device: int = 0) -> Iterator[np.ndarray]:
    """The frames of a camera of this computer, RGB, until it stops or the generator is closed.

    Raises `ValueError` where there is no such camera, as on every server: Colab's is the browser's.
    """
    capture = cv2.VideoCapture(device)
    try:
        fine, frame = capture.read()
        if not fine:
            raise ValueError(f"no camera {device} is on the computer that Python runs on; on Colab: capture_on_colab()")
        while fine:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            fine, frame = capture.read()
    finally:
        capture.release()


def capture_on_colab() -> np.ndarray:
    """One picture by the browser's camera, RGB, when its button is pressed; only in Google Colab.

    Raises `ValueError` elsewhere, and where the browser gives no picture.
    """
    try:
        output = importlib.import_module("google.colab.output")
    except ImportError as error:
        raise ValueError("this is not Google Colab; here camera_frames() gives the camera's pictures") from error
    try:
        raw = np.frombuffer(base64.b64decode(output.eval_js(SNAP).partition(",")[2]), np.uint8)
        return np.ascontiguousarray(np.asarray(cv2.imdecode(raw, cv2.IMREAD_COLOR))[..., ::-1])
    except Exception as error:  # the browser's refusals have no class of their own
        raise ValueError(f"the browser gave no picture ({error}); allow it to use the camera and run again") from error
