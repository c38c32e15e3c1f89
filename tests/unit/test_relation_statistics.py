import itertools

from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.labels import LabelledSpan
from span_marker.core.relation_statistics import RelationStatistics

SPANS = [LabelledSpan(label, place, place + 1) for place, label in enumerate(["PER", "PER", "LOC"])]
PAIRS = list(itertools.permutations(range(3), 2))
RELATIONS = st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(PAIRS)), max_size=12), max_size=8)
"""Label, head and tail of the relations of some sentences."""


def statistics(sentences):
    found = RelationStatistics()
    for relations in sentences:
        found.add((label, SPANS[head], SPANS[tail]) for label, (head, tail) in relations)
    return found


@given(RELATIONS)
def test_a_relation_without_direction_is_that_of_both_directions_everywhere(sentences):
    symmetric = statistics(sentences).symmetric()
    for label in "abc":
        pairs = [{pair for name, pair in relations if name == label} for relations in sentences]
        either = sum(len({frozenset(pair) for pair in found}) for found in pairs)
        both = sum(pair[::-1] in found for found in pairs for pair in found) // 2
        assert (label in symmetric) == (both == either >= 3)


@given(RELATIONS, st.sets(st.sampled_from("abc")))
def test_a_pair_of_head_and_tail_has_one_relation(sentences, symmetric):
    further = 0
    for relations in sentences:
        labels = {}
        for label, pair in relations:
            labels.setdefault(tuple(sorted(pair)) if label in symmetric else pair, set()).add(label)
        further += sum(len(found) - 1 for found in labels.values())
    assert statistics(sentences).num_further(symmetric) == further


def test_one_direction_says_nothing():
    assert statistics([[("a", (0, 1)), ("a", (1, 2))]] * 50).symmetric() == []
    assert statistics([[("a", (0, 1))]] * 50).doubtful() == {}


def test_a_relation_that_is_nearly_symmetric_is_doubtful():
    both = [("a", (0, 1)), ("a", (1, 0))]
    found = statistics([both] * 9 + [[("a", (0, 1))]])
    assert (found.symmetric(), found.doubtful()) == ([], {"a": (9, 10)})
    assert statistics([both] * 2).doubtful() == {"a": (2, 2)}
    assert statistics([both] * 3).symmetric() == ["a"]


def test_types_are_known_if_new_ones_are_improbable():
    often = [[("a", (0, 2)), ("b", (0, 1))]] * 19
    assert statistics(often).known_types() == [["PER", "a", "LOC"], ["PER", "b", "PER"]]
    assert statistics(often[1:]).known_types() == []
    once = [[("a", (2, 0))]]
    assert statistics(often + once).known_types() == [["PER", "b", "PER"]]
    assert statistics(often * 3 + once).known_types() == [["LOC", "a", "PER"], ["PER", "a", "LOC"], ["PER", "b", "PER"]]


def test_repeated_relations_count_once():
    relations = [("a", (0, 2))]
    assert statistics([relations * 2]) == statistics([relations])
