"""Both engines against the oracle, and what must not change a result."""

import random

import pytest
import torch
from helpers import batch_logits, collate
from oracle import as_double, sentence_logits
from tiny import ENCODERS, SENTENCES, build_model

import span_marker.attention
import span_marker.engines
from span_marker.attention import TextMemory

MODEL_INPUTS = ("input_ids", "attention_mask", "span_tokens", "span_counts")


@pytest.fixture(params=[1, 3, 100], ids=lambda size: f"groups-of-{size}")
def group_size(request, monkeypatch):
    """Attention sentence by sentence as on a CPU, and in padded groups as on an accelerator."""
    memory = span_marker.engines.TextMemory

    def build(lengths, _, device):
        return memory(lengths, request.param, device)

    monkeypatch.setattr(span_marker.engines, "TextMemory", build)
    return request.param


def random_sentences(seed):
    vocabulary = "Amelia Paris the of flew 1503 , . Cleopatra unbelievable \u2063 Zürich".split(" ")
    rng = random.Random(seed)
    return [[rng.choice(vocabulary) for _ in range(rng.choice([0, 1, 2, 5, 9, 17]))] for _ in range(6)]


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_engine_agrees_with_oracle(family, engine):
    model = build_model(family, engine, entity_max_length=4)
    for sentences in (SENTENCES, random_sentences(1), random_sentences(2)):
        with torch.no_grad():
            for words, logits in zip(sentences, batch_logits(model, sentences), strict=True):
                torch.testing.assert_close(logits, sentence_logits(model, words), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ENCODERS)
def test_fast_engine_in_groups_agrees_with_oracle(family, group_size):
    model = build_model(family, "fast", entity_max_length=4)
    with torch.no_grad():
        for words, logits in zip(SENTENCES, batch_logits(model, SENTENCES), strict=True):
            torch.testing.assert_close(logits, sentence_logits(model, words), atol=1e-5, rtol=1e-5)


def gradients(model, logits):
    weights = torch.linspace(-1, 1, model.config.num_labels).double()
    model.zero_grad()
    (torch.cat(logits).tanh() * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def check_gradients(family, engine):
    model = as_double(build_model(family, engine, entity_max_length=4))
    expected = gradients(model, [sentence_logits(model, words) for words in SENTENCES])
    for name, gradient in gradients(model, batch_logits(model, SENTENCES)).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_gradients_agree_with_oracle(family, engine):
    check_gradients(family, engine)


def test_gradients_in_groups_agree_with_oracle(group_size):
    check_gradients("bert", "fast")


@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_a_sentence_alone_gives_what_it_gives_in_a_batch(engine):
    model = as_double(build_model("bert", engine, entity_max_length=5))
    with torch.no_grad():
        together = batch_logits(model, SENTENCES)
        for words, logits in zip(SENTENCES, together, strict=True):
            torch.testing.assert_close(batch_logits(model, [words])[0], logits, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("engine", ["fast", "dense"])
@pytest.mark.parametrize("max_pairs", [1, 2, 3, 7, 50])
def test_chunks_of_markers_change_nothing(engine, max_pairs, group_size):
    model = as_double(build_model("roberta", engine, entity_max_length=5))
    with torch.no_grad():
        whole = batch_logits(model, SENTENCES)
        model.config.marker_max_length = max_pairs
        for one, other in zip(batch_logits(model, SENTENCES), whole, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("engine", ["fast", "dense"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_a_pair_does_not_see_another_pair(engine, dtype, tolerance):
    model = build_model("bert", engine, entity_max_length=3).to(dtype)
    batch = {name: tensor for name, tensor in collate(model, SENTENCES).items() if name in MODEL_INPUTS}
    with torch.no_grad():
        before = model(**batch).logits
        changed = {**batch, "span_tokens": batch["span_tokens"].clone()}
        changed["span_tokens"][4] = torch.tensor([6, 1])
        after = model(**changed).logits
    others = torch.arange(len(before)) != 4
    assert (before[4] - after[4]).abs().max() > 1e-3
    torch.testing.assert_close(after[others], before[others], atol=tolerance, rtol=0)


def test_text_states_are_the_same_with_and_without_markers():
    model = as_double(build_model("bert", "dense", entity_max_length=3))
    batch = collate(model, SENTENCES[:1])
    text = batch["input_ids"].shape[1]
    outputs = []
    hook = model.encoder.register_forward_hook(lambda module, args, output: outputs.append(output.last_hidden_state))
    with torch.no_grad():
        model(**{name: batch[name] for name in MODEL_INPUTS})
        model.encoder(input_ids=batch["input_ids"], position_ids=torch.arange(2, text + 2)[None])
    hook.remove()
    with_markers, without = outputs
    assert with_markers.shape[1] > text
    torch.testing.assert_close(with_markers[:, :text], without, atol=1e-12, rtol=1e-12)


def test_text_is_encoded_once_and_without_padding():
    model = build_model("bert", "fast", entity_max_length=5, marker_max_length=4)
    batch = collate(model, SENTENCES)
    rows = []
    hook = model.encoder.encoder.layer[0].register_forward_pre_hook(lambda module, args: rows.append(args[0].shape))
    with torch.no_grad():
        model(**{name: batch[name] for name in MODEL_INPUTS})
    hook.remove()
    text, *markers = [shape[1] for shape in rows]
    assert text == int(batch["attention_mask"].sum())
    assert sum(markers) == 2 * len(batch["span_tokens"])
    assert len(markers) > 1
    assert max(markers) <= 2 * 4 * len(SENTENCES)


@pytest.mark.parametrize("family", ENCODERS)
def test_gradient_checkpointing_gives_the_same_gradients(family):
    # With dropout: layers that run again must drop the same entries.
    model = as_double(build_model(family, "fast", entity_max_length=3))
    batch = collate(model, SENTENCES, [[("PER", 0, 2)], [], [("LOC", 8, 9)], [], []])
    inputs = {name: batch[name] for name in (*MODEL_INPUTS, "labels")}
    model.train()
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        torch.manual_seed(3)
        model(**inputs).loss.backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-12, rtol=1e-9)


def test_bfloat16_autocast_is_close():
    model = build_model("bert", "fast", entity_max_length=3)
    with torch.no_grad():
        exact = torch.cat(batch_logits(model, SENTENCES)).softmax(-1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = torch.cat(batch_logits(model, SENTENCES)).float().softmax(-1)
    assert (exact - rounded).abs().max() < 0.1


@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_only_empty_sentences(engine):
    model = build_model("bert", engine)
    batch = collate(model, [[], []], [[], []])
    output = model(**{name: batch[name] for name in (*MODEL_INPUTS, "labels")})
    assert output.logits.shape == (0, 4)
    assert output.loss.item() == 0.0
    output.loss.backward()


def test_long_sentences_do_not_unbound_memory(monkeypatch):
    # One long sentence among short ones, in one padded group: no pass holds more than max_pairs of it.
    memory = span_marker.engines.TextMemory
    monkeypatch.setattr(span_marker.engines, "TextMemory", lambda lengths, _, device: memory(lengths, 100, device))
    shapes = []
    attend = span_marker.attention.attend_to_text_and_pair

    def watch(query, *rest):
        shapes.append(query.shape)
        return attend(query, *rest)

    monkeypatch.setattr(span_marker.attention, "attend_to_text_and_pair", watch)
    model = build_model("bert", "fast", entity_max_length=5, marker_max_length=4)
    with torch.no_grad():
        batch_logits(model, [["Paris"]] * 9 + [["Amelia"] * 30])
    assert max(markers for _, _, markers, _ in shapes) == 2 * 4
    assert max(sentences for _, sentences, _, _ in shapes) == 10


def test_layers_that_share_weights_are_noticed():
    memory = TextMemory([2], 1, torch.device("cpu"))
    module = torch.nn.Identity()
    memory.store(module, [])
    with pytest.raises(RuntimeError, match="its layers share weights"):
        memory.store(module, [])
