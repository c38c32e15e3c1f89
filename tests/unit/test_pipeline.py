import functools
import itertools
import json
from operator import length_hint
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch
import transformers
from datasets import Dataset
from helpers import approximately, check_margin
from tiny import LABELS, SENTENCES, build_model, build_tokenizer, encoder_config
from transformers.pipelines.pt_utils import KeyDataset
from transformers.pipelines.token_classification import AggregationStrategy

import span_marker
from span_marker import SpanMarkerModel
from span_marker.integrations.pipeline import PREDICT_ARGUMENTS, STRATEGIES, WrongTaskError

TEXTS = ["Amelia Earhart flew across the Atlantic.", "Paris", "", "  ", "Cleopatra (51 BC) ruled Egypt!", "Tokyo"]
WORDS = ["Amelia", "Earhart", "flew"]

make = functools.partial(transformers.pipeline, "span-marker", device="cpu")


class Indexed(torch.utils.data.Dataset):
    """A data set as most are written: its length alone says where it ends."""

    def __len__(self):
        return len(TEXTS)

    def __getitem__(self, index):
        assert index < len(self)
        return TEXTS[index]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    build_model(entity_max_length=4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pipe(folder):
    return make(model=str(folder))


@pytest.fixture(scope="module")
def model(pipe):
    return pipe.model


@pytest.fixture(scope="module")
def expected(model):
    """The entities of each text, as the model finds them in a batch of all; in the same batch, bit for bit the same."""
    entities = model.predict(Dataset.from_dict({"text": TEXTS}))
    assert sum(map(bool, entities)) == 4
    return entities


@pytest.fixture
def received(model, monkeypatch):
    """The keyword arguments that reach the model."""
    received = {}

    def predict_stream(inputs, **arguments):
        received.update(arguments)
        return ({**row, "entities": []} for row in inputs)

    monkeypatch.setattr(model, "predict_stream", predict_stream)
    return received


def test_the_pipeline_is_that_of_transformers(folder, pipe, expected):
    assert span_marker.pipeline is transformers.pipeline
    for model in (str(folder), folder, pipe.model):
        other = span_marker.pipeline("span-marker", model=model, device="cpu")
        assert type(other) is type(pipe)
        assert other(TEXTS) == expected
    assert "SpanMarkerModel" in repr(pipe)


def test_the_tokenizer_is_the_model_s_own(pipe, model):
    assert pipe.tokenizer is model.tokenizer
    assert make(model=model, tokenizer=model.tokenizer).tokenizer is model.tokenizer
    for other in ("google-bert/bert-base-cased", build_tokenizer("wordpiece")):
        with pytest.raises(ValueError, match="not the model's own, model.tokenizer: leave it out"):
            make(model=model, tokenizer=other)


def test_arguments_of_loading(folder, monkeypatch):
    arguments = {}
    load = SpanMarkerModel.from_pretrained

    def from_pretrained(path, **kwargs):
        arguments.update(kwargs)
        return load(path, **kwargs)

    monkeypatch.setattr(SpanMarkerModel, "from_pretrained", from_pretrained)
    own = {"revision": "v1", "token": "hf_x", "local_files_only": True, "dtype": "bfloat16"}
    pipe = make(model=str(folder), device="meta", **own)
    assert {name: arguments[name] for name in own} == {**own, "dtype": torch.bfloat16}
    assert pipe.dtype == pipe.model.dtype == torch.bfloat16
    assert pipe.device == pipe.model.device == torch.device("meta")


def test_device_and_dtype_of_a_model_that_is_there(folder):
    model = SpanMarkerModel.from_pretrained(folder)
    make(model=model)
    assert model.dtype == torch.float32
    pipe = make(model=model, dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert pipe(TEXTS[0]) == model.predict(TEXTS[0])
    make(model=model, device="meta")
    assert model.device == torch.device("meta")


def test_one_text(pipe, model):
    for text in TEXTS:
        assert pipe(text) == pipe({"text": text, "id": 7}) == model.predict(text)
    assert pipe({"tokens": WORDS}) == model.predict(WORDS)
    assert pipe.predict(TEXTS[0]) == pipe.transform(TEXTS[0]) == model.predict(TEXTS[0])


def test_a_string_of_a_list_is_a_text_of_its_own(pipe, model, expected):
    assert pipe(TEXTS) == pipe(tuple(TEXTS)) == pipe(Dataset.from_dict({"text": TEXTS})["text"]) == expected
    assert pipe(WORDS) == model.predict(Dataset.from_dict({"text": WORDS}))
    assert pipe(WORDS) != model.predict(WORDS)
    assert all("char_start_index" in entity for entities in pipe(WORDS) for entity in entities)


def test_words(pipe, model):
    assert pipe([WORDS]) == [model.predict(WORDS)]
    assert pipe(SENTENCES) == model.predict(SENTENCES)
    assert pipe([{"tokens": words} for words in SENTENCES]) == model.predict(SENTENCES)
    mixed = pipe([TEXTS[0], SENTENCES[0]])
    assert mixed == [pipe(TEXTS[0]), pipe([SENTENCES[0]])[0]]


def test_nothing(pipe):
    assert pipe([]) == pipe(()) == pipe("") == pipe({"tokens": []}) == list(pipe(iter([]))) == []
    assert pipe([""]) == pipe([[]]) == pipe(Dataset.from_dict({"text": [""]})) == [[]]
    assert pipe(Dataset.from_dict({"text": []})) == []


def test_data_sets(pipe, model):
    columns = {"tokens": SENTENCES, "id": range(5)}
    dataset = Dataset.from_dict(columns)
    assert pipe(dataset) == pipe(dataset.with_format("torch")) == model.predict(dataset) == model.predict(SENTENCES)
    context = Dataset.from_dict({**columns, "document_id": [0, 0, 1, 1, 1], "sentence_id": range(5)})
    assert pipe(context) == model.predict(context) != model.predict(SENTENCES)


@pytest.mark.parametrize(
    "source",
    [
        lambda: (text for text in TEXTS),
        lambda: Indexed(),
        lambda: KeyDataset(Dataset.from_dict({"x": TEXTS}), "x"),
        lambda: Dataset.from_dict({"text": TEXTS, "id": range(6)}).to_iterable_dataset(),
        lambda: dict.fromkeys(TEXTS).keys(),
    ],
    ids=["generator", "torch", "key", "streamed", "iterable"],
)
def test_other_iterables_give_iterators(pipe, expected, source):
    results = pipe(source())
    assert next(results) == expected[0]
    assert list(results) == expected[1:]
    stock = list(pipe(source(), aggregation_strategy="simple"))
    assert [len(entities) for entities in stock] == [len(entities) for entities in expected]


def test_a_stream_is_read_as_needed(pipe, monkeypatch):
    monkeypatch.setattr("span_marker.prediction.predictor.BLOCK_SIZE", 4)
    texts = iter(TEXTS[:2] * 50)
    results = pipe(texts)
    assert length_hint(texts) == 100
    within = check_margin(pipe.model, TEXTS[:2])  # batches of any size find the same
    expected = approximately([pipe(text) for text in TEXTS[:2]], within)
    assert [next(results) for _ in range(6)] == expected * 3
    assert length_hint(texts) > 80


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({"batch_size": 2}, {"batch_size": 3}),
        ({"threshold": 0.25}, {"threshold": {"PER": 0.5, "LOC": 0.5, "ORG": 0.5}}),
        ({"decoding": "overlapping"}, {"decoding": "nested"}),
        ({"top_k": 2}, {"top_k": 1}),
        ({"exact": True}, {"exact": False}),
        ({"show_progress_bar": True}, {"show_progress_bar": False}),
    ],
)
def test_options_of_prediction(model, received, options, others):
    pipe = make(model=model, **options)
    for arguments, expected in [({}, options), (others, others), (dict.fromkeys(options), options)]:
        received.clear()
        pipe(TEXTS, **arguments)
        assert received == expected
    plain = make(model=model)
    for arguments in (options, {}):
        received.clear()
        plain("Paris", **arguments)
        assert received == arguments


def test_options_change_results_as_in_predict(pipe, model):
    for inputs in (TEXTS[0], SENTENCES, Dataset.from_dict({"text": TEXTS})):
        for options in ({"decoding": "overlapping", "threshold": 0.01}, {"top_k": 2}):
            assert pipe(inputs, **options) == model.predict(inputs, **options) != pipe(inputs)
    assert make(model=model, threshold=1.0)(TEXTS[0]) == []


def test_what_is_no_option_is_refused(pipe, model):
    known = f"only {', '.join(map(repr, (*PREDICT_ARGUMENTS, 'aggregation_strategy')))}"
    with pytest.raises(TypeError, match=f"no option 'treshold', 'x', {known}$"):
        pipe("Paris", treshold=1, x=2)
    with pytest.raises(TypeError, match=f"no option 'ignore_labels', {known}$"):
        make(model=model, ignore_labels=["O"])
    for refuse in (functools.partial(pipe, "Paris"), functools.partial(make, model=model)):
        with pytest.raises(TypeError, match="num_workers: there is no DataLoader"):
            refuse(num_workers=2)
        with pytest.raises(TypeError, match="is_split_into_words: pass a list of lists of words"):
            refuse(is_split_into_words=True)


@pytest.mark.parametrize(
    "option",
    [{"threshold": 2}, {"decoding": "deep"}, {"batch_size": 0}, {"top_k": 0}, {"aggregation_strategy": "fist"}],
)
def test_wrong_values_are_refused_at_once(pipe, model, option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        make(model=model, **option)
    for inputs in ("Paris", iter(["Paris"])):
        with pytest.raises(ValueError, match=name):
            pipe(inputs, **option)


@pytest.mark.parametrize("inputs", [None, 5, [5], [[5]], {"text": ["Paris"]}])
def test_inputs_of_no_use(pipe, inputs):
    with pytest.raises(TypeError, match=r"must be|cannot read inputs of type (NoneType|int)"):
        pipe(inputs)
    for nothing in ({"id": 7}, [{"text": "a", "tokens": []}], Dataset.from_dict({"id": [7]})):
        with pytest.raises(ValueError, match="'text'"):
            pipe(nothing)
    with pytest.raises(ValueError, match=r"item 0 of the inputs must have either 'text' or 'tokens', .*\['txt'\]"):
        pipe({"txt": "Paris"})


@pytest.fixture(scope="module")
def stock():
    """The pipeline for token classification that comes with transformers."""
    tokenizer = build_tokenizer("wordpiece").tokenizer
    torch.manual_seed(0)
    config = encoder_config("bert", len(tokenizer))
    config.id2label = dict(enumerate(LABELS))
    classifier = transformers.BertForTokenClassification(config).eval()
    classifier.classifier.weight.data.normal_(std=1.0)
    classifier.classifier.bias.data[0] = -100.0  # every token is part of an entity
    return transformers.pipeline("token-classification", model=classifier, tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS, [SENTENCES[0], SENTENCES[2]]], ids=["text", "texts", "words"])
def test_aggregation_gives_the_stock_format(pipe, stock, inputs):
    found = pipe(inputs, aggregation_strategy="simple")
    arguments = {} if isinstance(inputs[0], str) else {"is_split_into_words": True}
    wanted = stock(inputs, aggregation_strategy="simple", **arguments)
    many = [[inputs], [found], [wanted]] if isinstance(inputs, str) else [inputs, found, wanted]
    assert [len(part) for part in many] == [len(many[0])] * 3
    for text, entities, stock_entities in zip(*many, strict=True):
        text = text if isinstance(text, str) else " ".join(text)
        assert bool(entities) == bool(stock_entities) == bool(text.strip())
        for entity, stock_entity in itertools.product(entities, stock_entities):
            assert list(entity) == list(stock_entity)
            kinds, stock_kinds = ({key: type(row[key]) for key in row} for row in (entity, stock_entity))
            assert kinds == {**stock_kinds, "score": float}  # of numpy in the stock pipeline, which JSON does not know
        for rows in (entities, stock_entities):
            assert [row["start"] for row in rows] == sorted(row["start"] for row in rows)
        for entity in entities:
            assert text[entity["start"] : entity["end"]] == entity["word"]
    assert json.loads(json.dumps(found)) == found


def test_aggregation_shows_the_same_entities(pipe, model):
    for inputs in (TEXTS, SENTENCES, Dataset.from_dict({"tokens": SENTENCES})):
        for ours, stock in zip(pipe(inputs), pipe(inputs, aggregation_strategy="simple"), strict=True):
            assert [(entity["label"], entity["score"]) for entity in ours] == [
                (entity["entity_group"], entity["score"]) for entity in stock
            ]
            for entity, shown in zip(ours, stock, strict=True):
                words = entity["span"]
                assert shown["word"] == (words if isinstance(words, str) else " ".join(words))
    for strategy in (*STRATEGIES, AggregationStrategy.MAX):
        always = make(model=model, aggregation_strategy=strategy)
        assert always(TEXTS) == pipe(TEXTS, aggregation_strategy=strategy) == pipe(TEXTS, aggregation_strategy="simple")


def test_aggregation_keeps_labels_that_were_asked_for(pipe):
    (ours, *_), (stock, *_) = (pipe(TEXTS[0], top_k=2, aggregation_strategy=strategy) for strategy in (None, "simple"))
    assert stock["labels"] == ours["labels"]
    assert len(stock["labels"]) == 2


def test_there_are_no_labels_of_tokens(pipe):
    with pytest.raises(ValueError, match="aggregation_strategy='none' must be .* each span is scored as a whole"):
        pipe("Paris", aggregation_strategy="none")


def test_there_is_no_default_model():
    for _ in range(2):
        with pytest.raises(ValueError, match="pipeline\\('span-marker'\\) needs a model: pass model="):
            transformers.pipeline("span-marker")


def test_other_models_are_refused(stock, tmp_path):
    stock.save_pretrained(tmp_path)
    for other in (str(tmp_path), stock.model):
        with pytest.raises(TypeError, match="needs a SpanMarkerModel, but model= is a BertForTokenClassification"):
            make(model=other)


@pytest.mark.parametrize("task", ["fill-mask"])
def test_other_tasks_refuse_the_checkpoint(folder, task):
    with pytest.raises(ValueError, match=r"(?s)Could not load model .*SpanMarkerConfig"):
        transformers.pipeline(task, model=str(folder))


def test_saving_saves_the_model_alone(pipe, expected, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert not list(Path(tmp_path).glob("*.py"))
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert make(model=str(tmp_path))(TEXTS) == expected


def test_a_table_gives_a_list_for_each_row(pipe, expected):
    for make_table in (pd.DataFrame, pa.table, Dataset.from_dict):
        assert pipe(make_table({"id": list(range(len(TEXTS))), "text": TEXTS})) == expected
    with pytest.raises(ValueError, match=r"needs a column 'tokens' or 'text', but has only \['name'\]"):
        pipe(pd.DataFrame({"name": TEXTS}))


@pytest.mark.parametrize("pairs", [[("doc-1", TEXTS[0])], [["doc-1", TEXTS[0]]], zip(["doc-1"], TEXTS, strict=False)])
def test_rows_of_a_table_are_no_lists_of_words(pipe, pairs):
    with pytest.raises(
        ValueError, match="item 0 of the inputs is read as a list of words, but 'Amelia Earhart flew|the rows of a zip"
    ):
        list(pipe(pairs))


def test_a_row_of_a_data_set_is_one_text_and_a_batch_is_none(pipe, expected):
    data = Dataset.from_dict({"text": TEXTS})
    mapped = data.map(lambda row: {"found": [entity["span"] for entity in pipe(row)]})
    assert mapped["found"] == [[entity["span"] for entity in entities] for entities in expected]
    with pytest.raises(TypeError, match="item 0 of the inputs: 'text' must be a string, not list"):
        data.map(lambda batch: {"found": pipe(batch)}, batched=True)


@pytest.mark.parametrize("inputs", [b"Paris", {"Paris"}])
def test_inputs_without_an_order_are_refused(pipe, inputs):
    with pytest.raises(TypeError, match="cannot read inputs of type"):
        pipe(inputs)


@pytest.mark.parametrize(("unit", "encoding", "width"), [("utf-16", "utf-16-le", 2), ("utf-8", "utf-8", 1)])
@pytest.mark.parametrize("strategy", [None, "simple"])
def test_offsets_count_what_the_caller_counts(pipe, unit, encoding, width, strategy):
    text = "\N{PARTY POPPER} Amélie Earhart flew to Zürich \N{EARTH GLOBE EUROPE-AFRICA} and Paris"
    units = text.encode(encoding)
    found = pipe(text, offsets=unit, aggregation_strategy=strategy)
    usual = pipe(text, aggregation_strategy=strategy)
    keys = ("char_start_index", "char_end_index", "span") if strategy is None else ("start", "end", "word")
    assert found
    assert found != usual
    for entity, plain in zip(found, usual, strict=True):
        start, end, span = map(entity.get, keys)
        assert units[width * start : width * end].decode(encoding) == span == plain[keys[2]]
        assert text[plain[keys[0]] : plain[keys[1]]] == span
    if strategy is not None:
        words = text.split()
        for entity in pipe([words], offsets=unit, aggregation_strategy=strategy)[0]:
            assert units[width * entity["start"] : width * entity["end"]].decode(encoding) == entity["word"]
    with pytest.raises(ValueError, match="offsets='utf-32' must be one of"):
        pipe(text, offsets="utf-32")


def test_documents_are_split_into_sentences(pipe):
    text = "Amelia Earhart flew.  Cleopatra ruled Egypt!"
    found = pipe(text, split_sentences=lambda text: [(0, 20), (20, len(text))], aggregation_strategy="simple")
    assert found
    assert all(text[entity["start"] : entity["end"]] == entity["word"] for entity in found)


@pytest.mark.parametrize("task", ["ner", "token-classification"])
def test_the_stock_task_says_which_task_is_right(folder, task):
    with pytest.raises(WrongTaskError, match=r"SpanMarker checkpoint, .* or pipeline\('span-marker', model="):
        transformers.pipeline(task, model=str(folder))
