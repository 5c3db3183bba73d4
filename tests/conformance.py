"""A stock qdrant-client against a running server: collections, points, filters, scrolling, deletion, and text on both sides.

usage: conformance.py URL
"""

import sys
import uuid

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def ids(points):
    return [point.id for point in points]


def check_points(client):
    name = "cities"
    assert client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    assert client.collection_exists(name) and not client.collection_exists("nowhere")
    assert name in [collection.name for collection in client.get_collections().collections]
    rome = str(uuid.uuid4())
    result = client.upsert(
        name,
        points=[
            models.PointStruct(id=1, vector=[0.9, 0.1, 0.1, 0.0], payload={"city": "Oslo", "people": 700_000}),
            models.PointStruct(id=2, vector=[0.1, 0.9, 0.1, 0.0], payload={"city": "Bern", "people": 140_000}),
            models.PointStruct(id=rome, vector=[0.1, 0.1, 0.9, 0.0], payload={"city": "Rome", "people": 2_800_000}),
        ],
    )
    assert result.status == models.UpdateStatus.COMPLETED, result
    client.upsert(
        name,
        points=models.Batch(ids=[4, 5], vectors=[[0, 0, 0, 1], [0, 0, 1, 1]], payloads=[{"city": "Lima"}, {"tags": ["a", "b"]}]),
    )
    client.create_payload_index(name, "city", field_schema=models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(name, "people", field_schema=models.PayloadSchemaType.INTEGER)

    found = client.query_points(name, query=[1.0, 0.0, 0.0, 0.0], limit=2, with_payload=True, with_vectors=True).points
    assert found[0].id == 1 and found[0].payload["city"] == "Oslo" and len(found[0].vector) == 4, found
    big = models.Filter(
        must=[models.FieldCondition(key="people", range=models.Range(gt=150_000))],
        must_not=[models.FieldCondition(key="city", match=models.MatchValue(value="Oslo"))],
    )
    assert ids(client.query_points(name, query=[1.0, 0.0, 0.0, 0.0], query_filter=big).points) == [rome]
    either = models.Filter(
        should=[
            models.FieldCondition(key="city", match=models.MatchAny(any=["Bern", "Lima"])),
            models.HasIdCondition(has_id=[1]),
        ]
    )
    assert client.count(name, count_filter=either).count == 3
    empty = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="people"))])
    assert client.count(name, count_filter=empty).count == 2
    batch = client.query_batch_points(
        name, requests=[models.QueryRequest(query=[0, 0, 0, 1], limit=1), models.QueryRequest(query=2, limit=1)]
    )
    assert ids(batch[0].points) == [4] and ids(batch[1].points) == [1], batch

    page, following = client.scroll(name, limit=2)
    seen = ids(page)
    while following is not None:
        page, following = client.scroll(name, limit=2, offset=following)
        seen += ids(page)
    assert seen == [1, 2, 4, 5, rome], seen

    client.set_payload(name, payload={"visited": True}, points=[1, 2])
    client.delete_payload(name, keys=["people"], points=[2])
    assert client.retrieve(name, ids=[2])[0].payload == {"city": "Bern", "visited": True}
    client.overwrite_payload(name, payload={"only": 1}, points=[4])
    client.clear_payload(name, points_selector=[5])
    assert [point.payload for point in client.retrieve(name, ids=[4, 5])] == [{"only": 1}, {}]

    client.delete(name, points_selector=[1])
    client.delete(name, points_selector=models.FilterSelector(filter=models.Filter(must=[
        models.FieldCondition(key="city", match=models.MatchValue(value="Rome"))
    ])))
    assert client.count(name).count == 3
    info = client.get_collection(name)
    assert info.points_count == 3 and info.status == models.CollectionStatus.GREEN, info
    assert info.payload_schema["city"].data_type == models.PayloadSchemaType.KEYWORD, info.payload_schema
    client.delete_payload_index(name, "city")
    assert "city" not in client.get_collection(name).payload_schema
    assert client.delete_collection(name)


def check_named_vectors(client):
    name = "named"
    client.create_collection(
        name,
        vectors_config={
            "image": models.VectorParams(size=2, distance=models.Distance.EUCLID),
            "title": models.VectorParams(size=3, distance=models.Distance.DOT),
        },
        metadata={"owner": "me"},
    )
    client.upload_points(
        name,
        points=[models.PointStruct(id=i, vector={"image": [i, 0], "title": [0, 0, i]}) for i in range(100)],
        batch_size=16,
        wait=True,
    )
    assert ids(client.query_points(name, query=[40.2, 0.0], using="image", limit=2).points) == [40, 41]
    assert ids(client.query_points(name, query=[0.0, 0.0, 1.0], using="title", limit=1).points) == [99]
    assert client.get_collection(name).config.metadata == {"owner": "me"}
    try:
        client.query_points(name, query=[1.0], using="image")
        raise AssertionError("a vector of the wrong length was accepted")
    except UnexpectedResponse as error:
        assert error.status_code == 400 and b"expected dim: 2, got 1" in error.content, error
    try:
        client.get_collection("nowhere")
        raise AssertionError("a collection that does not exist was found")
    except UnexpectedResponse as error:
        assert error.status_code == 404 and b"doesn't exist" in error.content, error
    client.delete_collection(name)


def check_texts(url):
    # Texts travel to the server, which encodes them.
    client = QdrantClient(url=url, cloud_inference=True, timeout=60)
    name = "texts"
    client.create_collection(name, vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE))
    texts = ["Bread rises because yeast makes gas.", "The lynx hunts hares at night.", "Rates were raised by the bank."]
    client.upsert(
        name,
        points=[
            models.PointStruct(id=i, vector=models.Document(text=text, model=MODEL), payload={"text": text})
            for i, text in enumerate(texts)
        ],
    )
    cat = models.Document(text="a wild cat", model=MODEL)
    found = client.query_points(name, query=cat, with_payload=True, limit=1).points
    assert found[0].payload["text"] == texts[1], found
    # Texts are understood wherever a vector may stand.
    bread = models.Document(text="why dough grows", model=MODEL)
    either = [models.Prefetch(query=cat, limit=1), models.Prefetch(query=bread, limit=1)]
    found = client.query_points(name, prefetch=either, query=models.FusionQuery(fusion=models.Fusion.RRF)).points
    assert sorted(ids(found)) == [0, 1], found
    answers = client.query_batch_points(name, requests=[models.QueryRequest(query=text, limit=1) for text in (cat, bread)])
    assert [ids(answer.points) for answer in answers] == [[1], [0]], answers
    for strategy in models.RecommendStrategy:
        examples = models.RecommendInput(positive=[cat], negative=[bread], strategy=strategy)
        found = client.query_points(name, query=models.RecommendQuery(recommend=examples), limit=1).points
        assert ids(found) == [1], (strategy, found)
    pair = models.ContextPair(positive=cat, negative=bread)
    found = client.query_points(name, query=models.DiscoverQuery(discover=models.DiscoverInput(target=cat, context=[pair]))).points
    assert ids(found)[0] == 1, found
    varied = models.NearestQuery(nearest=cat, mmr=models.Mmr(diversity=0.1))
    assert ids(client.query_points(name, query=varied).points)[0] == 1
    groups = client.query_points_groups(name, group_by="text", query=cat, limit=1).groups
    assert groups[0].id == texts[1], groups

    client.update_vectors(name, points=[models.PointVectors(id=0, vector=cat)])
    assert sorted(ids(client.query_points(name, query=cat, limit=2).points)) == [0, 1]
    batch = models.Batch(ids=[7, 8], vectors=[cat, bread])
    client.batch_update_points(name, update_operations=[models.UpsertOperation(upsert=models.PointsBatch(batch=batch))])
    assert ids(client.query_points(name, query=bread, limit=1).points) == [8]
    client.upload_points(name, points=[models.PointStruct(id=9, vector=models.Document(text="money", model=MODEL))], wait=True)
    assert ids(client.query_points(name, query=models.Document(text="money", model=MODEL), limit=1).points) == [9]
    client.delete_collection(name)


def check_text_kinds(url):
    # A text a vector, each for the model of that vector.
    client = QdrantClient(url=url, cloud_inference=True, timeout=60)
    name = "kinds"
    bm25 = "Qdrant/bm25"
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=384, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    texts = ["Error E1234: the valve is stuck.", "The pump makes a noise.", "Error E9999: no pressure."]
    client.upsert(
        name,
        points=[
            models.PointStruct(
                id=i,
                vector={"dense": models.Document(text=text, model=MODEL), "words": models.Document(text=text, model=bm25)},
            )
            for i, text in enumerate(texts)
        ],
    )
    code = models.Document(text="E9999", model=bm25)
    assert ids(client.query_points(name, query=code, using="words").points) == [2]
    noise = models.Document(text="what is so loud?", model=MODEL)
    assert ids(client.query_points(name, query=noise, using="dense", limit=1).points) == [1]
    ways = [models.Prefetch(query=code, using="words"), models.Prefetch(query=noise, using="dense")]
    found = client.query_points(name, prefetch=ways, query=models.RrfQuery(rrf=models.Rrf(k=60))).points
    assert sorted(ids(found)) == [0, 1, 2] and found[0].id == 2, found
    try:
        client.query_points(name, query=models.Document(text="a", model=bm25), using="dense")
        raise AssertionError("a text for another model than the vector's was accepted")
    except UnexpectedResponse as error:
        assert error.status_code == 400, error
    client.delete_collection(name)


def check_operations(client):
    """What an operator asks by the client: snapshots of everything, telemetry, the cluster."""
    name = "conformance_operations"
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert(name, points=[models.PointStruct(id=i, vector=[i, 1]) for i in range(3)])
    made = client.create_full_snapshot()
    assert made.name in [snapshot.name for snapshot in client.list_full_snapshots()], made
    assert made.size > 0 and made.checksum, made
    assert client.delete_full_snapshot(made.name)
    assert made.name not in [snapshot.name for snapshot in client.list_full_snapshots()]
    for anonymize in (False, True):
        for level in range(4):
            told = client.http.service_api.telemetry(anonymize=anonymize, details_level=level).result
            assert told.collections.number_of_collections >= 1, told
            assert (told.collections.collections is None) == (level == 0), told
    mine = [c for c in client.http.service_api.telemetry(details_level=2).result.collections.collections if c.id == name]
    assert mine[0].shards[0].local.num_points == 3, mine
    assert client.http.distributed_api.cluster_status().result.status == "disabled"
    assert client.http.distributed_api.collection_cluster_info(name).result.shard_count == 1
    assert client.http.distributed_api.cluster_telemetry().result.collections[name].shards[0].replicas[0].num_points == 3
    assert client.http.quotas_api.get_quotas().result.config.enabled is False
    optimizations = client.http.collections_api.get_optimizations(name, _with="queued,completed,idle_segments").result
    assert optimizations.summary.idle_segments == 1 and optimizations.idle_segments[0].points_count == 3, optimizations
    shard = client.create_shard_snapshot(name, 0)
    assert [snapshot.name for snapshot in client.list_shard_snapshots(name, 0)] == [shard.name]
    assert client.recover_shard_snapshot(name, 0, location=shard.name) and client.count(name).count == 3
    assert client.delete_shard_snapshot(name, 0, shard.name)
    client.delete_collection(name)


def check_settings(client):
    """Settings that are changed, and those of text indexes, come back as they were sent."""
    name = "conformance_settings"
    client.create_collection(
        name,
        vectors_config={"d": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sparse_vectors_config={"s": models.SparseVectorParams()},
        hnsw_config=models.HnswConfigDiff(m=32),
    )
    client.update_collection(
        name,
        vectors_config={"d": models.VectorParamsDiff(on_disk=True)},
        sparse_vectors_config={"s": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        hnsw_config=models.HnswConfigDiff(ef_construct=50),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=7),
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)),
        collection_params=models.CollectionParamsDiff(on_disk_payload=True),
    )
    text = models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        ascii_folding=True,
        stopwords=models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["oslo"]),
        stemmer=models.SnowballParams(type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH),
    )
    client.create_payload_index(name, "text", field_schema=text)
    info = client.get_collection(name)
    config = info.config
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct, config.optimizer_config.indexing_threshold) == (32, 50, 7), config
    assert config.params.vectors["d"].on_disk and config.params.vectors["d"].quantization_config.scalar.type == "int8", config
    assert config.params.sparse_vectors["s"].modifier == models.Modifier.IDF, config
    assert info.payload_schema["text"].params == text, info.payload_schema
    client.upsert(name, points=[models.PointStruct(id=1, vector={"d": [1, 0]}, payload={"text": "The café was running"})])
    for sought, found in [("cafes run", 1), ("oslo", 0), ("cafe walks", 0)]:
        condition = models.FieldCondition(key="text", match=models.MatchText(text=sought))
        assert client.count(name, count_filter=models.Filter(must=condition)).count == found, sought
    client.delete_collection(name)


def main():
    url = sys.argv[1]
    client = QdrantClient(url=url, timeout=60)
    checks = [lambda: check_points(client), lambda: check_named_vectors(client), lambda: check_operations(client), lambda: check_settings(client), lambda: check_texts(url), lambda: check_text_kinds(url)]
    for check in checks:
        check()
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
