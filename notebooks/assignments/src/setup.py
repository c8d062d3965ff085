# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
# Run this first. `same` compares answers, `credit` gives points for them; both are locked.
import contextlib
import io
import math
import sys

import numpy as np

sys.stderr = sys.stdout  # to the grader any word on stderr, even a warning, is a failure


def same(given, expected, tolerance=1e-4):
    """Whether an answer equals what is expected, numbers up to a tolerance; arrays, lists and tuples are alike."""
    given = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(expected, (list, tuple)):
        alike = isinstance(given, (list, tuple)) and len(given) == len(expected)
        return alike and all(same(a, b, tolerance) for a, b in zip(given, expected))
    if isinstance(expected, (bool, str)) or expected is None:
        return type(given) is type(expected) and given == expected
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    return number and math.isclose(given, expected, rel_tol=tolerance, abs_tol=tolerance)


def credit(tried, cases, points):
    """Points for the share of cases that come out right; those that do not are named."""
    right = 0
    for name, inputs, expected in cases:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                given = tried(*inputs)
            good, why = same(given, expected), "another answer was expected"
        except Exception as error:
            good, why = False, f"{type(error).__name__}: {error}"
        right += good
        if not good:
            print(f"{name}: {why}")
    return round(points * right / len(cases), 2)
