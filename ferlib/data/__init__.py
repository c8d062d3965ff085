"""Load FER data of any layout into one uint8 array with a table beside it, and batch it."""

from ferlib.data.any_dataset import classes_of, labels_of
from ferlib.data.dataset import FaceDataset, loader
from ferlib.data.loading import all_counts, cache_folder, load
from ferlib.data.sources import find

__all__ = ["FaceDataset", "all_counts", "cache_folder", "classes_of", "find", "labels_of", "load", "loader"]
