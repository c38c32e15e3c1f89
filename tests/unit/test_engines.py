"""Both engines against the oracle, and what must not change a result."""

import functools
import random
from dataclasses import replace

import pytest
import torch
from helpers import batch_logits, collate, logit_rounding, rounding
from oracle import as_double, marker_states, sentence_logits
from tiny import ENCODERS, SENTENCES, UNLIKE, build_model

import span_marker.core.packing
import span_marker.encoders.engines
from span_marker.core.packing import marker_passes, similar_lengths
from span_marker.encoders.engines import EngineInput
from span_marker.encoders.packing import Texts
from span_marker.encoders.passes import TextMemory

SINGLE_PRECISION = ("deberta", "deberta-v2", "deberta-v3", "eurobert", "modernbert")
"""Families that compute rotations or factors in single precision, whatever their weights have."""

MODEL_INPUTS = ("input_ids", "attention_mask", "span_tokens", "span_counts")


@pytest.fixture(params=[None, 0, 64], ids=["one-by-one", "small-groups", "large-groups"])
def groups(request, monkeypatch):
    """Attention sentence by sentence as on a CPU, and in padded groups as on an accelerator."""
    if request.param is not None:
        pad_attention(monkeypatch, small_group=request.param)
    return request.param


def pad_attention(monkeypatch, small_group):
    from_mask = Texts.from_mask
    monkeypatch.setattr(Texts, "from_mask", lambda mask, in_groups: from_mask(mask, in_groups=True))
    monkeypatch.setattr(span_marker.core.packing, "SMALL_GROUP", small_group)


def with_passes_of(model, max_markers):
    model.engine = replace(model.engine, max_markers=max_markers)
    return model


def random_sentences(seed):
    vocabulary = "Amelia Paris the of flew 1503 , . Cleopatra unbelievable \u2063 Zürich".split(" ")
    rng = random.Random(seed)
    return [[rng.choice(vocabulary) for _ in range(rng.choice([0, 1, 2, 5, 9, 17]))] for _ in range(6)]


@functools.cache
def single_rounding(family, **options):
    """How far apart rounding sets two class scores of a family's model in single precision."""
    return logit_rounding(build_model(family, entity_max_length=4, **options))


def rounding_in(family, dtype, **options):
    """The same in another precision: it is proportional to eps."""
    is_double = dtype == torch.float64 and family not in SINGLE_PRECISION
    share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps if is_double else 1
    return share * single_rounding(family, **options)


INPUTS = {"plain": SENTENCES, "random": random_sentences(1)}


@functools.cache
@torch.no_grad()
def expected_logits(family, name, **options):
    """What the oracle makes of `INPUTS`, whatever the engine."""
    exact = as_double(build_model(family, entity_max_length=4, **options))
    return [sentence_logits(exact, words) for words in INPUTS[name]]


@torch.no_grad()
def check_logits(family, model, *names):
    """In double precision, where rounding hides nothing, and in single precision, which has kernels of its own."""
    options = {"reads_tokens": model.config.token_state_size is not None, "letter_case": model.config.letter_case}
    exact = as_double(model)
    for name in names:
        expected = expected_logits(family, name, **options)
        for some in (exact, model):
            within = rounding_in(family, some.dtype, **options)
            for logits, reference in zip(batch_logits(some, INPUTS[name]), expected, strict=True):
                torch.testing.assert_close(logits.double(), reference.double(), atol=within, rtol=0)


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_engine_agrees_with_oracle(family, engine):
    model = build_model(family, engine, entity_max_length=4)
    check_logits(family, model, "plain", "random")


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("max_markers", [None, 24])
def test_letter_case_and_a_classifier_of_tokens_agree_with_oracle(family, max_markers):
    model = build_model(family, entity_max_length=4, reads_tokens=True, letter_case=True)
    assert model.tokenizer.drops_case
    check_logits(family, with_passes_of(model, max_markers), "plain", "random")


@pytest.mark.parametrize("family", UNLIKE)
def test_letter_case_agrees_with_oracle_in_the_dense_engine(family):
    check_logits(family, build_model(family, "dense", entity_max_length=4, letter_case=True), "plain", "random")


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize(("small_group", "max_markers"), [(None, 24), (0, 24), (64, None)])
def test_fast_engine_in_groups_and_passes_agrees_with_oracle(family, small_group, max_markers, monkeypatch):
    if small_group is not None:
        pad_attention(monkeypatch, small_group)
    check_logits(family, with_passes_of(build_model(family, "fast", entity_max_length=4), max_markers), "plain")


def gradients(model, logits):
    weights = torch.linspace(-1, 1, model.config.num_labels).double()
    model.zero_grad()
    (torch.cat(logits).tanh() * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@functools.cache
def expected_gradients(family, **options):
    model = as_double(build_model(family, entity_max_length=4, **options))
    return gradients(model, [sentence_logits(model, words) for words in SENTENCES])


def check_gradients(family, engine, max_markers=None, **options):
    model = as_double(build_model(family, engine, entity_max_length=4, **options))
    if max_markers:
        with_passes_of(model, max_markers)
    expected = expected_gradients(family, **options)
    tolerance = 1e-5 if family in SINGLE_PRECISION else 1e-9
    for name, gradient in gradients(model, batch_logits(model, SENTENCES)).items():
        scale = max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(gradient, expected[name], atol=tolerance * scale, rtol=0)


def ways(max_markers):
    """Parameters of tests: each family on both engines, the fast one in several passes; some also in a single one."""
    several = [(family, *way) for family in ENCODERS for way in (("fast", max_markers), ("dense", None))]
    single = [(family, "fast", None) for family in UNLIKE]
    return pytest.mark.parametrize(("family", "engine", "max_markers"), several + single)


@ways(24)
def test_gradients_agree_with_oracle(family, engine, max_markers):
    check_gradients(family, engine, max_markers)


@pytest.mark.parametrize("family", ENCODERS)
def test_gradients_of_new_models_agree_with_oracle(family):
    check_gradients(family, "fast", reads_tokens=True, letter_case=True)


OBSERVED = ([[0, 1, 3, 3], [3, 3, 0, 1], [2, 4, 0, 0], [1, 1, 1, 1]], [], [[2, 2, 1, 0]], [[0, 1, 1, 0]] * 3)
"""Tokens of candidates of four markers, such as the subject and the object of a relation; the last text is empty."""


def candidates_of_four(model):
    """Texts with `OBSERVED`, and markers with embeddings of their own."""
    batch = collate(model, SENTENCES[: len(OBSERVED)])
    generator = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().embedding_dim
    return EngineInput(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"].bool(),
        span_tokens=torch.tensor([tokens for sentence in OBSERVED for tokens in sentence]),
        span_counts=[len(sentence) for sentence in OBSERVED],
        marker_ids=torch.tensor([model.tokenizer.start_marker_id, model.tokenizer.end_marker_id]),
        marker_embeds=torch.randn(4, size, generator=generator, dtype=model.dtype).requires_grad_(),
    )


def with_gradients(model, batch, states):
    """States, and the gradients of something that depends on all of them."""
    model.zero_grad()
    batch.marker_embeds.grad = None
    (states.tanh() * torch.linspace(-1, 1, states.shape[-1], dtype=states.dtype)).sum().backward()
    parameters = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    found = {**parameters, "markers": batch.marker_embeds.grad, "states": states}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


@functools.cache
def expected_of_four(family):
    model = as_double(build_model(family))
    batch = candidates_of_four(model)
    texts = [ids[mask] for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    expected = [
        marker_states(model, text, observed, batch.marker_embeds)
        for text, observed in zip(texts, OBSERVED, strict=True)
        if observed
    ]
    return with_gradients(model, batch, torch.cat(expected))


@ways(12)
def test_candidates_of_four_markers_agree_with_oracle(family, engine, max_markers):
    model = as_double(build_model(family, engine))
    if max_markers:
        with_passes_of(model, max_markers)
    batch, expected = candidates_of_four(model), expected_of_four(family)
    found = with_gradients(model, batch, model.engine.encode(model.encoder, batch))
    assert found.keys() == expected.keys()
    tolerance = 1e-5 if family in SINGLE_PRECISION else 1e-9
    for name, value in found.items():
        scale = max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(value, expected[name], atol=tolerance * scale, rtol=0)


@torch.no_grad()
def test_one_encoding_of_the_texts_serves_candidates_of_any_size(groups):
    model = as_double(build_model("bert", entity_max_length=4))
    inputs = collate(model, SENTENCES[: len(OBSERVED)])
    pairs = model._engine_input(**{name: inputs[name] for name in MODEL_INPUTS})
    fours = candidates_of_four(model)
    texts = model.engine.encode_texts(model.encoder, pairs)
    for batch in (fours, pairs, fours.take(torch.tensor([0, 2, 5])), fours.take(torch.tensor([], dtype=torch.int64))):
        alone = model.engine.encode(model.encoder, batch)
        assert alone.shape == (sum(batch.span_counts), batch.candidate_size, model.encoder.config.hidden_size)
        torch.testing.assert_close(model.engine.encode_markers(model.encoder, batch, texts), alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("max_markers", [24, None], ids=["several-passes", "one-pass"])
def test_gradients_in_groups_agree_with_oracle(max_markers, groups):
    check_gradients("deberta-v3", "fast", max_markers)


@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_a_sentence_alone_gives_what_it_gives_in_a_batch(engine):
    model = as_double(build_model("bert", engine, entity_max_length=5))
    with torch.no_grad():
        together = batch_logits(model, SENTENCES)
        for words, logits in zip(SENTENCES, together, strict=True):
            torch.testing.assert_close(batch_logits(model, [words])[0], logits, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("max_markers", [2, 4, 6, 14, 100])
def test_passes_of_markers_change_nothing(max_markers, groups):
    model = as_double(build_model("roberta", "fast", entity_max_length=5))
    with torch.no_grad():
        whole = batch_logits(model, SENTENCES)
        for one, other in zip(batch_logits(with_passes_of(model, max_markers), SENTENCES), whole, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("max_candidates", [1, 2, 3, 7, 50])
def test_chunks_of_markers_change_nothing_in_the_dense_engine(max_candidates):
    model = as_double(build_model("roberta", "dense", entity_max_length=5))
    with torch.no_grad():
        whole = batch_logits(model, SENTENCES)
        model.engine = replace(model.engine, max_candidates=max_candidates)
        for one, other in zip(batch_logits(model, SENTENCES), whole, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("max_spans", [1, 3, 4, 100])
def test_every_candidate_is_in_one_pass_of_even_size(max_spans):
    for counts in ([0], [5], [0, 2, 0, 7, 1, 0], [1] * 9):
        sizes, covered = [], []
        for start, stop, first, pass_counts in marker_passes(counts, max_spans):
            sentences = [first + place for place, count in enumerate(pass_counts) for _ in range(count)]
            assert len(sentences) == stop - start
            sizes.append(len(sentences))
            covered += zip(range(start, stop), sentences, strict=True)
        expected = [sentence for sentence, count in enumerate(counts) for _ in range(count)]
        assert covered == list(enumerate(expected))
        assert max(sizes, default=0) <= max_spans
        assert max(sizes, default=0) - min(sizes, default=0) <= 1


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
    model = with_passes_of(build_model("bert", "fast", entity_max_length=5), 20)
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
    assert max(markers) <= 20


def test_last_layer_reads_keys_and_values_of_the_text_alone():
    model = with_passes_of(build_model("bert", "fast"), 100)
    rows = []
    layers = model.encoder.encoder.layer
    for layer in layers:
        layer.intermediate.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[1]))
    batch = {name: tensor for name, tensor in collate(model, SENTENCES).items() if name in MODEL_INPUTS}
    with torch.no_grad():
        model(**batch)
    text, markers = int(batch["attention_mask"].sum()), 2 * len(batch["span_tokens"])
    assert rows[: len(layers) - 1] == [text] * (len(layers) - 1)
    assert rows[len(layers) - 1] != text
    assert sum(rows) == text * (len(layers) - 1) + markers * len(layers)


@pytest.mark.parametrize(
    ("family", "max_markers"), [*((family, 24) for family in ENCODERS), *((family, None) for family in UNLIKE)]
)
def test_gradient_checkpointing_gives_the_same_gradients(family, max_markers):
    # With dropout: layers that run again must drop the same entries as layers that keep everything.
    model = with_passes_of(as_double(build_model(family, "fast", entity_max_length=3)), max_markers)
    if family in ("albert", "mpnet"):
        with pytest.raises(ValueError, match="Model does not support gradient checkpointing"):
            model.gradient_checkpointing_enable()
        return
    batch = collate(model, SENTENCES, [[("PER", 0, 2)], [], [("LOC", 8, 9)], [], []])
    inputs = {name: batch[name] for name in (*MODEL_INPUTS, "labels")}
    model.train()
    model.gradient_checkpointing_enable()
    layers = [module for module in model.modules() if hasattr(module, "_gradient_checkpointing_func")]
    runs_again = layers[0]._gradient_checkpointing_func
    found = []
    for checkpoint in (lambda layer, *args, **kwargs: layer(*args, **kwargs), runs_again):
        for layer in layers:
            layer._gradient_checkpointing_func = checkpoint
        model.zero_grad()
        torch.manual_seed(3)
        model(**inputs).loss.backward()
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-12, rtol=1e-9)


@torch.autocast("cpu", dtype=torch.bfloat16)
def probabilities(model, logits_of):
    return torch.cat([logits.float().softmax(-1) for logits in logits_of(model)])


def test_bfloat16_autocast_is_close():
    model = build_model("bert", "fast", entity_max_length=3)
    sentences = [words for words in SENTENCES if words]

    def by_the_book(model):
        return probabilities(model, lambda model: [sentence_logits(model, words) for words in sentences])

    within = rounding(model, by_the_book)  # autocast leaves double precision alone
    with torch.no_grad():
        exact = torch.cat(batch_logits(model, sentences)).softmax(-1)
        rounded = probabilities(model, lambda model: batch_logits(model, sentences))
    assert (exact - rounded).abs().max() < within < 0.1


@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_only_empty_sentences(engine):
    model = build_model("bert", engine)
    batch = collate(model, [[], []], [[], []])
    output = model(**{name: batch[name] for name in (*MODEL_INPUTS, "labels")})
    assert output.logits.shape == (0, 4)
    assert output.loss.item() == 0.0
    output.loss.backward()


def test_padding_at_most_doubles_large_groups(monkeypatch):
    monkeypatch.setattr(span_marker.core.packing, "SMALL_GROUP", 8)
    assert similar_lengths([3, 40, 0, 21, 19, 9, 100, 8, 4, 2]) == [[6], [1, 3], [4], [5, 7], [8, 0, 9]]


@pytest.mark.parametrize("engine", ["fast", "dense"])
def test_order_of_the_sentences_does_not_matter(engine):
    model = as_double(build_model("bert", engine, entity_max_length=4))
    batch = {name: tensor for name, tensor in collate(model, SENTENCES).items() if name in MODEL_INPUTS}
    with torch.no_grad():
        expected = list(torch.split(model(**batch).logits, batch["span_counts"].tolist()))
        reversed_sentences = batch_logits(model, SENTENCES[::-1])
    for one, other in zip(reversed_sentences[::-1], expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_layers_that_share_weights_are_noticed():
    memory = TextMemory(2)
    module = torch.nn.Identity()
    memory.store(module, torch.zeros(1), torch.zeros(1))
    with pytest.raises(RuntimeError, match="its layers share weights"):
        memory.store(module, torch.zeros(1), torch.zeros(1))
