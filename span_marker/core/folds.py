"""Folds for cross-validation, of about equal size and with the entities of each label spread over them."""

from __future__ import annotations

import numpy as np

from span_marker.core.spans import IntArray


def assign_folds(sizes: IntArray, counts: IntArray, num_folds: int, seed: int) -> IntArray:
    """Assign groups of sentences, such as documents, to folds.

    This is a greedy rule based on the iterative stratification of Sechidis et al. (2011), with bounded sizes. Groups
    with the rarest labels come first; among those with the same rarest label, the ones with more entities of it, then
    the larger ones. Each group goes to the fold that has the fewest entities of its rarest label; ties go to the fold
    with the fewest of its next rarest label, and so on, then to the smallest fold, then to a random one. A fold is
    skipped if the group would make it both larger than the current largest fold and larger than the smallest fold would
    become.

    Therefore, the sizes of folds differ by at most the size of the largest group, and no fold is empty. If groups are
    sentences with at most one entity each, the numbers of entities of any label differ by at most 1.

    Args:
        sizes: Number of sentences of each group, at least 1, ``(num_groups,)``.
        counts: Number of entities of each label in each group, ``(num_groups, num_labels)``.
        num_folds: Number of folds, at most the number of groups.
        seed: Seed of ``numpy.random.default_rng``, which breaks ties.

    Returns:
        The fold of each group, ``(num_groups,)``.

    Example:
        >>> folds = assign_folds(np.array([1, 1, 1, 1]), np.array([[1], [0], [0], [1]]), num_folds=2, seed=0)
        >>> bool(folds[0] != folds[3] and folds[1] != folds[2])
        True
    """
    generator = np.random.default_rng(seed)
    rarest_first = np.argsort(counts.sum(axis=0), kind="stable")
    counts = np.concatenate([counts[:, rarest_first], np.ones((len(sizes), 1), dtype=np.int64)], axis=1)
    rarest = (counts > 0).argmax(axis=1)  # the last column stands for no label
    num_rarest = counts[np.arange(len(sizes)), rarest]
    order = np.lexsort((generator.permutation(len(sizes)), -sizes, -num_rarest, rarest))
    folds = np.zeros(len(sizes), dtype=np.int64)
    fold_sizes = np.zeros(num_folds, dtype=np.int64)
    fold_counts = np.zeros((num_folds, counts.shape[1]), dtype=np.int64)
    for group in order:
        size = sizes[group]
        largest = max(fold_sizes.max(), fold_sizes.min() + size)
        allowed = np.flatnonzero(fold_sizes + size <= largest)
        labels = np.flatnonzero(counts[group, :-1])[::-1]  # lexsort reads its last key first
        keys = (generator.permutation(len(allowed)), fold_sizes[allowed], *fold_counts[allowed][:, labels].T)
        fold = allowed[np.lexsort(keys)[0]]
        folds[group] = fold
        fold_sizes[fold] += size
        fold_counts[fold] += counts[group]
    return folds
