"""Models with fewer tokens."""

import pytest
import torch
from helpers import batch_logits
from tiny import ENCODERS, SENTENCES, TEXT, build_model
from torch.testing import assert_close

from span_marker import SpanMarkerModel
from span_marker.compression import prune_vocabulary
from span_marker.compression.vocabulary import needed_ids, pruned_state

TEXTS = [line for line in TEXT.splitlines() if line]


def scores(model):
    """The class scores of all candidates of `SENTENCES`."""
    return torch.cat(batch_logits(model, SENTENCES)).detach()


def tokens(model, text):
    (encoded,) = model.require_tokenizer().encode_texts([text])
    return model.require_tokenizer().tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist())


@pytest.mark.parametrize("family", ENCODERS)
def test_texts_of_the_corpus_are_read_as_before(family):
    model = build_model(family, entity_max_length=3)
    smaller = prune_vocabulary(model, [*SENTENCES, TEXTS[0]])
    assert len(smaller.require_tokenizer()) < len(model.require_tokenizer())
    assert smaller.get_input_embeddings().weight.shape[0] == smaller.config.encoder.vocab_size
    assert tokens(smaller, TEXTS[0]) == tokens(model, TEXTS[0])
    assert_close(scores(smaller), scores(model))


def test_relations_of_the_corpus_stay_what_they_are():
    model = build_model("bert", reads_tokens=True, entity_max_length=3, relation_labels=["knows", "owns"])
    expected = model.predict(SENTENCES, relations=True)
    assert any(result["relations"] for result in expected)
    assert prune_vocabulary(model, SENTENCES).predict(SENTENCES, relations=True) == expected


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_other_texts_are_still_read(family):
    smaller = prune_vocabulary(build_model(family, entity_max_length=3), ["Paris"])
    text = "Pandas quickly flew to Andorra (51 BC)."
    assert "".join(tokens(smaller, text)).translate(str.maketrans("", "", "#\u2581\u0120")) == text.replace(" ", "")
    assert all(entity["span"] in text for entity in smaller.predict(text))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "t5"])
def test_it_is_an_ordinary_checkpoint(family, tmp_path):
    smaller = prune_vocabulary(build_model(family, entity_max_length=3), TEXTS[:1])
    smaller.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.require_tokenizer().tokenizer.get_vocab() == smaller.require_tokenizer().tokenizer.get_vocab()
    assert_close(scores(loaded), scores(smaller))


def test_the_card_says_what_is_left(tmp_path):
    model = build_model("bert", entity_max_length=3)
    model.save_pretrained(tmp_path)
    for original in (model, SpanMarkerModel.from_pretrained(tmp_path)):  # the latter keeps the card that it has
        smaller = prune_vocabulary(original, ["Paris"])
        left, right = len(smaller.require_tokenizer()), len(model.require_tokenizer())
        assert f"- **Vocabulary:** {left:,} of {right:,} tokens" in smaller.generate_model_card()
        assert smaller.config.compression["Vocabulary"].startswith(f"{left:,} of {right:,} tokens")


def test_the_model_itself_stays():
    model = build_model("bert", entity_max_length=3)
    before, num_tokens = scores(model), len(model.require_tokenizer())
    smaller = prune_vocabulary(model, TEXTS[:1])
    with torch.no_grad():
        smaller.get_input_embeddings().weight.zero_()
    assert len(model.require_tokenizer()) == num_tokens
    assert_close(scores(model), before)


def test_merges_lead_to_the_tokens_that_are_kept():
    model = {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5, "ca": 6},
        "merges": [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"], ["c", "a"]],
    }
    kept = needed_ids(model, {5})
    assert kept == [0, 1, 2, 3, 4, 5]
    state = pruned_state({"model": model, "added_tokens": []}, {old: new for new, old in enumerate(kept)})
    assert state["model"]["merges"] == [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"]]
    assert needed_ids(model | {"merges": ["a b", "ab c"]}, {5}) == [0, 1, 2, 3, 5]


def test_bad_input():
    model = build_model("bert")
    with pytest.raises(TypeError, match="item 1 of the texts"):
        prune_vocabulary(model, ["Paris", 3])
    with pytest.raises(TypeError, match="not a single string"):
        prune_vocabulary(model, "Paris is in France.")
    for texts in ([], iter([]), ["", []]):
        with pytest.raises(ValueError, match="no text of the corpus has a word"):
            prune_vocabulary(model, texts)
    with pytest.raises(ValueError, match="type 'Other'"):
        needed_ids({"type": "Other", "vocab": {}}, set())
