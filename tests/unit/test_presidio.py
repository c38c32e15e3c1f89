"""The recognizer in Presidio's real engines. Importing them takes seconds."""

from pathlib import Path

import pytest
from integration.docs_worker import find_blocks
from quickstart_files import write_quickstart_with_rules

from span_marker import SpanMarkerModel
from span_marker.rules import ListRule, Rules

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "presidio.md"
TEXT = "Cleopatra ruled Egypt with 4095-2609-9393-4932."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    lists = {"person": ["Cleopatra"], "dynasty": ["Ptolemy"], "gpe": ["Egypt"]}
    rules = Rules([ListRule(label, phrases) for label, phrases in lists.items()])
    return write_quickstart_with_rules(tmp_path_factory.mktemp("presidio"), rules)


@pytest.fixture
def model(folder):
    return SpanMarkerModel.from_pretrained(folder / "my-model")


@pytest.fixture
def calls(monkeypatch):
    """The texts of each call of the model."""
    calls = []
    predict = SpanMarkerModel.predict

    def note(self, inputs, *arguments, **options):
        if len(inputs):
            calls.append(list(inputs))
        return predict(self, inputs, *arguments, **options)

    monkeypatch.setattr(SpanMarkerModel, "predict", note)
    return calls


@pytest.fixture
def analyzer(tmp_path):
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

    languages = ["en", "de"]
    for language in languages:
        spacy.blank(language).to_disk(tmp_path / language)
    models = [{"lang_code": language, "model_name": str(tmp_path / language)} for language in languages]
    cards = [CreditCardRecognizer(supported_language=language) for language in languages]
    registry = RecognizerRegistry(recognizers=cards, supported_languages=languages)
    return AnalyzerEngine(registry=registry, nlp_engine=SpacyNlpEngine(models=models), supported_languages=languages)


def make(*arguments, **options):
    from span_marker.integrations.presidio import SpanMarkerRecognizer

    return SpanMarkerRecognizer(*arguments, **options)


def found(results, text=TEXT):
    return sorted((text[result.start : result.end], result.entity_type) for result in results)


def test_it_works_beside_other_recognizers_and_with_the_anonymizer(model, analyzer):
    from presidio_anonymizer import AnonymizerEngine

    make(model).add_to(analyzer)
    results = analyzer.analyze(TEXT, "en", return_decision_process=True)
    card = "4095-2609-9393-4932"
    assert found(results) == [(card, "CREDIT_CARD"), ("Cleopatra", "PERSON"), ("Egypt", "LOCATION")]
    assert {r.analysis_explanation.textual_explanation for r in results if r.entity_type == "PERSON"} == {
        "Identified as person by a rule"
    }
    anonymized = AnonymizerEngine().anonymize(TEXT, analyzer_results=results).text
    assert anonymized == "<PERSON> ruled <LOCATION> with <CREDIT_CARD>."
    assert found(analyzer.analyze(TEXT, "en", entities=["LOCATION"])) == [("Egypt", "LOCATION")]
    assert "PERSON" in analyzer.get_supported_entities("en")


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_batches_are_read_together_and_only_if_needed(model, analyzer, calls, monkeypatch, batch_size):
    from presidio_analyzer import BatchAnalyzerEngine

    monkeypatch.setattr("span_marker.integrations.presidio.TEXTS_AHEAD", 100)
    make(model).add_to(analyzer)
    texts = [f"Cleopatra and {number}" for number in range(150)] + ["Egypt"] * 50
    batches = BatchAnalyzerEngine(analyzer)
    results = batches.analyze_iterator(texts, "en", batch_size=batch_size)
    together = list(calls)
    assert [len(call) for call in together] == ([100, 51] if batch_size == 1 else [151])
    assert [found(row, text) for row, text in zip(results, texts, strict=True)] == [
        found(analyzer.analyze(text, "en"), text) for text in texts
    ]
    calls.clear()
    batches.analyze_iterator(texts, "en", entities=["CREDIT_CARD"])
    batches.analyze_iterator(texts, "de")
    assert calls == []
    [row] = batches.analyze_dict({"names": ["Cleopatra", 7, "Egypt"]}, "en")
    assert [
        found(part, text) for part, text in zip(row.recognizer_results, ["Cleopatra", "7", "Egypt"], strict=True)
    ] == [
        [("Cleopatra", "PERSON")],
        [],
        [("Egypt", "LOCATION")],
    ]
    assert calls == [["Cleopatra", "7", "Egypt"]]


def test_a_model_is_shared_by_languages(model, analyzer, calls):
    from presidio_analyzer import BatchAnalyzerEngine

    for language in ("en", "de"):
        make(model, language).add_to(analyzer)
    for language in ("en", "de"):
        results = BatchAnalyzerEngine(analyzer).analyze_iterator(["Egypt", "Cleopatra"], language)
        assert [len(row) for row in results] == [1, 1]
    assert calls == [["Egypt", "Cleopatra"]] * 2


def test_context_words_and_thresholds_are_those_of_presidio(model, analyzer):
    from presidio_analyzer import RecognizerResult

    recognizer = make(model, context=["queen"])
    recognizer.span_marker.predict = lambda texts, **options: [
        [{"label": "person", "score": 0.4, "char_start_index": 6, "char_end_index": 15}] for _ in texts
    ]
    recognizer.add_to(analyzer)
    [near] = analyzer.analyze("xxxxx Cleopatra", "en", context=["queen"])  # a blank pipeline has no lemmas to look at
    [far] = analyzer.analyze("xxxxx Cleopatra", "en")
    assert far.score == pytest.approx(0.4)
    assert near.score == pytest.approx(0.75)
    assert analyzer.analyze("xxxxx Cleopatra", "en", score_threshold=0.5) == []
    assert isinstance(near, RecognizerResult)


def test_labels_have_the_names_of_presidio_unless_others_are_given(model):
    from span_marker.integrations.presidio import map_labels

    assert make(model).label_mapping == {
        "person": "PERSON",
        "place": "LOCATION",
        "dynasty": "dynasty",
        "gpe": "LOCATION",
    }
    own = make(model, label_mapping={"person": "QUEEN", "gpe": None})
    assert own.supported_entities == ["LOCATION", "QUEEN", "dynasty"]
    assert found(own.analyze(TEXT, None)) == [("Cleopatra", "QUEEN")]
    assert own.analyze(TEXT, ["LOCATION"]) == []
    assert map_labels(["per", "Phone number", "misc"], {"misc": None}) == {
        "per": "PERSON",
        "Phone number": "PHONE_NUMBER",
    }


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"label_mapping": {"PRE": "X"}},
            ValueError,
            r"label_mapping has 'PRE', but the model's labels are \['person'",
        ),
        ({"supported_entities": ["IBAN_CODE"]}, ValueError, "supported_entities has 'IBAN_CODE'"),
        ({"offsets": "utf-8"}, TypeError, "'offsets' cannot be set here"),
        ({"threshold": 2.0}, ValueError, "threshold"),
    ],
)
def test_wrong_settings_are_refused(model, options, error, message):
    with pytest.raises(error, match=message):
        make(model, **options)


def test_the_page_runs(model, tmp_path, monkeypatch):
    model.rules = None
    model.save_pretrained(tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    blocks = find_blocks(PAGE.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(block.source, "presidio.md", "exec"), namespace)
