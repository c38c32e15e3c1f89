from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.labels import LabelledSpan
from span_marker.validation.checks import validate
from span_marker.validation.consistency import MAJORITY, RARE_NUMBER, RARE_SHARE, Mentions, label_variants, rare_labels
from span_marker.validation.report import RowPlace


def rows(*annotated):
    """Texts with entities in brackets, as in ``[Louvre|ORG]``."""
    data = []
    for sentence in annotated:
        text, entities = "", []
        for part in sentence.split("["):
            inside, bracket, after = part.partition("]")
            if bracket:
                name, label = inside.split("|")
                entities.append({"label": label, "start": len(text), "end": len(text) + len(name)})
                text += name + after
            else:
                text += part
        data.append({"text": text, "entities": entities})
    return data


def as_words(data):
    """The same rows in words, as far as entities are words; each symbol is one."""
    in_words = []
    for row in data:
        starts, words = [], []
        for place, character in enumerate(row["text"]):
            if not character.isspace():
                before = row["text"][place - 1 : place]
                if words and before.isalnum() and character.isalnum():
                    words[-1] += character
                else:
                    words.append(character)
                    starts.append(place)
        entities = [
            {
                "label": entity["label"],
                "start": starts.index(entity["start"]),
                "end": sum(start < entity["end"] for start in starts),
            }
            for entity in row["entities"]
        ]
        in_words.append({"tokens": words, "entities": entities})
    return in_words


def doubts(data):
    """Kind, row and entity of each doubt, in both forms of the data."""
    found = []
    for form in (data, as_words(data)):
        report = validate(Dataset.from_list(form))
        problems = [problem for problem in report.problems if problem.severity == "doubt"]
        found.append([(problem.kind, problem.row, problem.entity) for problem in problems])
        assert report.is_clean
    assert found[0] == found[1]
    return found[0]


CASES = {
    "one label in nine of ten": (
        [*[f"{row} in [Paris|LOC]" for row in range(9)], "with [Paris|PER]"],
        [("conflicting-label", 9, 0)],
    ),
    "a label that is as frequent": (["to [Paris|LOC]", "by [Paris|PER]", "in [Paris|LOC]", "oh [Paris|PER]"], []),
    "two labels on purpose": (["to [Paris|LOC]"], []),
    "an article in one place": (["at [the Louvre|ORG]", "in the [Louvre|ORG]", "by [The Louvre|ORG]"], [
        ("boundary-variant", 1, 0)
    ]),
    "no article in one place": (["at the [Louvre|ORG]", "in [the Louvre|ORG]", "by The [Louvre|ORG]"], [
        ("boundary-variant", 1, 0)
    ]),
    "a word after it": (["at [Louvre Museum|ORG]", "in [Louvre|ORG] Museum"], [("boundary-variant", 1, 0)]),
    "another label": (["at [the Louvre|ORG]", "in the [Louvre|LOC]"], []),
    "no article there": (["at [the Louvre|ORG]", "in [Louvre|ORG]", "in my [Louvre|ORG]"], []),
    "another entity beside it": (["to [New York|LOC]", "a [New|LOC] [York|LOC]"], []),
    "a symbol left out": ([*[f"on [#{row}|ID]" for row in range(4)], "no #[77|ID]"], [("symbol-edge", 4, 0)]),
    "a symbol at the end": ([*[f"at [{row}%|RATE]" for row in range(4)], "at [77|RATE]% x"], [("symbol-edge", 4, 0)]),
    "a symbol too much": ([*[f"at $[{row}|SUM]" for row in range(4)], "at [$77|SUM]"], [("symbol-edge", 4, 0)]),
    "symbols as it happens": (["at $[1|SUM]", "at [$2|SUM]", "at $[3|SUM]"], [("symbol-edge", 1, 0)]),
    "symbols of two labels": (["at $[1|SUM]", "at [$2|PRICE]"], []),
    "symbols apart": (["at [$2|SUM]", "a dollar ($) or [3|SUM]"], []),
    "a full stop": ([*[f"at [{row}|SUM]." for row in range(9)], "at [A.|SUM]"], []),
    "an abbreviation": (["[Ann|PER] [Bob|PER]", "[Eva|person]"], [("label-variant", 1, None)]),
    "a rare label": ([" ".join(f"[w{place}|PER]" for place in range(40)), "[x|EVENT]"], [("rare-label", 1, None)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_doubts_are_found_where_they_are(name):
    data, expected = CASES[name]
    assert doubts(rows(*data)) == expected


def test_messages_have_numbers():
    data = rows(*[f"{row} in [Paris|LOC]" for row in range(9)], "with [Paris|PER]")
    [problem] = validate(Dataset.from_list(data)).by_kind("conflicting-label")
    assert problem.message == (
        "row 9 of the annotated data, entity 0: 'PER' from characters 5 to 10 ('Paris') has the label 'LOC' in 9 of "
        "its 10 mentions"
    )
    assert (problem.start, problem.end, problem.label) == (5, 10, "PER")


def test_splits_are_compared_with_each_other():
    train, dev = rows(*[f"{row} in [Paris|LOC]" for row in range(9)]), rows("with [Paris|PER]")
    report = validate({"train": Dataset.from_list(train), "dev": Dataset.from_list(dev)})
    [problem] = report.by_kind("conflicting-label")
    assert (problem.split, problem.row) == ("dev", 0)


def test_labels_that_training_data_lack_are_named_where_they_occur_first():
    splits = {"train": rows("[Ann|person]", "Bob"), "dev": rows("Eva", "[Eva|persn] in [Paris|place]", "[Bob|persn]")}
    report = validate({name: Dataset.from_list(some) for name, some in splits.items()})
    first, second = report.by_kind("unseen-label")
    assert [(one.split, one.row, one.label) for one in (first, second)] == [("dev", 1, "persn"), ("dev", 1, "place")]
    assert first.message == "row 1 of the dev data: label 'persn' (2 entities) is not in the train data"


@given(st.lists(st.tuples(st.sampled_from(["Paris", "Rome"]), st.sampled_from("XYZ")), max_size=40))
def test_conflicting_labels_are_those_of_counting(pairs):
    mentions = Mentions()
    for row, (name, label) in enumerate(pairs):
        mentions.add(RowPlace("train", row, "words"), [name], {LabelledSpan(label, 0, 1): 0})
    found = {problem.row for problem in mentions.problems() if problem.kind == "conflicting-label"}
    expected = set()
    for row, (name, label) in enumerate(pairs):
        others = Counter(other for text, other in pairs if text == name)
        if any(others[other] / others.total() >= MAJORITY for other in others if other != label):
            expected.add(row)
    assert found == expected


@given(st.dictionaries(st.sampled_from("ABCDEF"), st.integers(1, 300), min_size=1))
def test_rare_labels_are_few_in_number_and_in_share(counts):
    expected = {label for label, number in counts.items() if number < RARE_NUMBER}
    expected = {label for label in expected if counts[label] <= RARE_SHARE * sum(counts.values())}
    assert set(rare_labels(counts)) == expected


@pytest.mark.parametrize(
    ("first", "second", "are_variants"),
    [
        ("PER", "person", True),
        ("PER", "Per", True),
        ("LOC", "LOCATION", True),
        ("ORG", "organization", True),
        ("MISC", "Miscellaneous", True),
        ("work_of_art", "WorkOfArt", True),
        ("PER", "LOC", False),
        ("person", "person-artist", False),
        ("LOC", "LOC_city", False),
        ("P", "person", False),
        ("protein", "proteins-of-x", False),
        ("I", "II", False),
    ],
)
def test_variants_of_labels(first, second, are_variants):
    assert label_variants({first: 5, second: 2}) == ({second: first} if are_variants else {})
    assert label_variants({first: 2, second: 5}) == ({first: second} if are_variants else {})
