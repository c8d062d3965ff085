"""Faces and scenes drawn from action units, with their truth: the data set that needs no download."""

from ferlib.sample.drawn import BOX_COLUMNS, CONFUSABLE, PROTOTYPES, VOTE_COLUMNS, dataset, draw
from ferlib.sample.faces import ACTION_UNITS, redraw

__all__ = ["ACTION_UNITS", "BOX_COLUMNS", "CONFUSABLE", "PROTOTYPES", "VOTE_COLUMNS", "dataset", "draw", "redraw"]
