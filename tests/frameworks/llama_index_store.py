"""LlamaIndex's QdrantVectorStore against a running server, with embeddings of the same server.

usage: llama_index_store.py URL
"""

import asyncio
import sys

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from openai import OpenAI
from qdrant_client import AsyncQdrantClient, QdrantClient

from texts import BANK, BREAD, LYNX, MARTEN, MODEL, TEXTS, sparse


class ServerEmbedding(BaseEmbedding):
    url: str

    def _embed(self, texts, role):
        client = OpenAI(base_url=self.url + "/v1", api_key="none")
        answer = client.embeddings.create(model=MODEL, input=texts, extra_body={"input_type": role})
        return [data.embedding for data in answer.data]

    def _get_text_embedding(self, text):
        return self._embed([text], "document")[0]

    def _get_text_embeddings(self, texts):
        return self._embed(texts, "document")

    def _get_query_embedding(self, query):
        return self._embed([query], "query")[0]

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)


def sparse_texts(texts):
    vectors = [sparse(text) for text in texts]
    return [indices for indices, _ in vectors], [values for _, values in vectors]


def nodes():
    return [
        TextNode(
            id_=f"00000000-0000-4000-8000-00000000000{number}",
            text=text,
            metadata={"topic": topic, "number": number},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"document-{topic}")},
        )
        for number, (text, topic) in enumerate(TEXTS.items())
    ]


def filled(url, name, **options):
    store = QdrantVectorStore(
        name,
        client=QdrantClient(url=url, timeout=60),
        aclient=AsyncQdrantClient(url=url, timeout=60),
        **options,
    )
    context = StorageContext.from_defaults(vector_store=store)
    return store, VectorStoreIndex(nodes(), storage_context=context, embed_model=ServerEmbedding(url=url))


def contents(found):
    return [node.text for node in found]


def filters(*conditions, condition=FilterCondition.AND):
    return MetadataFilters(
        filters=[MetadataFilter(key=key, operator=operator, value=value) for key, operator, value in conditions],
        condition=condition,
    )


def check_dense(url):
    store, index = filled(url, "llama-index")
    found = index.as_retriever(similarity_top_k=4).retrieve("a wild cat")
    scores = [node.score for node in found]
    assert found[0].text == LYNX and len(found) == 4 and scores == sorted(scores, reverse=True), found
    assert found[0].metadata == {"topic": "forest", "number": 1}, found[0]
    assert found[0].node.ref_doc_id == "document-forest", found[0]

    for wanted, expected in [
        (filters(("topic", FilterOperator.EQ, "money")), {BANK}),
        (filters(("topic", FilterOperator.NE, "forest")), {BREAD, BANK}),
        (filters(("number", FilterOperator.GTE, 1), ("number", FilterOperator.LT, 3)), {LYNX, BANK}),
        (filters(("topic", FilterOperator.IN, ["money", "kitchen"])), {BREAD, BANK}),
        (filters(("topic", FilterOperator.NIN, ["money", "kitchen"])), {LYNX, MARTEN}),
        (filters(("topic", FilterOperator.TEXT_MATCH, "kitchen")), {BREAD}),
        (filters(("absent", FilterOperator.IS_EMPTY, None)), set(TEXTS)),
        (filters(("number", FilterOperator.EQ, 0), ("number", FilterOperator.GT, 2), condition=FilterCondition.OR), {BREAD, MARTEN}),
        (filters(("topic", FilterOperator.EQ, "forest"), condition=FilterCondition.NOT), {BREAD, BANK}),
    ]:
        found = index.as_retriever(similarity_top_k=4, filters=wanted).retrieve("a wild cat")
        assert set(contents(found)) == expected, (wanted, contents(found))

    varied = index.as_retriever(
        similarity_top_k=2, vector_store_query_mode=VectorStoreQueryMode.MMR, vector_store_kwargs={"mmr_threshold": 0.5}
    )
    assert len(varied.retrieve("animals of the forest")) == 2
    ids = [node.node_id for node in nodes()]
    assert contents(store.get_nodes(node_ids=ids[2:3])) == [BANK]
    assert len(store.get_nodes(filters=filters(("topic", FilterOperator.EQ, "forest")))) == 2
    assert len(store.get_nodes(limit=3)) == 3

    index.insert_nodes([TextNode(text="A fox sleeps in a den.", metadata={"topic": "forest", "number": 9})])
    assert contents(index.as_retriever(similarity_top_k=1).retrieve("fox")) == ["A fox sleeps in a den."]
    store.delete_nodes(node_ids=ids[:1])
    store.delete("document-forest")
    assert set(contents(store.get_nodes())) == {BANK, "A fox sleeps in a den."}
    again = VectorStoreIndex.from_vector_store(
        QdrantVectorStore("llama-index", client=QdrantClient(url=url)), embed_model=ServerEmbedding(url=url)
    )
    assert contents(again.as_retriever(similarity_top_k=1).retrieve("interest")) == [BANK]
    store.clear()
    assert not store.client.collection_exists("llama-index")


def check_hybrid(url):
    options = {"enable_hybrid": True, "sparse_doc_fn": sparse_texts, "sparse_query_fn": sparse_texts}
    store, index = filled(url, "llama-index-hybrid", **options)
    for mode, query, expected in [
        (VectorStoreQueryMode.HYBRID, "the hares at night", LYNX),
        (VectorStoreQueryMode.SPARSE, "hollow", MARTEN),
        (VectorStoreQueryMode.DEFAULT, "a wild cat", LYNX),
    ]:
        retriever = index.as_retriever(similarity_top_k=2, sparse_top_k=4, vector_store_query_mode=mode)
        found = retriever.retrieve(query)
        assert found[0].text == expected, (mode, contents(found))
    store.clear()


def check_async(url):
    store, index = filled(url, "llama-index-async")

    async def ask():
        found = await index.as_retriever(similarity_top_k=1).aretrieve("a wild cat")
        await store.adelete("document-forest")
        return found, await store.aget_nodes()

    found, left = asyncio.run(ask())
    assert contents(found) == [LYNX] and set(contents(left)) == {BREAD, BANK}
    store.clear()


def main():
    checks = [check_dense, check_hybrid, check_async]
    for check in checks:
        check(sys.argv[1])
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
