"""LangChain's QdrantVectorStore against a running server, with OpenAIEmbeddings of the same server.

usage: langchain_store.py URL
"""

import asyncio
import sys

from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant.qdrant import QdrantVectorStoreError
from langchain_qdrant.sparse_embeddings import SparseVector
from qdrant_client import QdrantClient, models

from texts import BANK, BREAD, LYNX, MARTEN, MODEL, TEXTS, sparse


class WordCounts(SparseEmbeddings):
    def embed_query(self, text):
        indices, values = sparse(text)
        return SparseVector(indices=indices, values=values)

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


def embeddings(url):
    # Texts are sent as they are: the class would send tokens of a model of OpenAI's.
    return OpenAIEmbeddings(model=MODEL, base_url=url + "/v1", api_key="none", check_embedding_ctx_length=False)


def contents(documents):
    return [document.page_content for document in documents]


def about(topic):
    return models.Filter(must=[models.FieldCondition(key="metadata.topic", match=models.MatchValue(value=topic))])


def filled(url, name, mode=RetrievalMode.DENSE):
    return QdrantVectorStore.from_texts(
        list(TEXTS),
        embeddings(url),
        metadatas=[{"topic": topic, "number": number} for number, topic in enumerate(TEXTS.values())],
        ids=list(range(1, 5)),
        collection_name=name,
        url=url,
        timeout=60,
        retrieval_mode=mode,
        sparse_embedding=WordCounts(),
        force_recreate=True,
        batch_size=3,
    )


def check_dense(url):
    store = filled(url, "langchain")
    assert contents(store.similarity_search("a wild cat", k=1)) == [LYNX]
    found = store.similarity_search_with_score("a wild cat", k=4)
    scores = [score for _, score in found]
    assert len(found) == 4 and scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1, found
    assert found[0][0].metadata["topic"] == "forest" and found[0][0].metadata["_id"] == 2, found[0]
    relevance = store.similarity_search_with_relevance_scores("a wild cat", k=1)
    assert 0 < relevance[0][1] <= 1, relevance

    assert contents(store.similarity_search("a wild cat", k=4, filter=about("money"))) == [BANK]
    ranged = models.Filter(must=[models.FieldCondition(key="metadata.number", range=models.Range(lt=1))])
    assert contents(store.similarity_search("a wild cat", filter=ranged)) == [BREAD]
    pages = [contents(store.similarity_search("a wild cat", k=2, offset=offset)) for offset in (0, 2)]
    assert sorted(pages[0] + pages[1]) == sorted(TEXTS) and pages[0][0] == LYNX, pages
    certain = store.similarity_search("a wild cat", k=4, score_threshold=scores[0] - 1e-4)
    assert contents(certain) == [LYNX], certain
    exact = store.similarity_search("a wild cat", k=1, search_params=models.SearchParams(exact=True, hnsw_ef=64))
    assert contents(exact) == [LYNX]

    varied = store.max_marginal_relevance_search("animals of the forest", k=3, fetch_k=4, lambda_mult=0.1)
    assert len(set(contents(varied))) == 3 and contents(varied)[0] in (LYNX, MARTEN), varied
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 4, "filter": about("forest")})
    assert sorted(contents(retriever.invoke("animals"))) == sorted([LYNX, MARTEN])

    added = store.add_documents([Document(page_content="Yeast lives on sugar.", metadata={"topic": "kitchen"})])
    assert len(added) == 1 and contents(store.get_by_ids(added)) == ["Yeast lives on sugar."]
    assert len(store.similarity_search("yeast", k=10, filter=about("kitchen"))) == 2
    assert store.delete(added + [2]) is True
    assert contents(store.similarity_search("a wild cat", k=1)) == [MARTEN]
    client = QdrantClient(url=url, timeout=60)
    listed, following = client.scroll("langchain", limit=2)
    rest, end = client.scroll("langchain", limit=2, offset=following)
    assert [point.id for point in listed + rest] == [1, 3, 4] and end is None, (listed, rest)

    again = QdrantVectorStore.from_existing_collection("langchain", embeddings(url), url=url, timeout=60)
    assert contents(again.similarity_search("interest", k=1)) == [BANK]
    try:
        QdrantVectorStore.from_existing_collection("langchain", embeddings(url), url=url, distance=models.Distance.DOT)
        raise AssertionError("the store did not see what the collection is configured for")
    except QdrantVectorStoreError as error:
        assert "COSINE" in str(error), error
    client.delete_collection("langchain")


def check_sparse_and_hybrid(url):
    store = filled(url, "langchain-hybrid", RetrievalMode.HYBRID)
    assert contents(store.similarity_search("the hares at night", k=1)) == [LYNX]
    fusion = models.FusionQuery(fusion=models.Fusion.DBSF)
    assert contents(store.similarity_search("the central bank", k=1, hybrid_fusion=fusion)) == [BANK]
    assert contents(store.similarity_search("the hares at night", k=4, filter=about("kitchen"))) == [BREAD]
    words = QdrantVectorStore.from_existing_collection(
        "langchain-hybrid", url=url, timeout=60, retrieval_mode=RetrievalMode.SPARSE, sparse_embedding=WordCounts()
    )
    assert contents(words.similarity_search("hollow", k=4)) == [MARTEN]
    words.client.delete_collection("langchain-hybrid")


def check_async(url):
    store = filled(url, "langchain-async")

    async def ask():
        await store.aadd_texts(["A fox sleeps in a den."], metadatas=[{"topic": "forest"}], ids=[9])
        return await store.asimilarity_search("fox", k=1)

    assert contents(asyncio.run(ask())) == ["A fox sleeps in a den."]
    store.client.delete_collection("langchain-async")


def main():
    checks = [check_dense, check_sparse_and_hybrid, check_async]
    for check in checks:
        check(sys.argv[1])
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
