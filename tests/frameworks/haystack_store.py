"""Haystack's QdrantDocumentStore and its retrievers against a running server, with OpenAI's embedders of the same server.

usage: haystack_store.py URL
"""

import sys

from haystack import Document, Pipeline
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.dataclasses import SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret
from haystack_integrations.components.retrievers.qdrant import (
    QdrantEmbeddingRetriever,
    QdrantHybridRetriever,
    QdrantSparseEmbeddingRetriever,
)
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

from texts import BANK, BREAD, LYNX, MARTEN, MODEL, TEXTS, sparse


def open_store(url, name, **options):
    return QdrantDocumentStore(
        url=url, index=name, embedding_dim=384, timeout=60, recreate_index=True, progress_bar=False, **options
    )


def embedder(kind, url):
    options = {"progress_bar": False} if kind is OpenAIDocumentEmbedder else {}
    return kind(model=MODEL, api_base_url=url + "/v1", api_key=Secret.from_token("none"), **options)


def documents(url):
    made = [
        Document(content=text, meta={"topic": topic, "number": number}, sparse_embedding=sparse_embedding(text))
        for number, (text, topic) in enumerate(TEXTS.items())
    ]
    return embedder(OpenAIDocumentEmbedder, url).run(made)["documents"]


def sparse_embedding(text):
    return SparseEmbedding(*sparse(text))


def query_embedding(url, text):
    return embedder(OpenAITextEmbedder, url).run(text)["embedding"]


def contents(found):
    return [document.content for document in found]


def compare(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def check_documents(url):
    store = open_store(url, "haystack", payload_fields_to_index=[{"field_name": "meta.topic", "field_schema": "keyword"}])
    made = documents(url)
    assert store.write_documents(made) == 4 and store.count_documents() == 4
    try:
        store.write_documents(made[:1], policy=DuplicatePolicy.FAIL)
        raise AssertionError("a document was written twice")
    except DuplicateDocumentError:
        pass
    store.write_documents(made[:1], policy=DuplicatePolicy.OVERWRITE)
    # A document need not have an embedding.
    store.write_documents([Document(content="no vector", meta={"topic": "none", "number": 9})])

    for wanted, expected in [
        (compare("meta.topic", "==", "forest"), {LYNX, MARTEN}),
        (compare("meta.topic", "!=", "forest"), {BREAD, BANK, "no vector"}),
        (compare("meta.number", ">=", 2), {BANK, MARTEN, "no vector"}),
        (compare("meta.topic", "in", ["money", "kitchen"]), {BREAD, BANK}),
        (compare("meta.topic", "not in", ["money", "kitchen", "none"]), {LYNX, MARTEN}),
        ({"operator": "AND", "conditions": [compare("meta.topic", "==", "forest"), compare("meta.number", "<", 2)]}, {LYNX}),
        ({"operator": "OR", "conditions": [compare("meta.number", "==", 0), compare("meta.number", ">", 8)]}, {BREAD, "no vector"}),
        ({"operator": "NOT", "conditions": [compare("meta.topic", "==", "forest")]}, {BREAD, BANK, "no vector"}),
    ]:
        found = store.filter_documents(wanted)
        assert set(contents(found)) == expected, (wanted, contents(found))
    assert store.count_documents_by_filter(compare("meta.topic", "==", "forest")) == 2
    assert store.get_metadata_field_min_max("number") == {"min": 0, "max": 9}
    assert store.get_metadata_field_unique_values("topic")[1] == 4

    assert contents(store.get_documents_by_id([made[2].id])) == [BANK]
    assert store.update_by_filter(compare("meta.topic", "==", "money"), {"topic": "banks"}) == 1
    assert contents(store.filter_documents(compare("meta.topic", "==", "banks"))) == [BANK]
    assert store.delete_by_filter(compare("meta.topic", "==", "none")) == 1
    store.delete_documents([made[0].id])
    assert set(contents(store.filter_documents())) == {LYNX, BANK, MARTEN}
    store.delete_all_documents()
    assert store.count_documents() == 0
    store.close()


def check_pages(url):
    store = open_store(url, "haystack-pages", scroll_size=7, write_batch_size=13)
    assert store.write_documents([Document(content=f"text {i}", embedding=[float(i), *[1.0] * 383]) for i in range(50)]) == 50
    assert sorted(contents(store.filter_documents())) == sorted(f"text {i}" for i in range(50))
    store.delete_all_documents(recreate_index=True)
    assert store.count_documents() == 0
    store.close()


def check_retrievers(url):
    store = open_store(url, "haystack-hybrid", use_sparse_embeddings=True, sparse_idf=True, return_embedding=True)
    store.write_documents(documents(url))
    pipeline = Pipeline()
    pipeline.add_component("embedder", embedder(OpenAITextEmbedder, url))
    pipeline.add_component("retriever", QdrantEmbeddingRetriever(store, top_k=4, return_embedding=True))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    found = pipeline.run({"embedder": {"text": "a wild cat"}})["retriever"]["documents"]
    assert found[0].content == LYNX and len(found) == 4 and len(found[0].embedding) == 384, found
    scores = [document.score for document in found]
    assert scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1, scores

    cat = query_embedding(url, "a wild cat")
    retriever = QdrantEmbeddingRetriever(store, filters=compare("meta.topic", "==", "money"), score_threshold=-1.0)
    assert contents(retriever.run(cat)["documents"]) == [BANK]
    grouped = QdrantEmbeddingRetriever(store, group_by="meta.topic", group_size=1, top_k=3).run(cat)["documents"]
    assert len(grouped) == 3 and contents(grouped)[0] == LYNX and MARTEN not in contents(grouped), grouped
    words = QdrantSparseEmbeddingRetriever(store).run(sparse_embedding("hollow"))["documents"]
    assert contents(words) == [MARTEN] and words[0].sparse_embedding is None, words
    hybrid = QdrantHybridRetriever(store, top_k=2)
    found = hybrid.run(query_embedding=cat, query_sparse_embedding=sparse_embedding("the hares at night"))["documents"]
    assert contents(found)[0] == LYNX, found
    weighted = QdrantHybridRetriever(store, top_k=1, rrf_k=60, rrf_weights=[10.0, 1.0])
    found = weighted.run(query_embedding=cat, query_sparse_embedding=sparse_embedding("central bank"))["documents"]
    assert contents(found) == [BANK], found
    store.close()


def main():
    checks = [check_documents, check_pages, check_retrievers]
    for check in checks:
        check(sys.argv[1])
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
