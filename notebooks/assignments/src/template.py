# %% [markdown]
# # Assignment 0: your title
#
# Two sentences: what goes wrong without these functions, and what a student can do afterwards.
#
# **After lesson** 07. **Points:** 5. **Time:** about half an hour. Only NumPy is needed.
#
# Write your code where it says `YOUR CODE HERE` and delete the `raise` below it. Cells with tests are locked: they show
# you what is expected, and when your work is graded the same functions meet other data. Before you hand in, choose
# *Restart Kernel and Run All Cells*.

# %% [markdown] nbgrader={"grade": false, "grade_id": "top_k_accuracy_task", "locked": true, "schema_version": 3, "solution": false, "task": false}
# ## 1. Among the first k (5 points)
#
# A model that gives sad the second place where the label is sad is less wrong than one that gives it the last.
#
# Write `top_k_accuracy(probabilities, labels, k)`. `probabilities` is an array (n, classes), `labels` an integer array
# (n,), and k a whole number from 1 to the number of classes. Return the share of the n faces whose label is among the k
# classes with the largest probabilities, a number from 0 to 1.
#
# No face has two equal probabilities. n is at least 1. The inputs must not change.


# %% nbgrader={"grade": false, "grade_id": "top_k_accuracy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def top_k_accuracy(probabilities, labels, k):
    """Share of the faces whose label is among the k likeliest classes.

    Probabilities are (n, classes), labels whole numbers (n,).
    """
    ### BEGIN SOLUTION
    likeliest = np.argsort(-probabilities, axis=1)[:, :k]
    return (likeliest == labels[:, None]).any(axis=1).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "top_k_accuracy_seen", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Each message says what a typical mistake is. No answer is given away: a student could work each case out by hand.
probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.25, 0.4, 0.35], [0.3, 0.1, 0.6]])
labels = np.array([0, 1, 2, 1])
kept = probabilities.copy(), labels.copy()
assert abs(top_k_accuracy(probabilities, labels, 1) - 0.25) < 1e-9, (
    "k = 1: the first face alone is right"
)
assert abs(top_k_accuracy(probabilities, labels, 3) - 1) < 1e-9, "among all classes is every label"
assert abs(top_k_accuracy(probabilities, labels, 2) - 0.75) < 1e-9, (
    "k = 2: the first three faces; a share of the 4 faces, not of all 8 places, and not a count"
)
assert (probabilities == kept[0]).all() and (labels == kept[1]).all(), (
    "the inputs must stay as they are"
)


# %% nbgrader={"grade": true, "grade_id": "top_k_accuracy_hidden", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
# When your work is graded, your function gets other probabilities here. Where `whole` is true, what has become of the
# inputs counts as well.
def tried(probabilities, labels, k, whole):
    probabilities, labels = np.array(probabilities), np.array(labels)
    found = float(top_k_accuracy(probabilities, labels, k))
    return [found, probabilities.tolist(), labels.tolist()] if whole else found


### BEGIN HIDDEN TESTS
credit(tried, CASES, points=3)
### END HIDDEN TESTS
