import logging

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from tiny import LABELS, build_model

import span_marker.preprocessing.features
from span_marker.preprocessing.features import LABEL_FEATURES, TEXT_FEATURES, prepare

TOKENS = [["Amelia", "flew", "to", "Paris", "."], ["Nobody", "slept"], []]
TAGS = [["B-PER", "O", "O", "B-LOC", "O"], ["O", "O"], []]
IDS = [[LABELS.index(tag) for tag in tags] for tags in TAGS]


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=2)


def prepared(model, dataset, **options):
    return prepare(dataset, model.preprocessor, "training", **options)[0]


def test_integers_and_strings_give_the_same(model):
    one = prepared(model, Dataset.from_dict({"tokens": TOKENS, "ner_tags": IDS}))
    other = prepared(model, Dataset.from_dict({"tokens": TOKENS, "ner_tags": TAGS}))
    assert one.to_list() == other.to_list()
    assert one.column_names == [*TEXT_FEATURES, *LABEL_FEATURES]
    per, loc = model.config.label2id["PER"], model.config.label2id["LOC"]
    assert one["entities"][:] == [[[per, 0, 1], [loc, 3, 4]], [], []]
    assert one["num_words"][:] == [5, 2, 0]


def test_no_entity_among_the_first_rows(model, monkeypatch):
    monkeypatch.setattr(span_marker.preprocessing.features, "ROWS_AT_A_TIME", 1)
    rows = prepared(model, Dataset.from_dict({"tokens": TOKENS[::-1], "ner_tags": IDS[::-1]}))
    straight = prepared(model, Dataset.from_dict({"tokens": TOKENS, "ner_tags": IDS}))
    assert rows["entities"][:] == straight["entities"][::-1]


@pytest.mark.parametrize("form", ["torch", "numpy", "arrow"])
def test_the_form_of_a_data_set_changes_nothing(model, form):
    columns = {"tokens": TOKENS[:2], "ner_tags": IDS[:2], "document_id": [0, 0], "sentence_id": [1, 0]}
    dataset = Dataset.from_dict(columns)
    assert prepared(model, dataset.with_format(form)).to_list() == prepared(model, dataset).to_list()
    assert model.predict(dataset.with_format(form)) == model.predict(dataset)
    assert model.predict(dataset["tokens"]) == model.predict(TOKENS[:2])


def test_a_stream_is_refused(model):
    stream = Dataset.from_dict({"tokens": TOKENS, "ner_tags": IDS}).to_iterable_dataset()
    with pytest.raises(TypeError, match="the training data must be a datasets.Dataset, not IterableDataset"):
        prepared(model, stream)


def test_names_that_the_model_does_not_know_are_refused(model):
    features = Features(
        {"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=["O", "B-animal"]))}
    )
    dataset = Dataset.from_dict({"tokens": [["a", "cat"]], "ner_tags": [[0, 1]]}, features=features)
    with pytest.raises(
        ValueError, match=r"row 0 .* tag 1 of word 1 \('cat'\), which is 'B-animal', is not one of \['O', 'B-PER'"
    ):
        prepared(model, dataset)


def test_words_without_tokens_are_not_blamed_on_the_limit(model, caplog):
    with caplog.at_level(logging.WARNING):
        prepared(model, Dataset.from_dict({"tokens": [["Paris", "\u2063"]], "ner_tags": [["B-LOC", "I-LOC"]]}))
    assert "1 end in words for which the tokenizer has no token" in caplog.text
    assert "model_max_length" not in caplog.text


def test_names_of_the_data_set_win_over_the_order_of_the_labels(model):
    names = LABELS[::-1]
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=names))})
    ids = [[names.index(tag) for tag in tags] for tags in TAGS]
    dataset = Dataset.from_dict({"tokens": TOKENS, "ner_tags": ids}, features=features)
    expected = prepared(model, Dataset.from_dict({"tokens": TOKENS, "ner_tags": TAGS}))
    assert prepared(model, dataset)["entities"][:] == expected["entities"][:]


def test_test_data_need_no_tags(model):
    dataset = prepared(model, Dataset.from_dict({"tokens": TOKENS}), needs_labels=False)
    assert dataset.column_names == list(TEXT_FEATURES)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"tokens": TOKENS}, ValueError, r"training data has the columns \['tokens'\].*'ner_tags'.*rename_column"),
        ({"words": TOKENS, "ner_tags": IDS}, ValueError, r"the columns \['words', 'ner_tags'\]"),
        ({"tokens": [["a"], ["b", "c"]], "ner_tags": [[0], [0]]}, ValueError, "row 1 .* 2 'tokens' but 1 'ner_tags'"),
        (
            {"tokens": [["a"], ["b"]], "ner_tags": [[0], [7]]},
            ValueError,
            r"row 1 .* tag 7 of word 0 \('b'\) is out of range: there are names for only 7 integers",
        ),
        ({"tokens": [["a"]], "ner_tags": [[-1]]}, ValueError, "row 0 .* tag -1"),
        ({"tokens": [["a"]], "ner_tags": [["B-ART"]]}, ValueError, r"row 0 .* tag 'B-ART' of word 0 \('a'\)"),
        ({"tokens": [["a"]], "ner_tags": [[0.5]]}, TypeError, "row 0 .* tag 0.5"),
        ({"tokens": [["a"]], "ner_tags": [[True]]}, TypeError, "row 0 .* tag True"),
        ({"tokens": [], "ner_tags": []}, ValueError, "the training data set has no rows"),
        ({"tokens": ["a b"], "ner_tags": [[0]]}, TypeError, "row 0 .* 'tokens' must be a list of words, not str"),
        ({"tokens": [[1]], "ner_tags": [[0]]}, TypeError, r"row 0 .*\[0\]=1 must be a word"),
        ({"tokens": [["a"]], "ner_tags": ["O"]}, TypeError, "row 0 .*'ner_tags' must be a list, not str"),
        ({"tokens": [["a"]], "ner_tags": [[0]], "document_id": [1]}, ValueError, "no 'sentence_id'"),
    ],
)
def test_broken_data_are_refused_with_their_row(model, columns, error, message):
    with pytest.raises(error, match=message):
        prepared(model, Dataset.from_dict(columns))


def test_rows_are_counted_over_the_whole_data_set(model):
    dataset = Dataset.from_dict({"tokens": [["a"]] * 2500, "ner_tags": [[0]] * 2499 + [[99]]})
    with pytest.raises(ValueError, match="row 2499 "):
        prepared(model, dataset)


def test_one_warning_counts_what_is_out_of_reach(caplog):
    model = build_model("bert", entity_max_length=2)
    words = ["Amelia", "Amelia", "Amelia", "flew", "to", "Paris", "Paris", "x" * 90, "Paris"]
    tags = ["B-PER", "I-PER", "I-PER", "O", "O", "B-LOC", "B-LOC", "I-LOC", "B-LOC"]
    limit = model.config.model_max_length = 50
    with caplog.at_level(logging.WARNING):
        prepared(model, Dataset.from_dict({"tokens": [words, words], "ner_tags": [tags, tags]}))
    (record,) = [record for record in caplog.records if record.name.startswith("span_marker")]
    assert record.getMessage() == (
        "4 of the 8 gold entities of the training data cannot be predicted, and count as missed: 2 are longer "
        f"than entity_max_length=2 (2 of 3 words); 2 do not fit into any window of {limit} tokens (model_max_length)."
    )


def test_nothing_lost_nothing_said(model, caplog):
    with caplog.at_level(logging.WARNING):
        prepared(model, Dataset.from_dict({"tokens": TOKENS, "ner_tags": IDS}))
    assert not [record for record in caplog.records if record.name.startswith("span_marker")]


def test_data_without_an_entity_is_told(model, caplog):
    rows = {"tokens": TOKENS, "ner_tags": [["O"] * len(words) for words in TOKENS]}
    prepared(model, Dataset.from_dict(rows))
    assert "There are no entities in the 3 rows of the training data." in caplog.text
    caplog.clear()
    prepared(model, Dataset.from_dict({"tokens": TOKENS}), needs_labels=False)
    assert not caplog.text


def test_document_context_is_put_around_sentences(model):
    columns = {"tokens": TOKENS[:2], "ner_tags": IDS[:2], "document_id": [0, 0], "sentence_id": [1, 0]}
    first, second = prepared(model, Dataset.from_dict(columns)).to_list()
    plain = prepared(model, Dataset.from_dict({"tokens": TOKENS[:2], "ner_tags": IDS[:2]})).to_list()
    text = [row["input_ids"][1:-1] for row in plain]
    assert first["input_ids"][1:-1] == second["input_ids"][1:-1] == text[1] + text[0]
    assert first["word_starts"] == [start + len(text[1]) for start in plain[0]["word_starts"]]
    assert second["word_starts"] == plain[1]["word_starts"]


def test_every_form_of_annotation_gives_the_same(model):
    rows = [[("PER", 0, 1), ("LOC", 3, 4)], [], []]
    entities = [[{"label": label, "start": start, "end": end} for label, start, end in row] for row in rows]
    expected = prepared(model, Dataset.from_dict({"tokens": TOKENS, "ner_tags": TAGS})).to_list()
    assert prepared(model, Dataset.from_dict({"tokens": TOKENS, "entities": entities})).to_list() == expected
    texts = ["Amelia flew to Paris .", "Nobody slept", ""]
    chars = [[("PER", 0, 6), ("LOC", 15, 20)], [], []]
    entities = [[{"label": label, "start": start, "end": end} for label, start, end in row] for row in chars]
    assert prepared(model, Dataset.from_dict({"text": texts, "entities": entities})).to_list() == expected


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_white_space_at_the_edges_of_entities_does_not_matter(family):
    model = build_model(family, entity_max_length=3)
    rows = []
    for start, end in ((5, 19), (4, 20)):
        entities = [[{"label": "PER", "start": start, "end": end}]]
        rows.append(
            prepared(model, Dataset.from_dict({"text": ["Then Amelia Earhart flew."], "entities": entities}))[0]
        )
    assert rows[0] == rows[1]
    assert rows[0]["entities"] == [[model.config.label2id["PER"], 1, 3]]


def test_entities_that_cut_a_word_are_missed_and_said(model, caplog):
    entities = [[{"label": "PER", "start": 0, "end": 3}, {"label": "LOC", "start": 15, "end": 20}]] * 2
    data = Dataset.from_dict({"text": ["Amelia flew to Paris ."] * 2, "entities": entities})
    with caplog.at_level(logging.WARNING):
        rows = prepared(model, data)
    assert "2 of the 4 gold entities" in caplog.text
    assert ("2 begin or end inside a word (such as row 0 of the training data, characters 0 to 3; ") in caplog.text
    assert [entity[1:] for entity in rows[0]["entities"]] == [[3, 4], [-1, -1]]


def test_long_sentences_become_windows_that_share_out_the_entities(caplog):
    model = build_model("bert", entity_max_length=2, model_max_length=12)
    words = [word for _ in range(8) for word in TOKENS[0]]
    tags = [tag for _ in range(8) for tag in TAGS[0]]
    data = Dataset.from_dict({"tokens": [TOKENS[0], words, TOKENS[0]], "ner_tags": [TAGS[0], tags, TAGS[0]]})
    with caplog.at_level(logging.WARNING):
        rows = prepared(model, data)
    assert not [record for record in caplog.records if record.name.startswith("span_marker")]
    assert max(map(len, rows["input_ids"])) <= 12
    assert rows["row"][:] == [0, *[1] * (len(rows) - 2), 2]
    found = sorted(entity for row in rows if row["row"] == 1 for entity in row["entities"])
    (whole,) = prepared(build_model("bert", entity_max_length=2), data.select([1]))["entities"]
    assert found == sorted(whole)
    assert sum(row["num_words"] for row in rows if row["row"] == 1) == len(words)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (
            {"tokens": [["a"]], "entities": [[("PER", 0, 2)]]},
            ValueError,
            "row 0 .* entity 'PER' ends at word 2, but the row has only 1 word",
        ),
        (
            {"text": ["a b"], "entities": [[("PER", 2, 4)]]},
            ValueError,
            "row 0 .* ends at character 4, but the row has only 3",
        ),
        (
            {"text": ["a b"], "entities": [[("ART", 0, 1)]]},
            ValueError,
            "row 0 .* entity 'ART' has a label that is not one of",
        ),
        (
            {"text": ["a"], "tokens": [["a"]], "entities": [[("PER", 0, 1)]]},
            ValueError,
            "may count words or characters",
        ),
        ({"text": ["a"], "ner_tags": [["O"]]}, ValueError, "has the columns"),
    ],
)
def test_broken_spans_are_refused_with_their_row(model, columns, error, message):
    if "entities" in columns:
        rows = [
            [{"label": label, "start": start, "end": end} for label, start, end in row] for row in columns["entities"]
        ]
        columns = {**columns, "entities": rows}
    with pytest.raises(error, match=message):
        prepared(model, Dataset.from_dict(columns))


def test_the_data_say_how_entities_overlap(model, caplog):
    def decoding(spans):
        entities = [
            [
                {"label": "PER" if index % 2 else "LOC", "start": start, "end": end}
                for index, (start, end) in enumerate(spans)
            ]
        ]
        data = Dataset.from_dict({"tokens": [["a"] * 500], "entities": entities})
        return prepare(data, model.preprocessor, "training")[1].decoding

    flat = [(start, start + 1) for start in range(300)]
    assert decoding(flat) == "flat"
    assert decoding([*flat, (0, 2)]) == "flat"  # may be a mistake
    assert decoding([(0, 1), (0, 2)]) == "nested"
    assert decoding([(0, 1), (0, 1)]) == "nested"
    assert "2 of the 2 gold entities of the training data share their words" in caplog.text
    assert decoding([(0, 2), (1, 3)]) == "overlapping"
