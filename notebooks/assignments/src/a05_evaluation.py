# %% [markdown]
# # Assignment 5: what is a figure worth?
#
# "70.4% on FER2013" hides which emotions were named right, how far luck may go, and whether the model knows when it
# errs. You write five functions that ask, and then, in words, what such figures do not allow.
#
# **After lessons** 07 and 08. **Points:** 40, of them 15 for the written part. **Time:** about four hours. Only NumPy
# is needed.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% [markdown] nbgrader={"grade": false, "grade_id": "confusion_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. What was it taken for? (5 points)
#
# The model that ships with the course calls 93 of the 496 frightened faces of `PublicTest` sad. To see this, count
# pairs: rows are what a face was, columns what the model said.
#
# Write `confusion(labels, predicted, classes)`. `labels` and `predicted` are arrays of n whole numbers from 0 to
# `classes - 1`. Return counts, an array (`classes`, `classes`), with a row and a column also for a class that nobody
# is or that is never said: a matrix of seven emotions must not shrink because a small test has no disgust.

# %% nbgrader={"grade": false, "grade_id": "confusion", "locked": false, "schema_version": 3, "solution": true, "task": false}
def confusion(labels, predicted, classes):
    """Counts (classes, classes): rows are true classes, columns predicted ones; `labels`, `predicted` (n,)."""
    ### BEGIN SOLUTION
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "confusion_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
labels = np.array([0, 0, 0, 1, 2, 2])
predicted = np.array([0, 0, 1, 1, 0, 2])
matrix = np.array(confusion(labels, predicted, 4))
assert matrix.shape == (4, 4), (
    "a row and a column for class 3 too, although nobody is or is called 3"
)
assert matrix.sum() == 6, "six faces, six counts: a pair that comes twice counts twice"
assert matrix[2, 0] == 1 and matrix[0, 2] == 0, "rows are what a face was: one 2 was called 0"
assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


# %% nbgrader={"grade": true, "grade_id": "confusion_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other labels here, turned into arrays by `tried`.
def tried(labels, predicted, classes):
    return confusion(np.array(labels), np.array(predicted), classes)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "macro_f1_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 2. Every emotion counts alike (5 points)
#
# Accuracy is ruled by happy faces: 895 of the 3,589 in `PublicTest`, against 56 disgusted ones. Macro-F1 is the plain
# mean of the classes' F1.
#
# Write `macro_f1(matrix)` for a confusion matrix as above. The F1 of a class is 2 times its hits over (faces that are
# of the class + faces that are called so). That is the harmonic mean of precision and recall, and, unlike these, it
# has a value as soon as the class is there *or* said: 0 without a hit.
#
# A class that is neither there nor said is left out of the mean. (At least one class is left.) Return a fraction.


# %% nbgrader={"grade": false, "grade_id": "macro_f1", "locked": false, "schema_version": 3, "solution": true, "task": false}
def macro_f1(matrix):
    """Mean F1 of the classes of a matrix (classes, classes), rows true; those neither there nor said are left out."""
    ### BEGIN SOLUTION
    hits, both = np.diagonal(matrix), matrix.sum(0) + matrix.sum(1)
    return float((2 * hits[both > 0] / both[both > 0]).mean())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "macro_f1_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# F1 of the first: 2 * 6 / (8 + 7) = 0.8, of the second: 2 * 1 / (2 + 3) = 0.4
found = macro_f1(np.array([[6, 2], [1, 1]]))
assert not same(found, 0.7), "7 of 10 right is accuracy (F1 of all pooled): a mean over faces"
assert not same(found, 0.72), "weighted by faces, the common class rules again: the plain mean"
assert same(found, 0.6)
found = macro_f1(np.array([[6, 2, 0], [1, 1, 0], [0, 0, 0]]))
assert not math.isnan(found), "0 / 0 for a class that is neither there nor said: leave it out"
assert same(found, 0.6), "the third class is neither there nor said: it does not count as 0"
# The third is there twice and never said, its F1 is 0; F1 of the first: 2 * 6 / (8 + 9)
found = macro_f1(np.array([[6, 2, 0], [1, 1, 0], [2, 0, 0]]))
assert same(found, (12 / 17 + 0.4 + 0) / 3), "there and never said: F1 is 0, and it counts"


# %% nbgrader={"grade": true, "grade_id": "macro_f1_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other matrices here.
def tried(matrix):
    return float(macro_f1(np.array(matrix)))


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "paired_interval_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 3. Is the second model better? (5 points)
#
# The mean of three networks names 69.6% of the 3,309 clean photographs right, the one that ships 68.5%. Their intervals
# overlap over most of their length, and yet the gain is no luck. Redraw *faces*, each with both answers, and 95% of the
# gains lie between +0.2 and +1.9 points.
#
# Write `paired_interval(right_a, right_b, draws, level)`. `right_a` and `right_b` say of the same n faces whether each
# model named them right (arrays of booleans). Each row of `draws`, (resamples, n), holds the positions of the faces of
# one redrawn test, the same for both models. Return `(low, high)`: the percentile interval of *b's accuracy less a's*,
# as fractions.

# %% [markdown] nbgrader={"grade": false, "grade_id": "paired_interval_rules", "locked": true, "schema_version": 3, "solution": false, "task": false}
# Leave out the same share on both sides: with `level` 0.95, 2.5% below and 2.5% above. Take quantiles as
# `np.quantile` does when told nothing else. The random numbers were drawn for you, so that there is one right answer.


# %% nbgrader={"grade": false, "grade_id": "paired_interval", "locked": false, "schema_version": 3, "solution": true, "task": false}
def paired_interval(right_a, right_b, draws, level=0.95):
    """(low, high) of accuracy b - a over redrawn tests; `right_a`, `right_b` (n,) bool, `draws` (resamples, n)."""
    ### BEGIN SOLUTION
    gains = right_b[draws].mean(1) - right_a[draws].mean(1)
    low, high = np.quantile(gains, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "paired_interval_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
right_a = np.array([True, True, False, False])
right_b = np.array([True, True, True, False])
draws = np.array([[0, 1, 2, 3], [2, 2, 2, 3], [0, 1, 3, 3], [0, 2, 2, 1], [1, 1, 1, 1]])
# Only face 2 divides the models. It comes 1, 3, 0, 2 and 0 times: gains 0.25, 0.75, 0, 0.5, 0.
# In order 0, 0, 0.25, 0.5, 0.75; a level of 0.5 leaves a quarter out on each side: 0 to 0.5.
low, high = paired_interval(right_a, right_b, draws, 0.5)
assert high > 0, "b less a: b is the better one here"
assert high < 5, "fractions, not points"
assert low >= 0, "both models answer the same redrawn faces, so that b can never lose here"
assert same(high, 0.5), "a level of 0.5 leaves out a quarter on each side"
assert same(low, 0)
# A level of 0.75 leaves out an eighth: halfway between the first two, and between the last two.
low, high = paired_interval(right_a, right_b, draws, 0.75)
assert same(low, 0) and same(high, 0.625), "quantiles, not standard deviations"


# %% nbgrader={"grade": true, "grade_id": "paired_interval_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other answers and other redrawn tests here.
def tried(right_a, right_b, draws, level):
    right_a, right_b = np.array(right_a, bool), np.array(right_b, bool)
    low, high = paired_interval(right_a, right_b, np.array(draws), level)
    return float(low), float(high)


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "ece_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 4. Does 70% mean 70%? (5 points)
#
# With 18 views, the model that ships is 61% sure on average, and right on 69%. The expected calibration error tells how
# far they lie apart.
#
# Write `ece(sure, right, bins)`. `sure` holds the probability, above 0 and up to 1, of each of n answers, `right`
# whether it was right (booleans). Cut 0 to 1 into `bins` equal bins. A bin holds its upper edge and not its lower one:
# with four bins 0.25 is in the first, 1.0 in the last. Take each bin's distance between the mean of `sure` and the
# share that is right. Return the mean of these, each bin weighing as much as it has answers.


# %% nbgrader={"grade": false, "grade_id": "ece", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ece(sure, right, bins=15):
    """Mean over the answers of |share right - mean sureness| of their bin; `sure` (n,) floats, `right` (n,) bool."""
    ### BEGIN SOLUTION
    place, total = np.ceil(sure * bins), 0.0
    for k in np.unique(place):
        inside = place == k
        total += inside.sum() * abs(right[inside].mean() - sure[inside].mean())
    return float(total / len(sure))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ece_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
sure = np.array([0.3, 0.4, 0.6, 0.7, 0.8])
right = np.array([True, True, True, False, False])
# Four bins. 0.25 to 0.5: 0.35 sure, all right, distance 0.65 for two. 0.5 to 0.75: 0.65 sure, half
# right, 0.15 for two. 0.75 to 1: 0.8 sure, none right, 0.8 for one. (1.3 + 0.3 + 0.8) / 5 = 0.48
found = ece(sure, right, 4)
assert not math.isnan(found), "the first bin is empty: leave it out"
assert not same(found, 1.6 / 3), "bins count with their number of answers, not all alike"
assert not same(abs(found), 0.04), "too shy here does not make up for too sure there: distances"
assert same(found, 0.48)
found = ece(np.array([1.0, 1.0]), np.array([True, False]), 4)
assert same(found, 0.5), "a probability of 1 is in the last bin: it must not be lost"
found = ece(np.array([0.5, 0.75]), np.array([True, False]), 2)
assert same(found, 0.625), "0.5 is in the lower of two bins, 0.75 in the upper: two bins"


# %% nbgrader={"grade": true, "grade_id": "ece_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other answers here.
def tried(sure, right, bins):
    return float(ece(np.array(sure), np.array(right, bool), bins))


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown] nbgrader={"grade": false, "grade_id": "fit_temperature_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 5. One number mends it (5 points)
#
# Divide all logits by one temperature T before the softmax: above 1 the model becomes less sure, below 1 surer. The
# model that ships wants 0.80, and its ECE falls from 7.4% to 1.8%.
#
# Write `fit_temperature(logits, labels, splits, grid)`: of the temperatures in `grid`, the one that makes the true
# labels likeliest. That is the lowest mean of minus the logarithm of the true label's probability. `logits` are
# (n, classes), `labels` (n,), and `splits` (n,) says where each face stands: `"Training"`, `"PublicTest"` or
# `"PrivateTest"`. Only `"PublicTest"` may be asked: the training faces are known by heart, and the sealed test is
# there to judge.

# %% [markdown] nbgrader={"grade": false, "grade_id": "fit_temperature_hint", "locked": true, "schema_version": 3, "solution": false, "task": false}
# Logits can be large: `np.exp(1000.0)` is infinite. Taking a row's largest logit off all its logits changes no
# probability. (Two temperatures that are equally good do not come up.)


# %% nbgrader={"grade": false, "grade_id": "fit_temperature", "locked": false, "schema_version": 3, "solution": true, "task": false}
def fit_temperature(logits, labels, splits, grid):
    """The T of `grid` with the least loss of softmax(logits / T) on PublicTest; `logits` (n, classes)."""
    ### BEGIN SOLUTION
    asked = splits == "PublicTest"
    logits, labels = logits[asked], labels[asked]
    logits = logits - logits.max(1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    losses = [(np.log(np.exp(logits / t).sum(1)) - true / t).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "fit_temperature_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Two classes, the first always 3 ahead. Of PublicTest's four faces three are of the first: 75% are right. The model
# gives them 1 / (1 + exp(-3 / T)): 95% at T = 1, 73% at T = 3, 62% at T = 6. So 3 fits best.
logits = np.array([[3.0, 0.0]] * 8)
labels = np.array([0, 0, 0, 1, 0, 0, 1, 1])
splits = np.array(["PublicTest"] * 4 + ["Training"] * 2 + ["PrivateTest"] * 2)
grid = [0.5, 1.0, 3.0, 6.0]
found = fit_temperature(logits, labels, splits, grid)
assert found != 0.5, (
    "divide by T, above 1 to be less sure; and the training faces, all right here, are not asked"
)
assert found != 6.0, "only PublicTest is asked: the faces of PrivateTest are all wrong here"
assert found == 3.0, "one softmax, of logits / T, and the logarithm of the true label's probability"
assert fit_temperature(logits + 1000, labels, splits, grid) == 3.0, (
    "adding 1,000 to all logits changes nothing: take off the row's largest before np.exp"
)


# %% nbgrader={"grade": true, "grade_id": "fit_temperature_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other logits here.
def tried(logits, labels, splits, grid):
    return float(fit_temperature(np.array(logits), np.array(labels), np.array(splits), grid))


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS

# %% [markdown]
# ## The written part
#
# Three questions, 5 points each, read by a person. Write 80 to 150 words for each, in the cell below it, in sentences
# of your own. What counts are reasons and figures, not which side you take: an answer that names what speaks against
# it is worth more than one that does not. Sources that you use have to be named. Nothing here is legal advice.

# %% [markdown] nbgrader={"grade": false, "grade_id": "claim_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 6. A sentence of advertising (5 points)
#
# A vendor takes the model that ships with this course and writes: *"Our AI reads your customers' emotions with 70%
# accuracy."* The model's card says of FER2013's `PublicTest`, 18 views: 70.4% of 3,589 photographs right, 95% interval
# 68.9 to 71.9; 68.5% of the 3,309 without a twin in `Training`; of these, recall is 88.5% for happy, 47.2% for fear,
# 48.8% for disgust (41 faces). The photographs come from a web search, the labels from raters; every choice was made
# on this test.
#
# Name four things that the sentence claims or hides and that these facts do not bear out, each with its reason (4
# points). Make it true (1 point).

# %% [markdown] nbgrader={"grade": true, "grade_id": "claim", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# 1. "Emotions": the labels are words that raters gave to looks. A scowl may be concentration.
# 2. "Your customers": web photographs were measured, not their faces or cameras.
# 3. "70%": every choice was made on the same test, so it is too good; without the twins it is 68.5%.
# 4. One figure hides that half of the frightened faces are missed, and that disgust rests on 56.
#
# "On photographs of FER2013 from the web, on which it was also tuned, our program chooses the raters' word among seven
# for 68.5% of those that it had not trained on, for about half of the frightened ones. It was not tested on your
# customers, and does not tell what they feel."

# %% [markdown] nbgrader={"grade": false, "grade_id": "gap_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 7. Zero is inside (5 points)
#
# Suppose that a test with 120 faces of 30 persons of one group finds the model 8 points worse on
# them than on the others. Redrawing persons, the 95% interval reaches from -1 to 17 points. Somebody says: *"Zero is
# inside. So there is no gap, and we can ship."*
#
# - Does that follow (1 point), and why were persons redrawn and not faces (1 point)?
# - What would you measure before anybody ships, and what should be settled beforehand (2 points)?
# - Is it enough to let the model say "I don't know" on the fifth of the faces that it is least sure of (1 point)?

# %% [markdown] nbgrader={"grade": true, "grade_id": "gap", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# No. The interval holds 0, but also 17, and the best guess is 8. Not found is not absent. The faces of one person are
# no independent witnesses: redrawing faces would make the interval too narrow.
#
# Beforehand I would settle which gap is too large, say 3 points, and who decides. Then I would collect several hundred
# new persons of the group, as many as that gap needs, test once, and look for the cause, for instance with the same
# persons in better light.
#
# No: the model is least sure of the faces that it reads worst, so that the group would get no answer more often. The
# harm moves, and must be measured again.

# %% [markdown] nbgrader={"grade": false, "grade_id": "request_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 8. The mood of a floor (5 points)
#
# A company in the European Union wants cameras at its doors that name the expression of everyone who comes in. No
# picture is kept, nobody is identified, and the management sees one figure: the mood of each floor and day. *"Single
# answers may be wrong, but over 200 people the errors average out."* Answer it, 1 point each:
#
# - what the law says, and whether averaging changes it,
# - why a model with 95% in place of 70% would not change your answer,
# - which errors an average takes away, and which it keeps,
# - who bears the harm, and who could refuse,
# - what the company could do instead.

# %% [markdown] nbgrader={"grade": true, "grade_id": "request", "locked": false, "points": 5, "schema_version": 3, "solution": true, "task": false}
# Inferring emotions at work is prohibited in the EU (Regulation 2024/1689, article 5(1)(f)) except for medical or
# safety reasons. The average is made of an inference about each person.
#
# 95% would mean agreeing with raters on words for looks. Who smiles at the door need not be glad.
#
# Averaging removes chance. A dark entrance, or a group whose resting faces are called sad, errs the same way every day
# and stays.
#
# Employees can hardly refuse, and a "sad" floor may be pressed to smile; the management bears nothing of it. Against
# this stands a fair wish, to notice distress early.
#
# So ask: a voluntary, anonymous survey, and somebody who acts on it.

# %% [markdown]
# ## And on real photographs
#
# Nothing here is graded. If `ferlib` and the course's repository are there, your functions look at what three networks
# answered on the 3,589 photographs of FER2013's `PublicTest`. One half of them fits the temperature, the other judges.

# %%
import importlib.util
import os

if importlib.util.find_spec("ferlib") and not os.environ.get("NBGRADER_EXECUTION"):
    from ferlib.lesson import Lesson

    three = [Lesson("08").photographs(f"long-{seed}") for seed in range(3)]
    if three[0] is not None:
        ships, mean = three[2], np.mean([one.probabilities for one in three], axis=0)
        labels, n = ships.labels, len(ships.labels)
        matrix = confusion(labels, ships.predicted, 7)
        print(f"accuracy {ships.correct.mean():.1%}, macro-F1 {macro_f1(matrix):.1%}")

        draws = np.random.default_rng(0).integers(0, n, (2000, n), dtype=np.int16)
        low, high = paired_interval(ships.correct, mean.argmax(1) == labels, draws, 0.95)
        print(f"the mean of three is better by {100 * low:.1f} to {100 * high:.1f} points")

        fits = np.where(np.arange(n) % 2 == 0, "PublicTest", "to judge by")
        t = fit_temperature(ships.logits, labels, fits, np.arange(0.5, 2.0, 0.01))
        judged = fits != "PublicTest"
        for name, logits in (("as it is", ships.logits), (f"with T = {t:.2f}", ships.logits / t)):
            odds = np.exp(logits - logits.max(1, keepdims=True))
            sure = (odds / odds.sum(1, keepdims=True)).max(1)
            print(f"ECE {name}: {ece(sure[judged], ships.correct[judged], 15):.3f}")
