"""Haystack, LangChain and LlamaIndex get from their components what `predict` finds. Importing them takes seconds."""

import asyncio
import json
import pickle
import sys
from importlib import import_module

import pytest
from helpers import approximately, check_margin
from tiny import SENTENCES, build_model

pytestmark = pytest.mark.slow

TEXTS = [" ".join(words) for words in SENTENCES]


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "model"
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def expected(model):
    within = check_margin(model, TEXTS)
    entities = model.predict(TEXTS, is_split_into_words=False)
    assert any(entities)
    assert json.loads(json.dumps(entities)) == entities
    return approximately(entities, within)


def test_haystack(folder, expected):
    from haystack import Document, Pipeline

    from span_marker.integrations.haystack import SpanMarkerExtractor

    documents = [Document(content=text, meta={"page": page, "relations": "none"}) for page, text in enumerate(TEXTS)]
    pipeline = Pipeline()
    pipeline.add_component("extractor", SpanMarkerExtractor(folder, batch_size=2))
    found = pipeline.run({"extractor": {"documents": documents}})["extractor"]["documents"]
    assert [document.meta["entities"] for document in found] == expected
    assert [(new.id, new.content, new.meta["relations"], new.meta["page"]) for new in found] == [
        (old.id, old.content, "none", page) for page, old in enumerate(documents)
    ]
    assert all("entities" not in document.meta for document in documents)
    assert [Document.from_dict(json.loads(json.dumps(document.to_dict()))) for document in found] == found


def test_a_haystack_pipeline_is_saved(folder):
    from haystack import Document, Pipeline

    from span_marker.integrations.haystack import SpanMarkerExtractor

    pipeline = Pipeline()
    pipeline.add_component("extractor", SpanMarkerExtractor(folder, threshold=0.01, on_error="column"))
    loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=["span_marker.integrations.haystack"])
    assert loaded.dumps() == pipeline.dumps()
    loaded.warm_up()
    documents = [Document(content=TEXTS[0]), Document(content=None, id="empty")]
    results = [one.run({"extractor": {"documents": documents}}) for one in (loaded, pipeline)]
    assert results[0] == results[1]
    good, bad = results[0]["extractor"]["documents"]
    assert "error" not in good.meta
    assert bad.meta == {"entities": [], "error": "document 'empty': text must be a string, not NoneType"}
    with pytest.raises(TypeError, match="document 'empty': text must be a string"):
        SpanMarkerExtractor(folder).run(documents)
    with pytest.raises(TypeError, match="predict has no option 'treshold'"):
        SpanMarkerExtractor(folder, treshold=0.5)


def test_langchain(folder, expected):
    from langchain_core.documents import Document
    from langchain_core.runnables import RunnableLambda

    from span_marker.integrations.langchain import SpanMarkerTransformer

    documents = [
        Document(text, id=str(page), metadata={"page": page, "relations": "none"}) for page, text in enumerate(TEXTS)
    ]
    transformer = SpanMarkerTransformer(folder, batch_size=2)
    for found in (
        transformer.transform_documents(documents),
        asyncio.run(transformer.atransform_documents(documents)),
        RunnableLambda(transformer.transform_documents).invoke(documents),
    ):
        assert [document.metadata["entities"] for document in found] == expected
        assert [(new.id, new.page_content, new.metadata["relations"], new.metadata["page"]) for new in found] == [
            (str(page), text, "none", page) for page, text in enumerate(TEXTS)
        ]
        assert [Document.model_validate_json(document.model_dump_json()) for document in found] == found
    assert all("entities" not in document.metadata for document in documents)


def test_llama_index(folder, expected):
    from llama_index.core.schema import Document, MetadataMode, TextNode

    from span_marker.integrations.llama_index import SpanMarkerExtractor

    extractor = SpanMarkerExtractor(folder, {"batch_size": 2}, in_place=False)
    for kind in (TextNode, Document):
        nodes = [kind(text=text, metadata={"page": page, "relations": "none"}) for page, text in enumerate(TEXTS)]
        for found in (
            extractor(nodes),
            asyncio.run(extractor.acall(nodes)),
            pickle.loads(pickle.dumps(extractor))(nodes),
        ):
            assert [node.metadata["entities"] for node in found] == expected
            assert [(node.node_id, node.text, node.metadata["page"]) for node in found] == [
                (node.node_id, text, page) for page, (node, text) in enumerate(zip(nodes, TEXTS, strict=True))
            ]
            for mode in (MetadataMode.EMBED, MetadataMode.LLM):
                content = found[0].get_content(mode)
                assert "page: 0" in content, "other metadata is shown"
                assert "entities" not in content
            assert [kind.from_json(node.to_json()) for node in found] == found
        assert all("entities" not in node.metadata for node in nodes)


def test_a_llama_index_pipeline_caches_by_settings(folder, expected):
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import TextNode

    from span_marker.integrations.llama_index import SpanMarkerExtractor

    first = IngestionPipeline(transformations=[SpanMarkerExtractor(folder)])
    other = IngestionPipeline(transformations=[SpanMarkerExtractor(folder, {"top_k": 2})], cache=first.cache)
    for pipeline, has_labels in ((first, False), (other, True), (first, False)):
        nodes = pipeline.run(nodes=[TextNode(id_=str(page), text=text) for page, text in enumerate(TEXTS)])
        assert any("labels" in entity for node in nodes for entity in node.metadata["entities"]) == has_labels
    assert [node.metadata["entities"] for node in nodes] == expected
    again = SpanMarkerExtractor.from_dict(SpanMarkerExtractor(folder, {"threshold": 0.5}).to_dict())
    assert (again.model, again.settings) == (folder, {"threshold": 0.5})


FORMER = {"entities": [{"label": "X"}], "relations": [{"head": 0, "tail": 0}], "error": "it did not fit", "page": 3}


@pytest.mark.parametrize("on_error", ["raise", "column"])
def test_what_an_earlier_run_has_left_does_not_stay_beside_new_entities(folder, expected, on_error):
    """Relations have indices of entities that are replaced. An error is ours only if that is where errors are said."""
    from haystack import Document
    from langchain_core.documents import Document as LangChainDocument
    from llama_index.core.schema import TextNode

    from span_marker.integrations.haystack import SpanMarkerExtractor
    from span_marker.integrations.langchain import SpanMarkerTransformer
    from span_marker.integrations.llama_index import SpanMarkerExtractor as LlamaIndexExtractor

    kept = {"page": 3, **({"error": FORMER["error"]} if on_error == "raise" else {})}
    text, document = TEXTS[0], Document(content=TEXTS[0], meta=dict(FORMER))
    found = [SpanMarkerExtractor(folder, on_error=on_error).run([document])["documents"][0].meta]
    old = LangChainDocument(text, metadata=dict(FORMER))
    found.append(SpanMarkerTransformer(folder, on_error=on_error).transform_documents([old])[0].metadata)
    for in_place in (False, True):
        node = TextNode(text=text, metadata=dict(FORMER))
        extractor = LlamaIndexExtractor(folder, {"on_error": on_error}, in_place=in_place)
        found.append(extractor([node])[0].metadata)
        assert (node.metadata == FORMER) != in_place
    for metadata in found:
        assert metadata == {**kept, "entities": expected[0]}
    assert document.meta == old.metadata == FORMER


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("haystack", "haystack-ai", "haystack"),
        ("langchain", "langchain-core", "langchain"),
        ("llama_index", "llama-index-core", "llama-index"),
    ],
)
def test_without_the_package_the_error_says_what_to_install(monkeypatch, name, package, extra):
    for module in [module for module in sys.modules if module.split(".")[0] in (name, f"{name}_core")]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in (name, f"{name}_core"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"span_marker.integrations.{name}", raising=False)
    with pytest.raises(ImportError, match=f"which is not installed: pip install {package}, or .* the extra '{extra}'"):
        import_module(f"span_marker.integrations.{name}")
