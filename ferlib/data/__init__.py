"""Load any FER layout on disk into one uint8 array with a table beside it, and batch it."""

from ferlib.data.cache import cache_folder
from ferlib.data.dataset import FaceDataset, classes_of, labels_of, loader
from ferlib.data.loading import all_counts, load
from ferlib.data.sources import find

__all__ = ["FaceDataset", "all_counts", "cache_folder", "classes_of", "find", "labels_of", "load", "loader"]
