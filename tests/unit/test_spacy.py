"""The spaCy component finds what the model finds, whatever way documents come to it."""

import copy
import functools
import json
import pickle
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import spacy
import torch
from datasets import Dataset
from fresh import printed_by
from helpers import check_margin, score_rounding
from spacy.tokens import DocBin, Span
from spacy.tokens.underscore import Underscore
from spacy.training import Example
from tiny import TEXT, build_model

from span_marker.integrations.spacy import SpanMarkerComponent
from span_marker.rules import RegexRule, Rules

LOGGER = "span_marker"
LINES = TEXT.strip().split("\n")
TEXTS = [LINES[0], "", " \n ", "Paris", f"  {LINES[1]}\n\n{LINES[2]} ", "Amelia  Earhart \t flew her\nLockheed   Vega."]


@functools.cache
def build():
    return build_model("bert", entity_max_length=3)


@functools.cache
def within():
    """How far apart the scores of two batches may be."""
    return score_rounding(build())


@pytest.fixture(scope="module")
def model():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    for text in (*TEXTS, TEXT):
        sentences, _ = words_of(nlp(text))
        check_margin(
            build(), sentences, [[word for words in sentences for word in words]]
        )  # batches of any size find the same
    return build()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    return save(model, tmp_path_factory.mktemp("model"))


def save(model, folder, **settings):
    model = copy.deepcopy(model)
    for name, value in settings.items():
        setattr(model.config, name, value)
    model.save_pretrained(folder)
    return str(folder)


def make(checkpoint, sentencizer=True, **settings):
    nlp = spacy.blank("en")
    if sentencizer:
        nlp.add_pipe("sentencizer")
    nlp.add_pipe("span_marker", config={"model": checkpoint, "device": "cpu", **settings})
    return nlp


@pytest.fixture(scope="module")
def nlp(checkpoint):
    return make(checkpoint)


def words_of(doc):
    """The words of each sentence, and the places of their tokens."""
    sentences = [[token for token in sentence if not token.is_space] for sentence in doc.sents]
    sentences = [sentence for sentence in sentences if sentence]
    return [[token.text for token in sentence] for sentence in sentences], [
        [token.i for token in sentence] for sentence in sentences
    ]


def as_spans(doc, predictions, places):
    """What the model predicts, as spaCy counts."""
    return [
        (own[entity["word_start_index"]], own[entity["word_end_index"] - 1] + 1, entity["label"], entity["score"])
        for entities, own in zip(predictions, places, strict=True)
        for entity in entities
    ]


def predict(model, doc, **options):
    words, places = words_of(doc)
    return as_spans(doc, model.predict(words, **options), places) if words else []


def ents(doc):
    return [(ent.start, ent.end, ent.label_, ent._.score) for ent in doc.ents]


def group(doc, key="sm"):
    spans = doc.spans[key]
    return [
        (span.start, span.end, span.label_, score) for span, score in zip(spans, spans.attrs["scores"], strict=True)
    ]


def same(found, expected):
    assert [span[:3] for span in found] == [span[:3] for span in expected]
    assert [span[3] for span in found] == pytest.approx([span[3] for span in expected], abs=within(), rel=0)


# Finding and importing


def test_spacy_finds_the_component_and_the_library_does_not_import_spacy(tmp_path):
    code = f"import os; os.chdir({str(tmp_path)!r})"
    code += """
import sys
import spacy
nlp = spacy.blank("en")
assert "span_marker" not in sys.modules  # pipelines without the component don't pay for it
component = nlp.add_pipe("span_marker", config={"model": "no/such/folder"})
assert not hasattr(component, "model")  # spaCy would ask for it, and so load it, in an order that is random
print(type(component).__module__)
"""
    assert printed_by(code) == "span_marker.integrations.spacy"


# Predictions


@pytest.mark.parametrize("text", TEXTS)
def test_a_document_has_the_entities_that_the_model_predicts(nlp, model, text):
    doc = nlp(text)
    assert doc.text == text
    same(ents(doc), predict(model, doc))
    assert bool(doc.ents) == bool(text.strip())


def test_white_space_shifts_nothing(nlp):
    plain, spaced = nlp("Amelia Earhart flew her Lockheed Vega."), nlp(TEXTS[-1])
    assert len(spaced) > len(plain)
    assert [ent.text.split() for ent in spaced.ents] == [ent.text.split() for ent in plain.ents]
    assert any(ent.text.split() != ent.text.split(" ") for ent in spaced.ents)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_documents_of_a_stream_have_the_same_entities(nlp, batch_size):
    docs = list(nlp.pipe(TEXTS, batch_size=batch_size))
    assert [doc.text for doc in docs] == TEXTS
    for doc, text in zip(docs, TEXTS, strict=True):
        same(ents(doc), ents(nlp(text)))


def test_documents_before_an_error_of_their_stream_are_annotated(nlp):
    def texts():
        yield from TEXTS
        raise LookupError("the store has gone")

    docs = []
    with pytest.raises(LookupError, match="the store"):
        docs.extend(nlp.pipe(texts()))
    assert [doc.text for doc in docs] == TEXTS
    for doc in docs:
        same(ents(doc), ents(nlp(doc.text)))


def record_calls(monkeypatch, component):
    calls, original = [], component.span_marker.predict

    def spy(inputs, batch_size, **options):
        calls.append((inputs, {"batch_size": batch_size, **options}))
        return original(inputs, batch_size, **options)

    monkeypatch.setattr(component.span_marker, "predict", spy)
    return calls


def test_documents_of_a_batch_are_read_together(nlp, monkeypatch):
    calls = record_calls(monkeypatch, nlp.get_pipe("span_marker"))
    list(nlp.pipe(TEXTS, batch_size=len(TEXTS)))
    assert [len(inputs) for inputs, _ in calls] == [sum(len(words_of(nlp(text))[0]) for text in TEXTS)]
    calls.clear()
    list(nlp.pipe(TEXTS, batch_size=3))
    assert len(calls) == 2
    calls.clear()
    list(nlp.pipe(["", " "]))
    assert not calls


def test_settings_reach_the_model(checkpoint, model, monkeypatch):
    nlp = make(checkpoint, batch_size=3, threshold={"PER": 0.9, "LOC": 0.6, "ORG": 0.65}, exact=True)
    calls = record_calls(monkeypatch, nlp.get_pipe("span_marker"))
    doc = nlp(TEXT)
    settings = {"threshold": {"PER": 0.9, "LOC": 0.6, "ORG": 0.65}, "exact": True}
    settings |= {"relations": None, "relation_threshold": None}
    assert [options for _, options in calls] == [
        {"batch_size": 3, "decoding": None, "is_split_into_words": True, **settings}
    ]
    same(ents(doc), predict(model, doc, **settings))
    assert len(doc.ents) < len(make(checkpoint)(TEXT).ents)


# Sentences


def test_a_document_without_sentences_is_one_text(checkpoint, model, caplog):
    nlp = make(checkpoint, sentencizer=False)
    docs = list(nlp.pipe([TEXT, LINES[0], TEXT, "Paris", ""], batch_size=2))
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith(LOGGER)]
    assert "suits a model trained on whole texts. For a model trained on single" in message
    assert 'nlp.add_pipe("sentencizer", before="span_marker")' in message
    for doc in docs[:3]:
        tokens = [token for token in doc if not token.is_space]
        found = model.predict([[token.text for token in tokens]])
        same(ents(doc), as_spans(doc, found, [[token.i for token in tokens]]))


def test_advice_on_sentences_goes_by_the_training_data(checkpoint, caplog):
    for sentencizer, unit, max_words, advice in (
        (False, "text", 500, None),
        (False, "words", 3, "trained on texts of at most 3 words: add a component that sets sentence boundaries"),
        (True, "words", 20, None),
        (
            True,
            "text",
            500,
            "sentence by sentence, 10 words each, but was trained on texts of 250 words: remove the component",
        ),
    ):
        caplog.clear()
        nlp = make(checkpoint, sentencizer=sentencizer)
        config = nlp.get_pipe("span_marker").span_marker.config
        config.trained_on = SimpleNamespace(unit=unit, mean_words=max_words / 2, max_words=max_words)
        list(nlp.pipe(["", *LINES[:2], " ".join(LINES[:2])], batch_size=2))
        messages = [record.getMessage() for record in caplog.records if record.name.startswith(LOGGER)]
        assert len(messages) == (advice is not None)
        if advice:
            assert advice in messages[0]


def test_sentences_and_tiny_documents_need_no_warning(checkpoint, caplog):
    nlp = make(checkpoint, sentencizer=False)
    doc = nlp.make_doc(LINES[0])
    for token in doc:
        token.is_sent_start = token.i == 0
    list(nlp.pipe([doc, "Paris", "", " "]))
    assert not [record for record in caplog.records if record.name.startswith(LOGGER)]


def test_a_model_with_document_context_reads_documents(model, checkpoint, tmp_path, caplog):
    contextual = make(save(model, tmp_path, trained_with_document_context=True))
    plain = make(checkpoint)
    docs = list(contextual.pipe(TEXTS))
    assert not [record for record in caplog.records if record.name.startswith(LOGGER)]
    for doc in docs:
        words, places = words_of(doc)
        if words:
            columns = {"tokens": words, "document_id": [0] * len(words), "sentence_id": range(len(words))}
            same(ents(doc), as_spans(doc, model.predict(Dataset.from_dict(columns)), places))
    scores = [[ent[3] for ent in ents(doc)] for doc in (docs[0], plain(TEXTS[0]))]
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)


# Entities that are there already, and entities that overlap


def annotated(nlp, *places):
    doc = nlp.make_doc(LINES[0])
    doc.ents = [Span(doc, start, end, "GOLD", span_id="x") for start, end in places]
    return doc


def test_entities_stay_and_those_of_the_model_come_beside_them(nlp):
    alone = ents(nlp(LINES[0]))
    assert [ent[:2] for ent in alone[:3]] == [(0, 2), (2, 3), (3, 4)]
    doc = nlp(annotated(nlp, (1, 2), (2, 3)))
    assert ents(doc)[:2] == [(1, 2, "GOLD", None), (2, 3, "GOLD", None)]
    same(ents(doc)[2:], alone[2:])
    assert {ent.id_ for ent in doc.ents if ent.label_ == "GOLD"} == {"x"}
    doc = nlp(annotated(nlp, (0, len(doc))))
    assert ents(doc) == [(0, len(doc), "GOLD", None)]


def test_scores_of_entities_that_stay_are_kept(nlp):
    doc = nlp(LINES[0])
    before = ents(doc)
    doc.ents = doc.ents[:2]
    assert ents(nlp.get_pipe("span_marker")(doc)) == before


def test_entities_can_be_replaced(checkpoint):
    nlp = make(checkpoint, overwrite_entities=True)
    doc = nlp(annotated(nlp, (0, 4), (5, 6)))
    same(ents(doc), ents(nlp(LINES[0])))


@pytest.mark.parametrize("decoding", ["flat", "nested", "overlapping"])
def test_spans_may_overlap(checkpoint, model, decoding):
    nlp = make(checkpoint, spans_key="sm", decoding=decoding, threshold=0.3)
    doc = nlp(annotated(nlp, (0, 4)))
    same(group(doc), predict(model, doc, decoding=decoding, threshold=0.3))
    assert ents(doc) == [(0, 4, "GOLD", None)]
    taken = sum(end - start for start, end, *_ in group(doc))
    assert (taken > len(doc)) == (decoding != "flat")
    assert group(nlp(" ")) == []


def test_a_nested_model_is_flat_without_a_group(model, tmp_path, caplog):
    nested = save(model, tmp_path, decoding="overlapping")
    doc = make(nested, spans_key="sm")(LINES[0])
    same(group(doc), predict(model, doc, decoding="overlapping"))
    doc = make(nested, decoding="flat-optimal")(LINES[0])
    same(ents(doc), predict(model, doc, decoding="flat-optimal"))
    assert not [record for record in caplog.records if record.name.startswith(LOGGER)]
    nlp = make(nested)
    for doc in nlp.pipe(LINES, batch_size=1):
        same(ents(doc), predict(model, doc, decoding="flat"))
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith(LOGGER)]
    assert 'decoded "flat" instead of "overlapping"' in message
    assert "set spans_key" in message


# Scores


def test_scores_survive_files(nlp, tmp_path):
    doc = nlp(TEXT)
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "x.spacy")
    (read,) = DocBin().from_disk(tmp_path / "x.spacy").get_docs(nlp.vocab)
    assert ents(read) == ents(doc)


@pytest.fixture
def taken(monkeypatch):
    """Something else goes by the name of our scores."""
    monkeypatch.setattr(Underscore, "span_extensions", {})
    Span.set_extension("score", getter=len)


def test_scores_of_others_are_left_alone(checkpoint, taken):
    with pytest.raises(ValueError, match=r"Span\._\.score, but another extension has that name: set spans_key"):
        make(checkpoint)
    doc = make(checkpoint, spans_key="sm")(LINES[0])
    assert [span._.score for span in doc.spans["sm"]] == [len(span) for span in doc.spans["sm"]]


# Saving and loading


def test_a_saved_pipeline_needs_nothing_else(model, nlp, tmp_path):
    checkpoint = save(model, tmp_path / "gone")
    saved = make(checkpoint, threshold={"PER": 0.5, "LOC": 0.4, "ORG": 0.5})
    saved.to_disk(tmp_path / "saved")
    content = saved.to_bytes()
    expected = ents(saved(TEXT))
    shutil.rmtree(tmp_path / "gone")
    loaded = spacy.load(tmp_path / "saved")
    loaded.to_disk(tmp_path / "saved")  # over what it was loaded from
    again = spacy.load(tmp_path / "saved")
    shutil.rmtree(tmp_path / "saved")
    from_bytes = make("gone").from_bytes(content)
    for other in (loaded, again, from_bytes, pickle.loads(pickle.dumps(saved)), copy.deepcopy(saved)):
        same(ents(other(TEXT)), expected)
    assert loaded.get_pipe("span_marker").threshold == {"PER": 0.5, "LOC": 0.4, "ORG": 0.5}


def test_a_pipeline_can_be_saved_without_the_model(checkpoint, tmp_path):
    nlp = make(checkpoint)
    component = nlp.get_pipe("span_marker")
    component.to_disk(tmp_path / "component", exclude=["model"])
    assert not list((tmp_path / "component").iterdir())
    expected = ents(nlp(LINES[0]))
    nlp.to_disk(tmp_path / "saved", exclude=["span_marker"])
    assert ents(spacy.load(tmp_path / "saved")(LINES[0])) == expected
    other = make(str(tmp_path / "gone")).get_pipe("span_marker")
    other.from_disk(tmp_path / "component")
    other.from_bytes(component.to_bytes(exclude=["model"]))
    other.from_bytes(component.to_bytes(), exclude=["model"])
    component.to_disk(tmp_path / "component")
    other.from_disk(tmp_path / "component", exclude=["model"])
    with pytest.raises(OSError, match="model='.*gone'"):
        _ = other.span_marker


def test_a_component_can_be_left_out(nlp):
    with nlp.select_pipes(disable=["span_marker"]):
        assert not nlp(TEXT).ents
    assert nlp(TEXT).ents


def test_another_pipeline_can_share_the_component(nlp):
    other = spacy.blank("en")
    other.add_pipe("sentencizer")
    assert isinstance(other.add_pipe("span_marker", source=nlp), SpanMarkerComponent)
    same(ents(other(TEXT)), ents(nlp(TEXT)))


# Labels, settings and scores, as spaCy asks for them


def test_labels_are_those_of_the_model(checkpoint, model, tmp_path):
    nlp = make(checkpoint)
    component = nlp.get_pipe("span_marker")
    assert nlp.pipe_labels["span_marker"] == ["LOC", "ORG", "PER"] == list(component.labels)
    assert component._model is None  # read from the configuration
    nlp("Paris")
    assert nlp.pipe_labels["span_marker"] == ["LOC", "ORG", "PER"]
    for source in ("no/such/folder", "user/name", str(tmp_path)):
        assert make(source).pipe_labels["span_marker"] == []  # nothing is downloaded
    model.encoder.save_pretrained(tmp_path / "encoder")
    assert make(str(tmp_path / "encoder")).pipe_labels["span_marker"] == []
    (tmp_path / "config.json").write_text("{")
    assert make(str(tmp_path)).pipe_labels["span_marker"] == []


def test_labels_of_rules_are_among_them(tmp_path):
    model = build_model("bert", entity_max_length=3)
    model.rules = Rules([RegexRule("DATE", r"\d{4}")])
    model.save_pretrained(tmp_path)
    nlp = make(str(tmp_path))
    [date] = [entity for entity in nlp("Paris 1937").ents if entity.label_ == "DATE"]
    assert date.text == "1937"
    assert nlp.pipe_labels["span_marker"] == ["LOC", "ORG", "PER", "DATE"]
    assert nlp.get_pipe("span_marker").add_label("DATE") == 0


def test_labels_cannot_be_added(nlp):
    component = nlp.get_pipe("span_marker")
    assert component.add_label("PER") == 0
    with pytest.raises(
        NotImplementedError, match=r"label 'DATE' cannot be added to 'span_marker', .*span_marker\.Train"
    ):
        component.add_label("DATE")


def test_settings_survive_saving(checkpoint, tmp_path):
    settings = {"batch_size": 3, "threshold": {"PER": 0.5, "LOC": 0.4, "ORG": 0.5}, "spans_key": "sm", "exact": True}
    settings |= {"decoding": "nested", "overwrite_entities": True, "relations": False, "relation_threshold": None}
    nlp = make(checkpoint, **settings)
    nlp.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    component = loaded.get_pipe("span_marker")
    assert component.cfg == nlp.get_pipe("span_marker").cfg == {"model": checkpoint, "device": "cpu", **settings}
    config = {name: value for name, value in loaded.config["components"]["span_marker"].items() if name != "factory"}
    assert config == component.cfg
    assert loaded.meta["labels"]["span_marker"] == list(component.labels) == ["LOC", "ORG", "PER"]
    assert loaded.config["training"]["score_weights"]["ents_f"] == 0.5  # shared with sentences


def gold_docs(nlp, docs, key=None):
    """References that have the spans of documents, but every third one with another label and every fourth left out."""
    for number, doc in enumerate(docs):
        reference = nlp.make_doc(doc.text)
        spans = [Span(reference, span.start, span.end, span.label_) for span in (doc.spans[key] if key else doc.ents)]
        spans = [
            Span(reference, span.start, span.end, "PER" if (number + place) % 3 == 0 else span.label_)
            for place, span in enumerate(spans)
            if place % 4 != 3
        ]
        if key:
            reference.spans[key] = spans
        else:
            reference.ents = spans
        yield reference


def as_set(docs, key=None):
    return {
        (place, span.start, span.end, span.label_)
        for place, doc in enumerate(docs)
        for span in (doc.spans[key] if key else doc.ents)
    }


@pytest.mark.parametrize("key", [None, "sm"])
def test_evaluation_gives_precision_recall_and_f1(checkpoint, key):
    nlp = make(checkpoint, **({"spans_key": key, "decoding": "overlapping", "threshold": 0.3} if key else {}))
    docs = list(nlp.pipe(LINES))
    references = list(gold_docs(nlp, docs, key))
    scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in references])
    name = f"spans_{key}" if key else "ents"
    predicted, gold = as_set(docs, key), as_set(references, key)
    labels = {span[3] for span in predicted | gold}
    assert set(scores[f"{name}_per_type"]) == labels == {"ORG", "PER"}
    for label in (None, *labels):
        own = [{span for span in spans if label in (None, span[3])} for spans in (predicted, gold)]
        found = scores[f"{name}_per_type"][label] if label else {of: scores[f"{name}_{of}"] for of in "prf"}
        num_right = len(own[0] & own[1])
        assert num_right or label
        assert found["p"] == pytest.approx(num_right / len(own[0]) if own[0] else 0)
        assert found["r"] == pytest.approx(num_right / len(own[1]) if own[1] else 0)
        assert found["f"] == pytest.approx(2 * num_right / (len(own[0]) + len(own[1])))
    unannotated = nlp.evaluate([Example(nlp.make_doc(LINES[0]), nlp.make_doc(LINES[0]))])
    assert unannotated[f"{name}_f"] is None


@pytest.mark.slow
def test_the_command_line_of_spacy_evaluates(nlp, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    references = list(gold_docs(nlp, nlp.pipe(LINES)))
    DocBin(docs=references).to_disk(tmp_path / "dev.spacy")
    command = [sys.executable, "-m", "spacy", "benchmark", "accuracy", "pipeline", "dev.spacy", "-o", "scores.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    expected = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in references])
    assert 0 < expected["ents_f"] < 1
    assert scores["ents_f"] == pytest.approx(expected["ents_f"])
    for label, figures in expected["ents_per_type"].items():
        assert scores["ents_per_type"][label] == pytest.approx(figures)
    assert re.search(rf"NER F +{100 * scores['ents_f']:.2f}", done.stdout)


# Processes


def test_several_processes_give_the_same(nlp):
    docs = list(nlp.pipe(TEXTS * 2, n_process=2, batch_size=3))
    for doc, text in zip(docs, TEXTS * 2, strict=True):
        same(ents(doc), ents(nlp(text)))


# Errors


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size=0 must be at least 1"),
        ({"batch_size": "4"}, TypeError, "batch_size='4' must be a whole number"),
        ({"batch_size": 1.5}, ValueError, "batch_size.*1.5 is not"),
        ({"threshold": 2.0}, ValueError, "threshold=2.0 must be from 0 to 1"),
        ({"threshold": {"PER": -1.0}}, ValueError, r"threshold\['PER'\]=-1.0 must be from 0 to 1"),
        ({"threshold": "high"}, ValueError, "threshold.*'high' is not"),
        ({"device": "gpu"}, ValueError, "device='gpu' must be None or a torch device, such as 'cpu' or 'cuda:0'"),
        ({"device": ""}, ValueError, "device='' must be None or a torch device"),
        ({"device": 0}, ValueError, "device.*0 is not"),
        ({"overwrite_entities": "true"}, ValueError, "overwrite_entities.*'true' is not"),
        ({"exact": 1}, ValueError, "exact.*1 is not"),
        ({"decoding": "deep"}, ValueError, "decoding='deep' must be one of .*'flat-optimal'"),
        ({"decoding": "nested"}, ValueError, "decoding='nested' predicts overlapping entities, .* set spans_key"),
        ({"spans_key": 1}, ValueError, "spans_key.*1 is not"),
        ({"model": 1}, ValueError, "model.*1 is not"),
        ({"bach_size": 1}, ValueError, "bach_size.*unexpected argument"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, kind, message):
    with pytest.raises(kind, match=message):
        make(**{"checkpoint": "never/loaded", **settings} if "model" not in settings else {"checkpoint": 1})


def test_a_model_is_needed():
    with pytest.raises(ValueError, match="missing required argument: 'model'"):
        spacy.blank("en").add_pipe("span_marker")


def test_a_model_that_does_not_exist_is_named(tmp_path):
    nlp = make(str(tmp_path / "none"))  # a saved pipeline may have its own by now
    with pytest.raises(OSError, match="model='.*none' must be a SpanMarker checkpoint, as a folder or as a name on"):
        nlp(TEXT)


def test_a_device_that_does_not_exist_is_named(checkpoint):
    with pytest.raises(ValueError, match=r"device='cuda:99' cannot be used: "):
        make(checkpoint, device="cuda:99")(TEXT)


def test_a_gpu_is_used_if_there_is_one(checkpoint, monkeypatch):
    moved_to = []
    for is_available, device in ((True, None), (False, None), (True, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_available=is_available: is_available)
        component = make(checkpoint, device=device).get_pipe("span_marker")
        monkeypatch.setattr("span_marker.SpanMarkerModel.to", lambda self, device: moved_to.append(device) or self)
        assert component.span_marker
    assert moved_to == ["cuda", "cpu", "cpu"]
