"""For the teacher: hidden cases of a05, drawn anew for each secret, wrong answers that must lose points, and a rubric.

`RUBRIC` tells how to mark the written part. What stands in the answer cells of the source is one answer of several.
"""

import numpy as np

RUBRIC = """
How to mark the written part of a05 (three answers, 5 points each)

Give each point that is listed on its own; half a point where the right thing is named without a reason. What counts is
the argument: a side that you do not share costs nothing, and neither does language. An answer far over 150 words is
read up to there. Whoever repeats the question's figures without using them gets nothing for it. Sources that were used
and not named: talk to the student first.

6. A sentence of advertising (claim)
   One point for each of four of these, named with its reason:
   - emotions: labels are words that raters gave to looks; what somebody feels was never known;
   - reads: it chooses among seven words, and says one of them to every picture, even without a face;
   - your customers: measured on photographs of a web search; other cameras, ages, cultures and moments were not, and
     nobody knows who the people of FER2013 are;
   - 70%: chosen on the very test that is reported, so too good; PrivateTest was not opened;
   - 70%: 280 of the 3,589 faces also stand in training; without twins 68.5%;
   - 70%: an interval of 1.5 points to either side, and another training run gives another figure;
   - accuracy: the mean hides that half of the fear is missed, and that disgust rests on 56 faces;
   - 18 views of a still picture, not one frame of a film.
   One point for a sentence that says what was measured, on what, and nothing about feelings. It need not be short.
   Often seen: "70% is too low". That is an opinion on a figure, not a flaw of the sentence: no point.
   Often seen: "the interval reaches 71.9, so 70% is right". True of the figure, and beside the question: no point.

7. Zero is inside (gap)
   1  It does not follow: the test is too small to tell, gaps of up to 17 points agree with it, 8 is what it says first.
      Half for "not significant is not the same as no effect" and no more. None for "so there is a gap".
   1  Persons: the faces of one person are alike, they err together; redrawing faces takes 120 for independent and makes
      the interval too narrow. Half for "because it is more honest".
   2  One for a measurement: new persons of the group, so many that the gap that matters would be seen; the same test,
      asked once. (More faces of the same 30 persons: nothing.) One for what is settled first: which gap is too large,
      which groups are asked about (and what for several questions, Bonferroni), who decides. A search for the cause
      (light, noise, labels) may stand in for either.
   1  Abstaining: the doubtful faces come mostly from the group, so that it gets no answer more often; the harm moves.
      Full points also for "it may be enough if no answer is harmless here and both shares are watched", with a reason.
      None for "yes, because accuracy rises".

8. The mood of a floor (request)
   1  Regulation (EU) 2024/1689, article 5(1)(f): inferring emotions at the workplace is prohibited except for medical or
      safety reasons. An average is made of inferences about each person. The number of the article is not needed, the
      workplace and the exception are. Whoever argues that the average changes it must say why: half.
   1  95% of what? Agreement with raters' words for looks. Looks are not feelings (Barrett and others, 2019): they vary
      with culture, situation and person. Half for "5% of 200 are still ten people".
   1  Averaging takes away what is random from face to face; what errs in one direction stays: light, camera, groups that
      are read worse, a face at rest that is called sad.
   1  The employees bear it, in an unequal relation, in which a no is noticed; pressure to perform, other uses later. The
      decision and the gain are the management's.
   1  An alternative that would answer the question: a voluntary anonymous survey, talks, a person to turn to, figures
      that exist already (overtime, sick leave, as sums). Another sensor on people: nothing.
   An answer that sees nothing in favour of the request can have all five points; one that does is the better practice
   and makes good a half point lost elsewhere.
"""

EMOTIONS = 7


# ---- confusion
def cases_confusion(rng):
    """Arguments of each hidden case, by its name."""
    order = rng.permutation(5)

    def answers(n, labels, predicted):
        """With the last of `labels` and of `predicted` at least once, as a pair."""
        said = [*rng.choice(predicted, n - 1), predicted[-1]]
        return [*rng.choice(labels, n - 1).tolist(), int(labels[-1])], [int(one) for one in said]

    seven = rng.integers(0, EMOTIONS, 24)
    slips = np.where(rng.random(24) < 0.6, seven, rng.integers(0, EMOTIONS, 24))
    many = rng.integers(0, 3, 2)
    return {
        "all seven emotions": (seven.tolist(), slips.tolist(), EMOTIONS),
        "a class that is neither there nor said": (*answers(14, order[1:], order[1:]), 5),
        "the last classes are not there": (*answers(12, [0, 1, 2], [0, 1, 2]), 6),
        "a class that is said and not there": (*answers(14, order[:3], order[:4]), 5),
        "the same pair many times": (
            [int(many[0])] * 9 + [1, 2, 0],
            [int(many[1])] * 9 + [0, 1, 1],
            3,
        ),
    }


def confusion__transposed(labels, predicted, classes):
    """Rows are what was said."""
    matrix = np.zeros((classes, classes), int)
    for true, said in zip(labels, predicted):
        matrix[said, true] += 1
    return matrix


def confusion__classes_inferred(labels, predicted, classes):
    """Only the classes that come up, so that the rows of two tests do not fit."""
    there = np.unique(np.concatenate([labels, predicted]))
    return np.array([[((labels == a) & (predicted == b)).sum() for b in there] for a in there])


def confusion__up_to_the_largest(labels, predicted, classes):
    """Loses the last classes where nobody is of them."""
    most = max(labels.max(), predicted.max()) + 1
    return np.bincount(most * labels + predicted, minlength=most**2).reshape(most, most)


def confusion__shares_of_columns(labels, predicted, classes):
    """Shares of what was said, in place of counts."""
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (labels, predicted), 1)
    return matrix / np.maximum(matrix.sum(0), 1)


def confusion__shares_of_rows(labels, predicted, classes):
    """Shares of each true class, in place of counts."""
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (labels, predicted), 1)
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)


def confusion__each_pair_once(labels, predicted, classes):
    """NumPy's += with positions adds once where a pair comes several times."""
    matrix = np.zeros((classes, classes), int)
    matrix[labels, predicted] += 1
    return matrix


def confusion__only_the_mistakes(labels, predicted, classes):
    """The diagonal, what was named right, is missing."""
    matrix = np.zeros((classes, classes), int)
    for true, said in zip(labels, predicted):
        if true != said:
            matrix[true, said] += 1
    return matrix


def confusion__classes_that_are_true(labels, predicted, classes):
    """What was said beyond the true classes is lost."""
    there = np.unique(labels)
    matrix = np.zeros((classes, classes), int)
    for true, said in zip(labels, predicted):
        if said in there:
            matrix[true, said] += 1
    return matrix


# ---- macro_f1
def cases_macro_f1(rng):
    """Arguments of each hidden case, by its name."""

    def some(classes):
        return rng.integers(0, 9, (classes, classes)) + np.diag(rng.integers(3, 30, classes))

    absent, never_said, never_there = some(5), some(4), some(4)
    k = int(rng.integers(0, 4))
    absent[k] = absent[:, k] = 0
    never_said[:, k] = 0
    never_there[k] = 0
    never_said[k, (k + 1) % 4] += 3
    never_there[(k + 1) % 4, k] += 3
    cases = {
        "all seven emotions": some(EMOTIONS),
        "a class that is neither there nor said": absent,
        "a class that is there and never said": never_said,
        "a class that is said and never there": never_there,
    }
    return {name: (matrix.tolist(),) for name, matrix in cases.items()}


def macro_f1__weighted(matrix):
    """Common classes count more, as their faces are many."""
    hits, both = np.diagonal(matrix), matrix.sum(0) + matrix.sum(1)
    f1 = 2 * hits / np.maximum(both, 1)
    return (f1 * matrix.sum(1)).sum() / matrix.sum()


def macro_f1__micro(matrix):
    """F1 of all pooled is accuracy."""
    return np.trace(matrix) / matrix.sum()


def macro_f1__not_a_number(matrix):
    """0 / 0 makes the whole mean NaN."""
    return (2 * np.diagonal(matrix) / (matrix.sum(0) + matrix.sum(1))).mean()


def macro_f1__the_absent_count_as_zero(matrix):
    """A class that is neither there nor said is no failure."""
    hits, both = np.diagonal(matrix), matrix.sum(0) + matrix.sum(1)
    return (2 * hits / np.maximum(both, 1)).mean()


def macro_f1__the_absent_count_as_one(matrix):
    """A class that is neither there nor said is no success either."""
    hits, both = np.diagonal(matrix), matrix.sum(0) + matrix.sum(1)
    return np.where(both > 0, 2 * hits / np.maximum(both, 1), 1).mean()


def macro_f1__leaves_out_the_never_said(matrix):
    """Its precision is 0 / 0, but its F1 is 0 and counts."""
    hits = np.diagonal(matrix)
    precision, recall = hits / matrix.sum(0), hits / matrix.sum(1)
    return np.nanmean(2 * precision * recall / (precision + recall))


def macro_f1__only_classes_that_are_there(matrix):
    """A class that is only said has an F1 of 0 and counts."""
    there = matrix.sum(1) > 0
    hits, both = np.diagonal(matrix), matrix.sum(0) + matrix.sum(1)
    return (2 * hits[there] / both[there]).mean()


def macro_f1__of_the_means(matrix):
    """The harmonic mean of mean precision and mean recall is another figure."""
    hits = np.diagonal(matrix)
    precision = (hits / np.maximum(matrix.sum(0), 1)).mean()
    recall = (hits / np.maximum(matrix.sum(1), 1)).mean()
    return 2 * precision * recall / (precision + recall)


def macro_f1__mean_recall(matrix):
    """Balanced accuracy does not see what is called so wrongly."""
    return (np.diagonal(matrix) / np.maximum(matrix.sum(1), 1)).mean()


# ---- paired_interval
def cases_paired_interval(rng):
    """Arguments of each hidden case, by its name."""

    def models(n, only_a, only_b, both):
        right = [(1, 0)] * only_a + [(0, 1)] * only_b + [(1, 1)] * both
        right += [(0, 0)] * (n - len(right))
        a, b = rng.permutation(right).T
        return a.tolist(), b.tolist()

    def draws(resamples, n):
        return rng.integers(0, n, (resamples, n)).tolist()

    return {
        "b is a little better": (*models(12, 1, 3, 5), draws(20, 12), 0.95),
        "b is worse": (*models(12, 4, 1, 4), draws(20, 12), 0.9),
        "another level": (*models(10, 2, 2, 4), draws(24, 10), 0.5),
        "few faces divide the two": (*models(14, 1, 2, 9), draws(18, 14), 0.8),
    }


def paired_interval__independent_draws(right_a, right_b, draws, level=0.95):
    """Each model meets redrawn faces of its own, so that hard faces no longer cancel out."""
    gains = right_b[draws].mean(1) - right_a[draws[::-1]].mean(1)
    low, high = np.quantile(gains, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def paired_interval__two_intervals(right_a, right_b, draws, level=0.95):
    """Subtracts the ends of two intervals, which takes the faces for two samples."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    low_a, high_a = np.quantile(right_a[draws].mean(1), tails)
    low_b, high_b = np.quantile(right_b[draws].mean(1), tails)
    return low_b - high_a, high_b - low_a


def paired_interval__ends_from_ends(right_a, right_b, draws, level=0.95):
    """The quantile of a difference is not the difference of quantiles."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.quantile(right_b[draws].mean(1), tails) - np.quantile(right_a[draws].mean(1), tails)
    return ends[0], ends[1]


def paired_interval__standard_deviations(right_a, right_b, draws, level=0.95):
    """Mean and 1.96 standard deviations in place of quantiles."""
    gains = right_b[draws].mean(1) - right_a[draws].mean(1)
    return gains.mean() - 1.96 * gains.std(), gains.mean() + 1.96 * gains.std()


def paired_interval__always_95(right_a, right_b, draws, level=0.95):
    """Whatever level is asked for."""
    gains = right_b[draws].mean(1) - right_a[draws].mean(1)
    return np.quantile(gains, 0.025), np.quantile(gains, 0.975)


def paired_interval__all_on_each_side(right_a, right_b, draws, level=0.95):
    """Leaves out 5% on each side, which makes a 90% interval."""
    gains = right_b[draws].mean(1) - right_a[draws].mean(1)
    return np.quantile(gains, 1 - level), np.quantile(gains, level)


def paired_interval__a_less_b(right_a, right_b, draws, level=0.95):
    """The other way round."""
    gains = right_a[draws].mean(1) - right_b[draws].mean(1)
    return np.quantile(gains, (1 - level) / 2), np.quantile(gains, (1 + level) / 2)


def paired_interval__points(right_a, right_b, draws, level=0.95):
    """Points of a hundred in place of fractions."""
    gains = 100 * (right_b[draws].mean(1) - right_a[draws].mean(1))
    return np.quantile(gains, (1 - level) / 2), np.quantile(gains, (1 + level) / 2)


def paired_interval__only_where_they_differ(right_a, right_b, draws, level=0.95):
    """A share of the faces that divide the two, not of all."""
    gains = right_b[draws].astype(float) - right_a[draws]
    gains = gains.sum(1) / np.maximum((gains != 0).sum(1), 1)
    return np.quantile(gains, (1 - level) / 2), np.quantile(gains, (1 + level) / 2)


def paired_interval__faces_as_resamples(right_a, right_b, draws, level=0.95):
    """Takes the mean over the resamples and the quantiles over the faces."""
    gains = right_b[draws].mean(0) - right_a[draws].mean(0)
    return np.quantile(gains, (1 - level) / 2), np.quantile(gains, (1 + level) / 2)


# ---- ece
def cases_ece(rng):
    """Arguments of each hidden case, by its name."""

    def levels(bins, places):
        """Probabilities within the bins with these numbers, never near an edge."""
        return ((np.array(places) + rng.uniform(0.15, 0.85, len(places))) / bins).round(5)

    many = levels(10, rng.choice([3, 4, 5, 6, 8, 9, 9], 16))
    certain = np.append(levels(5, rng.integers(1, 5, 7)), [1.0, 1.0, 1.0])
    edges = np.append(levels(4, [0, 1, 2, 3, 3]), rng.permutation([0.25, 0.5, 0.5, 0.75]))
    both = np.sort(levels(3, [0] + [1] * 5 + [2] * 5))
    right = {
        "many answers, an empty bin": (many, rng.random(16) < 0.5, 10),
        "the model is certain": (certain, np.append(rng.random(8) < 0.5, [False, True]), 5),
        "on the edges": (edges, np.ceil(4 * edges) % 2 == rng.integers(0, 2), 4),
        "too shy in one bin, too sure in another": (both, np.arange(11) < 6, 3),
        "fifteen bins, few answers": (
            levels(15, rng.choice([5, 8, 9, 12, 14], 9)),
            rng.random(9) < 0.6,
            15,
        ),
    }
    return {
        name: (sure.tolist(), hits.tolist(), bins) for name, (sure, hits, bins) in right.items()
    }


def ece__unweighted(sure, right, bins=15):
    """A bin with one answer counts as much as one with a thousand."""
    place = np.ceil(sure * bins)
    return np.mean(
        [abs(right[place == k].mean() - sure[place == k].mean()) for k in np.unique(place)]
    )


def ece__signed(sure, right, bins=15):
    """Too shy here makes up for too sure there."""
    place = np.ceil(sure * bins)
    gaps = [
        (place == k).sum() * (sure[place == k].mean() - right[place == k].mean())
        for k in np.unique(place)
    ]
    return abs(sum(gaps)) / len(sure)


def ece__certain_answers_lost(sure, right, bins=15):
    """A probability of 1 falls out of the last bin."""
    total = 0.0
    for k in range(bins):
        inside = (sure >= k / bins) & (sure < (k + 1) / bins)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - sure[inside].mean())
    return total / len(sure)


def ece__lower_edges(sure, right, bins=15):
    """A bin holds its upper edge, not its lower one."""
    place, total = np.minimum((sure * bins).astype(int), bins - 1), 0.0
    for k in np.unique(place):
        inside = place == k
        total += inside.sum() * abs(right[inside].mean() - sure[inside].mean())
    return total / len(sure)


def ece__empty_bins(sure, right, bins=15):
    """The mean of an empty bin is not a number."""
    place = np.ceil(sure * bins)
    gaps = [
        (place == k).mean() * abs(right[place == k].mean() - sure[place == k].mean())
        for k in range(1, bins + 1)
    ]
    return sum(gaps)


def ece__no_bins(sure, right, bins=15):
    """The distance of each single answer: no answer is 70% right."""
    return abs(right - sure).mean()


def ece__one_bin(sure, right, bins=15):
    """The distance of two means over all answers."""
    return abs(right.mean() - sure.mean())


def ece__middle_of_the_bin(sure, right, bins=15):
    """The middle of a bin is not the mean of what lies in it."""
    place, total = np.ceil(sure * bins), 0.0
    for k in np.unique(place):
        inside = place == k
        total += inside.sum() * abs(right[inside].mean() - (k - 0.5) / bins)
    return total / len(sure)


def ece__the_largest_gap(sure, right, bins=15):
    """The worst bin instead of the mean."""
    place = np.ceil(sure * bins)
    return max(abs(right[place == k].mean() - sure[place == k].mean()) for k in np.unique(place))


def ece__bins_of_equal_size(sure, right, bins=15):
    """As many answers in each bin, in place of equal steps."""
    parts = [part for part in np.array_split(np.argsort(sure), bins) if len(part)]
    return sum(len(p) * abs(right[p].mean() - sure[p].mean()) for p in parts) / len(sure)


# ---- fit_temperature
def cases_fit_temperature(rng):
    """Arguments of each hidden case, by its name."""
    grid = [0.3, 0.5, 0.8, 1.25, 2.0, 3.0, 5.0]
    n = {"PublicTest": 14, "Training": 8, "PrivateTest": 8}
    splits = rng.permutation(np.repeat(list(n), list(n.values())))
    share = {"Training": 1.0, "PrivateTest": 0.2}

    def best(logits, labels):
        """The best temperature, or None where it is a close thing or at the grid's end."""
        t = np.array(grid)[:, None, None]
        spread = np.log(np.exp(logits / t).sum(2))
        losses = (spread - logits[np.arange(len(labels)), labels] / t[:, 0]).mean(1)
        order = np.argsort(losses)
        clear = losses[order[1]] > losses[order[0]] + 0.004
        return grid[order[0]] if clear and 0 < order[0] < len(grid) - 1 else None

    def faces(scale, right, offset=0.0):
        """Logits and labels whose PublicTest wants one temperature, and all faces together another."""
        asked, best_one, best_all = splits == "PublicTest", None, None
        while best_one is None or best_one == best_all:
            logits = (scale * rng.normal(0, 1, (len(splits), 3))).round(3)
            hit = rng.random(len(splits)) < np.array([share.get(s, right) for s in splits])
            labels = (logits.argmax(1) + np.where(hit, 0, rng.integers(1, 3, len(splits)))) % 3
            best_one, best_all = best(logits[asked], labels[asked]), best(logits, labels)
        return (logits + offset).tolist(), labels.tolist(), splits.tolist(), grid

    return {
        "too sure": faces(4.0, 0.7),
        "too shy": faces(0.6, 0.75),
        "half right": faces(2.0, 0.6),
        "large logits": faces(2.0, 0.7, 1000.0),
    }


def fit_temperature__multiplies(logits, labels, splits, grid):
    """T divides; this finds its inverse."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    logits = logits - logits.max(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    return min(grid, key=lambda t: (np.log(np.exp(logits * t).sum(1)) - true * t).mean())


def fit_temperature__two_softmaxes(logits, labels, splits, grid):
    """T divides the logits, not the probabilities."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    true = p[np.arange(len(labels)), labels]
    return min(grid, key=lambda t: (np.log(np.exp(p / t).sum(1)) - true / t).mean())


def fit_temperature__divides_probabilities(logits, labels, splits, grid):
    """Probabilities over T no longer add up to 1."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    return min(grid, key=lambda t: -np.log(p[np.arange(len(labels)), labels] / t).mean())


def fit_temperature__on_the_test(logits, labels, splits, grid):
    """The sealed test is there to judge."""
    logits, labels = logits[splits == "PrivateTest"], labels[splits == "PrivateTest"]
    logits = logits - logits.max(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    return min(grid, key=lambda t: (np.log(np.exp(logits / t).sum(1)) - true / t).mean())


def fit_temperature__on_training(logits, labels, splits, grid):
    """These faces are known by heart."""
    logits, labels = logits[splits == "Training"], labels[splits == "Training"]
    logits = logits - logits.max(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    return min(grid, key=lambda t: (np.log(np.exp(logits / t).sum(1)) - true / t).mean())


def fit_temperature__on_all(logits, labels, splits, grid):
    """Training and the sealed test have their say."""
    logits = logits - logits.max(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    return min(grid, key=lambda t: (np.log(np.exp(logits / t).sum(1)) - true / t).mean())


def fit_temperature__overflow(logits, labels, splits, grid):
    """Large logits are infinite once they are exponentiated."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    losses = []
    for t in grid:
        p = np.exp(logits / t)
        p = p / p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(labels)), labels]).mean())
    return grid[int(np.argmin(losses))]


def fit_temperature__by_accuracy(logits, labels, splits, grid):
    """No temperature changes an answer."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    return max(grid, key=lambda t: ((logits / t).argmax(1) == labels).mean())


def fit_temperature__of_what_was_said(logits, labels, splits, grid):
    """Makes the model's own answers likeliest, right or wrong."""
    logits = logits[splits == "PublicTest"]
    logits = logits - logits.max(1, keepdims=True)
    return min(grid, key=lambda t: np.log(np.exp(logits / t).sum(1)).mean())


def fit_temperature__by_squared_error(logits, labels, splits, grid):
    """Squared distances ask something else of the probabilities."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    true = np.eye(logits.shape[1])[labels]
    losses = []
    for t in grid:
        p = np.exp((logits - logits.max(1, keepdims=True)) / t)
        losses.append(((p / p.sum(1, keepdims=True) - true) ** 2).sum(1).mean())
    return grid[int(np.argmin(losses))]


def fit_temperature__its_position(logits, labels, splits, grid):
    """Where it stands in the grid, not what it is."""
    logits, labels = logits[splits == "PublicTest"], labels[splits == "PublicTest"]
    logits = logits - logits.max(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    return int(np.argmin([(np.log(np.exp(logits / t).sum(1)) - true / t).mean() for t in grid]))
