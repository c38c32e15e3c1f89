"""The two graphs compute what the fast engine does, from tables in place of lengths."""

import numpy as np
import pytest
import torch
from tiny import ENCODERS, LABELS, SENTENCES, build_model

from span_marker.core.packing import POSITION_OFFSET
from span_marker.encoders.engines import EngineInput
from span_marker.encoders.graph_engine import GraphEngine
from span_marker.encoders.graphs import MarkerGraph, TextGraph

MANY = [word for sentence in SENTENCES for word in sentence] * 3
"""A sentence of which few are needed for several passes, and far longer than the others."""


class InTorch:
    """A graph without a runtime: the module itself, which sees only the arrays that a graph would see."""

    def __init__(self, module):
        self.module = module.eval()
        self.shapes = []

    def __call__(self, inputs):
        states = [name for name in inputs if name.startswith("text_states_")]
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name not in states}
        if states:
            tensors["text_states"] = [torch.from_numpy(inputs[f"text_states_{i}"]) for i in range(len(states))]
        self.shapes.append({name: array.shape for name, array in inputs.items()})
        with torch.no_grad():
            outputs = self.module(**tensors)
        return [output.numpy() for output in ((outputs,) if isinstance(outputs, torch.Tensor) else outputs)]


def graph_engine(model, max_distance=None):
    limit = max_distance or model.max_text_length
    family = model.engine.family
    with torch.no_grad():
        marker_embeds = model.get_input_embeddings()(model._marker_ids(model.device))
    graphs = (InTorch(kind(model.encoder, family, limit)) for kind in (TextGraph, MarkerGraph))
    return GraphEngine("test", *graphs, marker_embeds, limit)


def scores(model, sentences, exact=None):
    features = [piece.features() for piece in pieces(model, sentences)]
    logits, kept = model.score(model.preprocessor.collator(features), exact)
    return logits, None if kept is None else kept.tolist()


def pieces(model, sentences):
    from span_marker.preprocessing.inputs import read_inputs

    read, _ = read_inputs(sentences, True)
    return model.preprocessor.pieces(read, model.preprocessor.encode(read))


@pytest.mark.parametrize("family", ENCODERS)
def test_graphs_agree_with_the_fast_engine(family):
    model = build_model(family, reads_tokens=True, letter_case=ENCODERS[family] == "wordpiece")
    for sentences in (SENTENCES, [["Paris"], MANY, MANY[:40], MANY], [["Paris"]]):
        model_engine = model.engine
        expected, _ = scores(model, sentences)
        model.engine = graph_engine(model)
        found, _ = scores(model, sentences)
        model.engine = model_engine
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_graphs_serve_a_filter(multi_label):
    labels = ["O", "PER", "LOC"] if multi_label else LABELS
    model = build_model(labels=labels, multi_label=multi_label, candidates_per_word=0.7)
    model.add_span_filter()
    expected, kept = scores(model, SENTENCES)
    all_scores, all_kept = scores(model, SENTENCES, exact=True)
    model.engine = graph_engine(model)
    assert model.can_filter
    found, found_kept = scores(model, SENTENCES)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found_kept == kept
    assert len(kept) < len(all_scores)
    assert all_kept is None
    torch.testing.assert_close(scores(model, SENTENCES, exact=True)[0], all_scores, atol=1e-4, rtol=1e-4)
    assert len(scores(model, [[]])[0]) == 0


def test_markers_run_in_bounded_passes_and_groups_of_similar_length():
    model = build_model("bert")
    model.engine = engine = graph_engine(model)
    scores(model, [MANY, ["Paris"], MANY[:40]])
    assert len(engine.text_graph.shapes) > 1
    for shapes in engine.text_graph.shapes:
        num_sentences, longest = shapes["table"]
        assert num_sentences * longest <= 2 * shapes["places"][0] or longest <= 64
    for shapes in engine.marker_graph.shapes:
        assert 2 * shapes["span_positions"][0] <= 2048
        num_sentences, longest = shapes["table"]
        assert num_sentences * longest <= 2 * shapes["places"][0] or longest <= 64
    assert len(engine.marker_graph.shapes) > 1


def test_graphs_refuse_longer_texts_than_they_were_made_for():
    model = build_model("t5")
    model.engine = graph_engine(model, max_distance=6)
    assert len(scores(model, [["Paris"]])[0]) == 1
    message = "a text of .* tokens is longer than the 6 that the graphs were exported for: lower model_max"
    with pytest.raises(ValueError, match=message):
        scores(model, SENTENCES)


def test_texts_without_tokens_are_read():
    model = build_model()
    model.engine = engine = graph_engine(model)
    batch = EngineInput(
        torch.zeros(1, 0, dtype=torch.long),
        torch.ones(1, 0, dtype=torch.bool),
        torch.zeros(0, 2, dtype=torch.long),
        [0],
        model._marker_ids(model.device),
    )
    texts = engine.encode_texts(model.encoder, batch)
    assert texts.states.shape == (0, 32)
    assert engine.encode_markers(model.encoder, batch, texts).shape == (0, 2, 32)


def test_inputs_of_graphs_are_arrays_of_fixed_types():
    model = build_model("bert", letter_case=True, reads_tokens=True)
    model.engine = engine = graph_engine(model)
    recorded = {}

    def record(graph):
        def run(inputs):
            recorded.update(inputs)
            return graph(inputs)

        return run

    model.engine = GraphEngine(
        "test", record(engine.text_graph), record(engine.marker_graph), engine.marker_embeds, engine.max_distance
    )
    scores(model, SENTENCES)
    kinds = {name: array.dtype for name, array in recorded.items() if not name.startswith("text_states")}
    floats, masks = {"added_embeds", "marker_embeds"}, {"key_mask", "text_key_mask"}
    for name, kind in kinds.items():
        assert kind == (np.float32 if name in floats else np.bool_ if name in masks else np.int64), name
    assert recorded["position_ids"].min() == POSITION_OFFSET
