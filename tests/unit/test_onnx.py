"""Exported models find what the original does, in every way of using a model; an export that does not is not kept."""

import copy
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from filelock import FileLock
from tiny import COPIES, ENCODERS, SENTENCES, TAGS, TEXT, UNLIKE, build_model

import span_marker.export.onnx
import span_marker.export.tracing
from span_marker import SpanMarkerModel, Trainer, TrainingArguments, fit_pair_filter
from span_marker.encoders.graphs import MarkerGraph, TextGraph
from span_marker.export import ExportReport, export_onnx, export_openvino
from span_marker.export.tracing import SMALL_WEIGHT, quiet
from span_marker.export.verification import TOLERANCE, TOLERANCES, Tolerance, compare_models
from span_marker.graphs.files import ENCODER, FILES, FOLDER, MANIFEST, MARKER_GRAPH, PAIR_GRAPH, TEXT_GRAPH
from span_marker.rules import ListRule, Rules
from span_marker.runtime import ExportedModel

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def hot_filter(model, per_word):
    """Give a model a filter that drops candidates."""
    model.config.candidates_per_word = per_word
    model.add_span_filter()
    with torch.no_grad():
        for parameter in model.span_filter.parameters():
            parameter.normal_(std=0.3)


def build(family, **options):
    """A model with everything in it; with T5, a model without a filter whose spans may have several labels."""
    if family == "t5":
        return build_model(family, labels=["O", "PER", "LOC"], multi_label=True, **options)
    model = build_model(family, reads_tokens=True, letter_case=ENCODERS[family] == "wordpiece", **options)
    hot_filter(model, 1.0)
    return model


def assert_same(found, expected):
    """Entities are equal, and their scores nearly."""
    assert len(found) == len(expected)
    for first, second in zip(found, expected, strict=True):
        assert [{**entity, "score": None} for entity in first] == [{**entity, "score": None} for entity in second]
        scores = [[entity["score"] for entity in entities] for entities in (first, second)]
        assert scores[0] == pytest.approx(scores[1], abs=TOLERANCE)


def with_relations(model):
    """Give a model relations that it finds, and does not find, everywhere."""
    model.add_relations(["lives in", "knows"], symmetric=["knows"], types="any")
    with torch.no_grad():
        model.relation_head.classifier.weight.normal_(std=0.3)
        model.relation_head.classifier.bias.zero_()
    model.config.relation_thresholds = {"knows": 0.4}
    return model


def assert_same_relations(found, expected):
    """The entities, the relations and nearly their scores are equal."""
    assert_same(*([row["entities"] for row in rows] for rows in (found, expected)))
    assert_same(*([row["relations"] for row in rows] for rows in (found, expected)))


def traced_once(tmp_path_factory):
    """The export of BERT with relations, which takes ten seconds: one for all files of tests and their processes."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with FileLock(root / "traced.lock"):
        if not (root / "traced" / FOLDER / MANIFEST).exists():
            export_onnx(with_relations(build("bert")), root / "traced")
    return root / "traced"


@contextmanager
def tracing_nothing(traced):
    """Let exports of the same encoder, with relations or without, take the graphs that were traced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(span_marker.export.onnx, "write_graphs", write_changed(traced, lambda target: None))
        yield


@pytest.fixture(scope="module")
def original():
    model = build("bert")
    model.config.thresholds, model.config.calibration_temperature = {"LOC": 0.2}, 1.3
    model.config.decoding, model.config.word_splitter = "nested", "unicode"
    return model


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    with tracing_nothing(traced_once(tmp_path_factory)):
        export_onnx(original, folder, texts=[TEXT])
    return folder


@pytest.fixture
def exported(folder):
    return SpanMarkerModel.from_pretrained(folder, backend="onnx")


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in ENCODERS if name not in ("bert", *COPIES)])  # see `traced_once`
def test_families_are_exported(family, tmp_path):
    """The graph of pairs is that of candidates, by the same code, with four markers: it is traced for some."""
    model = build(family, num_layers=2)  # the first one and the last; tracing takes time for each
    if family in UNLIKE:
        with_relations(model)
    report = export_onnx(model, tmp_path)
    assert report.max_difference <= TOLERANCE
    assert report.num_entities > 20
    assert (report.num_relations > 10) == (family in UNLIKE)
    exported = SpanMarkerModel.from_pretrained(tmp_path)
    long = [SENTENCES[2] * 20]
    expected, (coverage,) = model.predict(long, return_coverage=True)
    assert coverage.num_windows > 1
    check = assert_same_relations if family in UNLIKE else assert_same
    check(exported.predict(long), expected)


def test_a_folder_is_a_complete_model(folder, exported, original):
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    graphs = {f"{FOLDER}/{name}" for name in (TEXT_GRAPH, "markers.onnx", ENCODER, "heads.safetensors", MANIFEST)}
    assert files == {"config.json", "tokenizer.json", "tokenizer_config.json", "README.md", *graphs}
    assert exported.backend == "onnx"
    assert original.backend == "torch"
    assert SpanMarkerModel.from_pretrained(folder).backend == "onnx"  # it has nothing else
    for name in ("thresholds", "calibration_temperature", "decoding", "word_splitter", "entity_max_length", "exact"):
        assert getattr(exported.config, name) == getattr(original.config, name)
    assert exported.labels == original.labels
    assert exported.max_text_length == original.max_text_length
    assert not [name for name in exported.state_dict() if name.startswith("encoder.") and "_embeddings" not in name]


def test_nothing_of_this_machine_is_in_a_graph(tmp_path_factory):
    folder = traced_once(tmp_path_factory)
    for path in (folder / FOLDER).iterdir():
        contents = path.read_bytes()
        assert b"site-packages" not in contents
        assert str(folder).encode() not in contents


def test_weights_of_both_graphs_are_stored_once(folder, original):
    num_bytes = sum(parameter.nbytes for parameter in original.encoder.parameters())
    assert (folder / FOLDER / ENCODER).stat().st_size < 1.5 * num_bytes


def test_the_report_is_kept_beside_the_graphs(folder):
    manifest = json.loads((folder / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    comparison = manifest["comparison"]
    assert comparison["modes"] == ["filtered", "all"]
    assert comparison["max_difference"] <= TOLERANCE
    assert comparison["num_entities"] > 50
    assert manifest["versions"]["onnxruntime"]


def test_a_report_is_a_table():
    text = str(ExportReport(27, 1000, 50, 1.5e-6, ("filtered", "all"), 1e-7, 0, "float32"))
    assert "1,000 (filtered, all)" in text
    assert "1.5e-06" in text
    assert "entities, all equal" in text
    text = str(ExportReport(27, 1000, 50, 0.1, ("all",), 1e-3, 1, "bfloat16"))
    assert "mean difference (bfloat16)" in text
    assert "all equal" not in text


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_predictions_are_the_same(exported, original, exact, batch_size):
    found, expected = (
        model.predict(SENTENCES, batch_size, exact=exact, top_k=2, threshold=0.1) for model in (exported, original)
    )
    assert_same(
        [[{**e, "labels": None} for e in row] for row in found],
        [[{**e, "labels": None} for e in row] for row in expected],
    )
    assert any(expected)
    assert exported.uses_filter(exact) == (not exact)


def test_streams_windows_and_explanations_are_the_same(exported, original):
    texts = [TEXT, TEXT * 4, "Paris", ""]
    assert_same(list(exported.predict_stream(texts)), list(original.predict_stream(texts)))
    found, expected = (model.predict(texts, return_coverage=True)[1] for model in (exported, original))
    assert found == expected
    assert max(coverage.num_windows for coverage in expected) > 1
    found, expected = (model.explain(TEXT, "Amelia Earhart") for model in (exported, original))
    assert (found.reason, found.words) == (expected.reason, expected.words)


def test_document_context_is_the_same(exported, original):
    rows = Dataset.from_dict(
        {"tokens": SENTENCES, "document_id": [0] * len(SENTENCES), "sentence_id": list(range(len(SENTENCES)))}
    )
    assert_same(exported.predict(rows), original.predict(rows))


def test_other_parts_of_the_library_take_an_exported_model(exported, original):
    from span_marker import analyze_errors, pipeline

    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    found, expected = (analyze_errors(model, data).to_dict() for model in (exported, original))
    assert found["measures"] == expected["measures"]
    found, expected = (pipeline("span-marker", model=model)(["Paris is a city."]) for model in (exported, original))
    assert_same(found, expected)


def test_spacy_takes_an_exported_model(folder, original):
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    nlp.add_pipe("span_marker", config={"model": str(folder), "spans_key": "sc"})
    words = SENTENCES[2]
    doc = nlp(spacy.tokens.Doc(nlp.vocab, words))
    expected = original.predict(words, is_split_into_words=True)
    assert expected
    assert [(span.start, span.end, span.label_) for span in doc.spans["sc"]] == [
        (entity["word_start_index"], entity["word_end_index"], entity["label"]) for entity in expected
    ]


def test_settings_can_be_changed_and_saved(exported, original, tmp_path):
    exported.config.thresholds = {"PER": 0.9}
    exported.save_pretrained(tmp_path)
    again = SpanMarkerModel.from_pretrained(tmp_path, entity_max_length=3, exact=True)
    assert again.config.thresholds == {"PER": 0.9}
    assert again.config.entity_max_length == 3
    expected = copy.deepcopy(original)
    expected.config.thresholds, expected.config.entity_max_length, expected.config.exact = {"PER": 0.9}, 3, True
    assert_same(again.predict(SENTENCES), expected.predict(SENTENCES))


def test_heads_that_change_are_saved(exported, tmp_path):
    with torch.no_grad():
        exported.classifier.bias += 1.0
    exported.save_pretrained(tmp_path)
    assert_same(SpanMarkerModel.from_pretrained(tmp_path).predict(SENTENCES), exported.predict(SENTENCES))


def test_a_checkpoint_and_graphs_do_not_replace_each_other(exported, original, folder, tmp_path):
    original.save_pretrained(tmp_path)
    for write in (lambda: export_onnx(original, tmp_path), lambda: exported.save_pretrained(tmp_path)):
        with pytest.raises(ValueError, match="holds a checkpoint with weights: export the model to a separate folder"):
            write()
    copied = shutil.copytree(folder, tmp_path / "copy")
    original.save_pretrained(copied)
    assert not (copied / FOLDER).exists()  # the graphs need not be those of these weights
    assert SpanMarkerModel.from_pretrained(copied).backend == "torch"


def test_a_filter_for_other_limits_is_left_out_of_a_comparison(original):
    model = copy.deepcopy(original)
    model.config.span_filter = replace(
        model.config.span_filter, threshold=-1.0, entity_max_length=8, candidates_kept=0.5
    )
    model.config.exact, model.config.entity_max_length = True, 3
    with pytest.raises(ValueError, match="was fitted with entity_max_length=8"):
        model.predict("Paris", exact=False)
    assert compare_models(model, model).modes == ("all",)
    model.config.span_filter = replace(model.config.span_filter, entity_max_length=3)
    assert compare_models(model, model).modes == ("filtered", "all")


def test_rules_of_an_earlier_export_do_not_stay(folder, original, tmp_path, monkeypatch):
    monkeypatch.setattr(span_marker.export.onnx, "write_graphs", write_changed(folder, lambda target: None))
    ruled = copy.deepcopy(original)
    ruled.rules = Rules([ListRule("FOOD", ["bread"])])
    export_onnx(ruled, tmp_path)
    assert SpanMarkerModel.from_pretrained(tmp_path).rules is not None
    export_onnx(original, tmp_path)
    assert SpanMarkerModel.from_pretrained(tmp_path).rules is None


def test_openvino_runs_the_same_graphs(folder, original):
    model = SpanMarkerModel.from_pretrained(folder, backend="openvino")
    assert model.backend == "openvino"
    assert compare_models(original, model, [TEXT]).num_entities > 50
    again = pickle.loads(pickle.dumps(model.engine))
    assert again.text_graph.output_shapes == model.engine.text_graph.output_shapes


def test_openvino_may_load_a_graph_again_while_it_runs(folder, original):
    """As two threads of a forked process do."""
    model = SpanMarkerModel.from_pretrained(folder, backend="openvino")
    graph = model.engine.text_graph
    compiled, request, lock = graph._loaded

    def infer(*arguments, **options):
        graph._load()
        return request.infer(*arguments, **options)

    graph._loaded = compiled, SimpleNamespace(infer=infer), lock
    assert_same(model.predict(SENTENCES), original.predict(SENTENCES))
    assert graph._loaded[0] is not compiled


def in_child(model, sentences, queue):
    queue.put(model.predict(sentences))


def test_a_forked_process_loads_the_graphs_again(exported):
    expected = exported.predict(SENTENCES)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=in_child, args=(exported, SENTENCES, queue))
    process.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        process.join(timeout=10)


def refusal_in_child(model, sentences, queue):
    try:
        queue.put(model.predict(sentences))
    except RuntimeError as error:
        queue.put(str(error))


def test_a_forked_process_cannot_use_openvino(folder):
    pytest.importorskip("openvino")
    model = SpanMarkerModel.from_pretrained(folder, backend="openvino")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=refusal_in_child, args=(model, SENTENCES, queue))
    process.start()
    try:
        assert "OpenVINO does not run in a process that was forked" in queue.get(timeout=60)
    finally:
        process.join(timeout=10)


def test_a_graph_can_be_pickled(exported):
    again = pickle.loads(pickle.dumps(exported.engine))
    assert again.text_graph.path == exported.engine.text_graph.path


def test_training_is_refused(exported, tmp_path):
    message = "a model on backend='onnx' cannot be trained: load the checkpoint that it was exported from"
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    arguments = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    with pytest.raises(ValueError, match=message):
        Trainer(exported, arguments, train_dataset=data)
    metrics = Trainer(exported, arguments, eval_dataset=data).evaluate()
    assert "eval_overall_f1" in metrics


def write_changed(folder, change):
    """Stand in for the tracing of a graph: write another one's files, with something changed."""

    def write_graphs(encoder, family, max_distance, reads_case, marker_embeds, target, dtype, pair_embeds):
        for name in (TEXT_GRAPH, MARKER_GRAPH, ENCODER, *([] if pair_embeds is None else [PAIR_GRAPH])):
            shutil.copyfile(folder / FOLDER / name, target / name)
        change(target)

    return write_graphs


def scale_weights(target):
    weights = torch.frombuffer(bytearray((target / ENCODER).read_bytes()), dtype=torch.float32)
    (target / ENCODER).write_bytes((weights * 1.01).numpy().tobytes())


def test_only_exporters_are_quiet(caplog, monkeypatch, capsys):
    root = logging.getLogger()
    with caplog.at_level(logging.INFO, "span_marker"), caplog.at_level(logging.INFO):
        state = (root.level, [*root.handlers], [*root.filters])
        with quiet():
            logging.getLogger("torch.onnx.exporter").warning("progress")
            logging.warning("quantizer")
            logging.getLogger("span_marker.export").info("ours")
            logging.getLogger("another").info("another's")
            sys.stdout.write("printed\n")
            with ThreadPoolExecutor(1) as executor:
                executor.submit(logging.info, "another thread's").result()
        assert (root.level, root.handlers, root.filters) == state
        logging.getLogger("torch.onnx.exporter").warning("afterwards")
    assert caplog.messages == ["ours", "another's", "another thread's", "afterwards"]
    assert capsys.readouterr().out == "printed\n"
    monkeypatch.setattr(root, "handlers", [])
    with quiet():
        logging.warning("quantizer")
    assert root.handlers == []


def test_an_export_that_differs_is_not_kept(folder, original, tmp_path, monkeypatch):
    target = tmp_path / "target"
    monkeypatch.setattr(span_marker.export.onnx, "write_graphs", write_changed(folder, lambda target: None))
    export_onnx(original, target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    monkeypatch.setattr(span_marker.export.onnx, "write_graphs", write_changed(folder, scale_weights))
    message = (
        "An export that differs from its model is not kept. Please report this with the type of the encoder, 'bert'"
    )
    for place in (target, tmp_path / "new"):
        with pytest.raises(ValueError, match=message):
            export_onnx(original, place)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert list((tmp_path / "new").iterdir()) == []


def test_a_comparison_sees_scores_entities_and_tokens(original):
    changed = copy.deepcopy(original)
    with torch.no_grad():
        changed.classifier.bias += 0.001 * torch.arange(4)
    with pytest.raises(ValueError, match=r"a probability of the exported model differs by .*e-0[34] from that"):
        compare_models(original, changed)
    with torch.no_grad():
        changed.classifier.bias[0] -= 2.0
    with pytest.raises(ValueError, match="the exported model finds .* and the original finds"):
        compare_models(original, changed)
    changed.tokenizer = build_model("roberta").tokenizer
    with pytest.raises(ValueError, match="the exported model reads text differently"):
        compare_models(original, changed)


@pytest.fixture
def _traced_before(folder, monkeypatch):
    """Graphs are not traced, but read: `write_graphs` does with them what it does with any."""
    onnx_ir = pytest.importorskip("onnx_ir")
    names = {TextGraph: TEXT_GRAPH, MarkerGraph: MARKER_GRAPH}
    monkeypatch.setattr(
        span_marker.export.tracing, "_trace", lambda graph, *rest: onnx_ir.load(folder / FOLDER / names[type(graph)])
    )


@pytest.fixture
def _may_hesitate(monkeypatch):
    """Models with large random weights hesitate everywhere, more than an export in bfloat16 may change."""
    monkeypatch.setitem(TOLERANCES, "bfloat16", Tolerance(0.2, 0.02, 0.1))


@pytest.mark.usefixtures("_may_hesitate", "_traced_before")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_take_half_the_space(original, folder, tmp_path, dtype):
    report = export_onnx(original, tmp_path, dtype=dtype)
    assert (tmp_path / FOLDER / ENCODER).stat().st_size < 0.55 * (folder / FOLDER / ENCODER).stat().st_size
    manifest = json.loads((tmp_path / FOLDER / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["dtype"] == manifest["comparison"]["dtype"] == report.dtype == dtype
    assert 0 < report.mean_difference <= TOLERANCES[dtype].mean
    rounded = copy.deepcopy(original)  # what was stored is the nearest value in that format, and nothing else changed
    embeddings, marker_ids = rounded.get_input_embeddings().weight, rounded._marker_ids(rounded.device)
    markers = embeddings[marker_ids].clone()  # which stand with the heads
    with torch.no_grad():
        for parameter in rounded.encoder.parameters():
            if parameter.nbytes > SMALL_WEIGHT:
                parameter.copy_(parameter.to(getattr(torch, dtype)))
        embeddings[marker_ids] = markers
    assert compare_models(rounded, SpanMarkerModel.from_pretrained(tmp_path), dtype="float32").num_entities > 50


def test_an_export_that_changes_too_much_for_its_format_is_refused(original, monkeypatch):
    changed = copy.deepcopy(original)
    with torch.no_grad():
        changed.classifier.bias[0] -= 0.1
    with pytest.raises(ValueError, match="the exported model finds .* and the original finds"):
        compare_models(original, changed)
    report = compare_models(original, changed, dtype="bfloat16")
    assert report.num_changed > 0
    share = report.num_changed / (2 * report.num_entities + report.num_changed)  # about, and at most, the real one
    refusals = {
        Tolerance(report.max_difference / 2, 1, 1): "a probability of the exported model differs by .* for bfloat16",
        Tolerance(1, report.mean_difference / 2, 1): "probabilities of the exported model differ on average by",
        Tolerance(1, 1, share / 2): r"only one of the two: \d+.\d%, more than .*% for bfloat16. Export it with",
    }
    for tolerance, message in refusals.items():
        monkeypatch.setitem(TOLERANCES, "bfloat16", tolerance)
        with pytest.raises(ValueError, match=message):
            compare_models(original, changed, dtype="bfloat16")


@pytest.mark.usefixtures("_may_hesitate", "_traced_before")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_openvino_is_what_runs_an_export_for_it(original, tmp_path, dtype):
    report = export_openvino(original, tmp_path, dtype=dtype)
    model = SpanMarkerModel.from_pretrained(tmp_path)
    assert model.backend == "openvino"
    assert report.dtype == model.engine.marker_graph.precision == dtype


def test_what_cannot_be_exported_is_refused(exported, original, tmp_path):
    with pytest.raises(ValueError, match=r"dtype='int8' must be one of \['float32', 'float16', 'bfloat16'\]"):
        export_onnx(original, tmp_path, dtype="int8")
    with pytest.raises(TypeError, match=r"model must be a SpanMarkerModel, not str: SpanMarkerModel.from_pretrained"):
        export_onnx("my-model", tmp_path)
    with pytest.raises(
        ValueError, match="the model runs on backend='onnx', so it is exported already: copy its folder"
    ):
        export_onnx(exported, tmp_path)
    with pytest.raises(TypeError, match="texts must be a list of texts, not a single string"):
        export_onnx(original, tmp_path, texts="Paris")
    with pytest.raises(TypeError, match="item 1 of texts must be a string, not list"):
        compare_models(original, exported, ["Paris", ["Paris", "is"]])
    with pytest.raises(ValueError, match="an encoder of type 'bert' on the dense engine cannot be exported"):
        export_onnx(build_model(engine="dense"), tmp_path)
    with pytest.raises(
        ValueError, match="must be in float32 on the CPU.*bfloat16 on cpu.*load it with dtype='float32'"
    ):
        export_onnx(build_model().bfloat16(), tmp_path)


@pytest.fixture(scope="module")
def related(tmp_path_factory):
    """A model with relations and a pair filter, its export, and the report."""
    model, folder = with_relations(build("bert")), tmp_path_factory.mktemp("related")
    texts = [" ".join(words) for words in SENTENCES] + TEXT.strip().splitlines()
    fit_pair_filter(model, texts, texts * 5, recall=0.5)  # drops many
    with tracing_nothing(traced_once(tmp_path_factory)):
        return model, folder, export_onnx(model, folder)


LONG_TEXT = [" ".join(SENTENCES[2] * 12)]
"""It has windows, and more pairs than are scored at once."""


@pytest.mark.parametrize("kind", [SpanMarkerModel, ExportedModel])
@pytest.mark.parametrize("options", [{}, {"exact": True}, {"relation_threshold": 0.2, "batch_size": 1}], ids=str)
def test_an_export_finds_relations(related, kind, options):
    original, folder, _ = related
    model = kind.from_pretrained(folder)
    for inputs in (SENTENCES, TEXT.strip().splitlines(), LONG_TEXT):
        expected = original.predict(inputs, **options)
        assert any(row["relations"] for row in expected)
        _, coverages = original.predict(inputs, return_coverage=True, **options)
        assert any(coverage.num_unlikely_pairs for coverage in coverages) == ("exact" not in options)
        assert_same_relations(model.predict(inputs, **options), expected)
        assert_same(model.predict(inputs, relations=False), original.predict(inputs, relations=False))
    assert_same_relations([model.predict("")], [original.predict("")])


def test_relations_are_compared_before_an_export_is_kept(related, tmp_path, monkeypatch):
    original, folder, report = related
    assert report.num_relations > 10
    assert report.num_pairs > 10
    assert "relations, all equal" in str(report)
    exported = SpanMarkerModel.from_pretrained(folder)
    with torch.no_grad():
        exported.relation_head.classifier.weight[1, 0] += 1
    with pytest.raises(
        ValueError, match=r"finds .* and the original finds|a probability of the exported model differs"
    ):
        compare_models(original, exported)
    with torch.no_grad():
        exported.relation_head.classifier.weight[1, 0] = float("nan")
    with pytest.raises(ValueError, match="exported model"):
        compare_models(original, exported)


def test_pairs_of_entities_that_both_find_are_compared_although_others_differ(related, monkeypatch):
    """In 16 bits, a sentence with another entity must not hide the pairs of its batch."""
    original, *_ = related
    changed = copy.deepcopy(original)
    with torch.no_grad():
        changed.classifier.bias[0] -= 0.1
    monkeypatch.setitem(TOLERANCES, "bfloat16", Tolerance(1, 1, 1))
    same, report = (compare_models(original, model, dtype="bfloat16") for model in (original, changed))
    assert 0 < report.num_changed < 0.05 * same.num_entities
    assert 0.9 * same.num_pairs < report.num_pairs < same.num_pairs


def test_pairs_are_compared_although_no_entities_are_found(related):
    _, folder, _ = related
    original, exported = (SpanMarkerModel.from_pretrained(folder) for _ in range(2))
    with torch.no_grad():
        for model in (original, exported):
            model.classifier.bias[model.config.outside_id] = 100
        report = compare_models(original, exported)
        assert (report.num_entities, report.num_relations) == (0, 0)
        assert report.num_pairs > 10
        exported.relation_head.classifier.weight[1, 0] += 1
    with pytest.raises(ValueError, match="a probability of the exported model differs"):
        compare_models(original, exported)


def test_an_export_without_relations_leaves_no_graph_of_others(original, related, folder, tmp_path, monkeypatch):
    for name in ("exported", "saved"):
        shutil.copytree(related[1], tmp_path / name)
    monkeypatch.setattr(span_marker.export.onnx, "write_graphs", write_changed(folder, lambda target: None))
    export_onnx(original, tmp_path / "exported")
    SpanMarkerModel.from_pretrained(tmp_path / "exported").save_pretrained(tmp_path / "saved")
    for name in ("exported", "saved"):
        assert {path.name for path in (tmp_path / name / FOLDER).iterdir()} == {*FILES, MANIFEST}


def test_an_export_with_relations_is_saved_and_refuses_others(related, tmp_path):
    _, folder, _ = related
    exported = SpanMarkerModel.from_pretrained(folder)
    exported.save_pretrained(tmp_path / "again")
    again = SpanMarkerModel.from_pretrained(tmp_path / "again")
    assert_same_relations(again.predict(SENTENCES), exported.predict(SENTENCES))
    with pytest.raises(
        ValueError, match=r"cannot be added to exported graphs \(backend='onnx'\): add them to the checkpoint"
    ):
        exported.add_relations(["sings to"])
    shutil.copytree(folder, tmp_path / "without")
    config = json.loads((folder / "config.json").read_text())
    names = ("relation_labels", "symmetric_relations", "relation_types", "relation_thresholds", "pair_filter")
    (tmp_path / "without" / "config.json").write_text(json.dumps(config | dict.fromkeys(names)))
    for kind in (SpanMarkerModel, ExportedModel):
        with pytest.raises(ValueError, match=r"has a graph for relations \(onnx/pairs.onnx\), but config.json has"):
            kind.from_pretrained(tmp_path / "without")


def test_a_missing_extra_says_what_to_install(original, tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, name, None)
            with pytest.raises(ImportError, match=f"need {name}, which is not installed: pip install onnx onnxscript"):
                export_onnx(original, tmp_path)


def test_the_command_exports(folder, original, tmp_path, monkeypatch, capsys):
    from span_marker_cli.common import load_model
    from span_marker_cli.export import export
    from span_marker_cli.info import info

    original.save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(TEXT)
    monkeypatch.setattr(span_marker.export.onnx, "write_graphs", write_changed(folder, lambda target: None))
    export(str(tmp_path / "model"), tmp_path / "graphs", [tmp_path / "texts.txt"])
    captured = capsys.readouterr()
    assert "entities, all equal" in captured.out
    assert f"saved to {tmp_path / 'graphs'}" in captured.err
    assert_same(load_model(str(tmp_path / "graphs")).predict(SENTENCES), original.predict(SENTENCES))
    info(str(tmp_path / "graphs"), as_json=True)
    facts = json.loads(capsys.readouterr().out)
    num_bytes = sum((tmp_path / "graphs" / FOLDER / name).stat().st_size for name in FILES)
    assert facts["parameters"] is None
    assert facts["megabytes"] == pytest.approx(num_bytes / 1e6, abs=0.05), "not those of the heads alone"
    export(str(tmp_path / "model"), tmp_path / "without texts")
    assert "all equal" in capsys.readouterr().out
