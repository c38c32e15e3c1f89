"""handler.py beside a checkpoint, as an Inference Endpoint loads and asks it."""

import importlib.util
import json
import shutil
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import check_margin, margin, score_rounding
from tiny import TEXT, build_model

import span_marker

TEMPLATE = Path(span_marker.__file__).parent / "integrations" / "endpoint_handler.py"
TEXTS = TEXT.strip().splitlines()


@pytest.fixture(scope="module")
def model():
    model = build_model("bert", entity_max_length=3)
    check_margin(model, [*TEXTS, "Tokyo"])  # batches of any size find the same
    return model


@pytest.fixture(scope="module")
def stock(model):
    """Brings entities into the stock format, with scores up to rounding."""
    return partial(as_stock, within=score_rounding(model))


@pytest.fixture(scope="module")
def handler(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint")
    model.save_pretrained(folder)
    shutil.copyfile(TEMPLATE, folder / "handler.py")
    return load(folder)


def load(folder):
    """What the server of Inference Endpoints does."""
    spec = importlib.util.spec_from_file_location("handler.EndpointHandler", folder / "handler.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["handler.EndpointHandler"] = module
    try:
        spec.loader.exec_module(module)
        return module.EndpointHandler(str(folder))
    finally:
        del sys.modules["handler.EndpointHandler"]


def as_stock(text, entities, within):
    return [
        {
            "entity_group": entity["label"],
            "score": pytest.approx(entity["score"], abs=within, rel=0),
            "word": text[entity["char_start_index"] : entity["char_end_index"]],
            "start": entity["char_start_index"],
            "end": entity["char_end_index"],
        }
        for entity in entities
    ]


def ask(handler, **request):
    """An answer as the client reads it."""
    return json.loads(json.dumps(handler(json.loads(json.dumps(request)))))


def test_a_text_gives_the_entities_of_predict(handler, model, stock):
    answer = ask(handler, inputs=TEXTS[0])
    assert answer
    assert answer == stock(TEXTS[0], model.predict(TEXTS[0]))


def test_a_list_of_texts_gives_a_list_for_each(handler, model, stock):
    answer = ask(handler, inputs=TEXTS)
    assert answer == [stock(text, model.predict(text)) for text in TEXTS]


def test_texts_without_spaces_are_texts(handler, model, stock):
    words = ["Paris", "Tokyo"]
    answer = ask(handler, inputs=words)
    assert len(answer) == 2
    assert answer == [stock(word, model.predict(word)) for word in words]


def test_parameters_reach_the_model(handler, model, stock):
    whole = ask(handler, inputs=TEXTS[0])
    scores = sorted(entity["score"] for entity in whole)
    middles = [(low + high) / 2 for low, high in pairwise(scores)]
    threshold = max(middles, key=lambda middle: margin(model, TEXTS[:1], middle))
    check_margin(model, TEXTS[:1], threshold=threshold)
    answer = ask(handler, inputs=TEXTS[0], parameters={"threshold": threshold, "batch_size": 2})
    assert 0 < len(answer) < len(whole)
    assert answer == stock(TEXTS[0], model.predict(TEXTS[0], threshold=threshold))
    overlapping = ask(handler, inputs=TEXTS[0], parameters={"decoding": "overlapping"})
    assert overlapping == stock(TEXTS[0], model.predict(TEXTS[0], decoding="overlapping"))
    assert len(overlapping) > len(whole)


def test_parameters_of_stock_clients(handler):
    whole = ask(handler, inputs=TEXTS[0])
    for parameters in ({}, None, {"aggregation_strategy": None}, {"aggregation_strategy": "simple"}):
        assert ask(handler, inputs=TEXTS[0], parameters=parameters) == whole


def test_unknown_parameters_are_named(handler):
    with pytest.raises(TypeError, match="'treshold', 'nested'.*'threshold'"):
        ask(handler, inputs=TEXTS[0], parameters={"treshold": 0.5, "nested": True})


def test_wrong_requests_are_explained(handler):
    with pytest.raises(ValueError, match=r"needs 'inputs'.* but its keys are \['text'\]"):
        ask(handler, text="Paris")
    with pytest.raises(TypeError, match="'inputs' must be a text or a list of texts, not dict"):
        ask(handler, inputs={"text": "Paris"})
    with pytest.raises(ValueError, match="threshold"):
        ask(handler, inputs="Paris", parameters={"threshold": 2})


def test_save_pretrained_writes_it(model, tmp_path):
    model.save_pretrained(tmp_path, handler=True)
    assert "span_marker" in (tmp_path / "requirements.txt").read_text()
    assert ask(load(tmp_path), inputs="Paris")
    model.save_pretrained(tmp_path / "without")
    assert not (tmp_path / "without" / "handler.py").exists()
