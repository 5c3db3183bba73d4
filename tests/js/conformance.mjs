// The stock JavaScript client against a running server: collections, points, filters, pages, every kind of query, texts, errors.
//
// usage: node conformance.mjs URL

import assert from "node:assert/strict";
import { QdrantClient } from "@qdrant/js-client-rest";

const MODEL = "sentence-transformers/all-MiniLM-L6-v2";
const client = new QdrantClient({ url: process.argv[2], timeout: 60_000 });

const ids = (points) => points.map((point) => point.id);

async function fails(promise, status, message) {
  const error = await promise.then(
    () => assert.fail("accepted"),
    (error) => error,
  );
  assert.equal(error.status, status, error);
  assert.match(JSON.stringify(error.data), message);
}

async function checkCollections() {
  const name = "js-collections";
  assert.equal(await client.createCollection(name, { vectors: { size: 2, distance: "Cosine" }, metadata: { owner: "me" } }), true);
  assert.equal((await client.collectionExists(name)).exists, true);
  assert.equal((await client.collectionExists("nowhere")).exists, false);
  assert.ok((await client.getCollections()).collections.some((collection) => collection.name === name));
  const { config, status } = await client.getCollection(name);
  assert.deepEqual([config.params.vectors, status], [{ size: 2, distance: "Cosine" }, "green"]);

  await client.updateCollection(name, { metadata: { owner: "you" } });
  assert.deepEqual((await client.getCollection(name)).config.metadata, { owner: "you" });
  await client.updateCollectionAliases({ actions: [{ create_alias: { collection_name: name, alias_name: "js-alias" } }] });
  assert.deepEqual((await client.getCollectionAliases(name)).aliases, [{ alias_name: "js-alias", collection_name: name }]);
  assert.equal((await client.count("js-alias")).count, 0);
  const snapshot = await client.createSnapshot(name);
  assert.deepEqual((await client.listSnapshots(name)).map((one) => one.name), [snapshot.name]);
  assert.equal(await client.deleteSnapshot(name, snapshot.name), true);

  await fails(client.createCollection(name, { vectors: { size: 2, distance: "Cosine" } }), 409, /already exists/);
  assert.equal(await client.recreateCollection(name, { vectors: { size: 3, distance: "Dot" } }), true);
  assert.equal((await client.getCollection(name)).config.params.vectors.size, 3);
  await fails(client.getCollection("nowhere"), 404, /doesn't exist/);
  assert.equal(await client.deleteCollection(name), true);
}

async function checkPoints() {
  const name = "js-points";
  const rome = "0a1b2c3d-0000-4000-8000-00000000000a";
  await client.createCollection(name, { vectors: { size: 4, distance: "Cosine" } });
  const { status } = await client.upsert(name, {
    wait: true,
    points: [
      { id: 1, vector: [0.9, 0.1, 0.1, 0], payload: { city: "Oslo", people: 700_000 } },
      { id: 2, vector: [0.1, 0.9, 0.1, 0], payload: { city: "Bern", people: 140_000 } },
      { id: rome, vector: [0.1, 0.1, 0.9, 0], payload: { city: "Rome", people: 2_800_000 } },
    ],
  });
  assert.equal(status, "completed");
  await client.upsert(name, {
    batch: { ids: [4, 5], vectors: [[0, 0, 0, 1], [0, 0, 1, 1]], payloads: [{ city: "Lima" }, { tags: ["a", "b"] }] },
  });
  await client.createPayloadIndex(name, { field_name: "city", field_schema: "keyword", wait: true });
  await client.createPayloadIndex(name, { field_name: "people", field_schema: "integer", wait: true });

  const found = await client.query(name, { query: [1, 0, 0, 0], limit: 2, with_payload: true, with_vector: true });
  assert.deepEqual([found.points[0].id, found.points[0].payload.city, found.points[0].vector.length], [1, "Oslo", 4]);
  const filter = {
    must: [{ key: "people", range: { gt: 150_000 } }],
    must_not: [{ key: "city", match: { value: "Oslo" } }],
  };
  assert.deepEqual(ids((await client.query(name, { query: [1, 0, 0, 0], filter })).points), [rome]);
  const either = { should: [{ key: "city", match: { any: ["Bern", "Lima"] } }, { has_id: [1] }] };
  assert.equal((await client.count(name, { filter: either, exact: true })).count, 3);
  assert.equal((await client.count(name, { filter: { must: [{ is_empty: { key: "people" } }] } })).count, 2);
  const batch = await client.queryBatch(name, { searches: [{ query: [0, 0, 0, 1], limit: 1 }, { query: 2, limit: 1 }] });
  assert.deepEqual(batch.map((answer) => ids(answer.points)), [[4], [1]]);
  const facet = await client.facet(name, { key: "city", exact: true });
  assert.deepEqual(facet.hits.map((hit) => hit.value).sort(), ["Bern", "Lima", "Oslo", "Rome"]);

  const seen = [];
  let offset;
  do {
    const page = await client.scroll(name, { limit: 2, offset });
    seen.push(...ids(page.points));
    offset = page.next_page_offset;
  } while (offset !== null);
  assert.deepEqual(seen, [1, 2, 4, 5, rome]);
  const ordered = await client.scroll(name, { order_by: { key: "people", direction: "desc" } });
  assert.deepEqual(ids(ordered.points), [rome, 1, 2]);

  await client.setPayload(name, { payload: { visited: true }, points: [1, 2] });
  await client.deletePayload(name, { keys: ["people"], points: [2] });
  await client.overwritePayload(name, { payload: { only: 1 }, points: [4] });
  await client.clearPayload(name, { points: [5] });
  const payloads = (await client.retrieve(name, { ids: [2, 4, 5] })).map((point) => point.payload);
  assert.deepEqual(payloads, [{ city: "Bern", visited: true }, { only: 1 }, {}]);
  await client.batchUpdate(name, {
    operations: [
      { upsert: { points: [{ id: 6, vector: [1, 1, 1, 1] }] } },
      { set_payload: { payload: { city: "Kyiv" }, points: [6] } },
      { delete: { points: [1] } },
    ],
  });
  await client.delete(name, { filter: { must: [{ key: "city", match: { value: "Rome" } }] } });
  assert.deepEqual(ids((await client.scroll(name)).points), [2, 4, 5, 6]);
  await client.deletePayloadIndex(name, "city");
  assert.deepEqual(Object.keys((await client.getCollection(name)).payload_schema), ["people"]);
  await fails(client.query(name, { query: [1] }), 400, /expected dim: 4, got 1/);
  await client.deleteCollection(name);
}

async function checkQueries() {
  const name = "js-queries";
  await client.createCollection(name, {
    vectors: {
      place: { size: 2, distance: "Euclid" },
      tokens: { size: 2, distance: "Dot", multivector_config: { comparator: "max_sim" } },
    },
    sparse_vectors: { words: { modifier: "idf" } },
  });
  await client.upsert(name, {
    points: Array.from({ length: 50 }, (_, id) => ({
      id,
      vector: { place: [id, 0], tokens: [[id, 0], [0, 1]], words: { indices: [id % 5, 100 + id], values: [1, 1] } },
      payload: { group: id % 3, number: id },
    })),
  });
  const query = (body) => client.query(name, body).then((answer) => ids(answer.points));
  assert.deepEqual(await query({ query: [40.2, 0], using: "place", limit: 2 }), [40, 41]);
  assert.deepEqual(await query({ query: [[1, 0]], using: "tokens", limit: 1 }), [49]);
  assert.deepEqual(await query({ query: { indices: [107], values: [1] }, using: "words" }), [7]);
  const prefetch = [
    { query: [7.1, 0], using: "place", limit: 5 },
    { query: { indices: [107], values: [1] }, using: "words", limit: 5 },
  ];
  assert.equal((await query({ prefetch, query: { fusion: "rrf" } }))[0], 7);
  assert.equal((await query({ prefetch, query: { rrf: { k: 60, weights: [1, 2] } } }))[0], 7);
  const recommend = { positive: [10], negative: [9], strategy: "best_score" };
  assert.equal((await query({ query: { recommend }, using: "place", limit: 1 }))[0], 11);
  const discover = { target: [20, 0], context: [{ positive: 19, negative: 45 }] };
  assert.equal((await query({ query: { discover }, using: "place", limit: 1 }))[0], 20);
  const mmr = await query({ query: { nearest: [5, 0], mmr: { diversity: 0.5, candidates_limit: 20 } }, using: "place", limit: 3 });
  assert.equal(mmr[0], 5);
  assert.deepEqual(await query({ query: { order_by: { key: "number", direction: "desc" } }, limit: 2 }), [49, 48]);
  const formula = { sum: ["$score", { mult: [100, { key: "number", match: { value: 9 } }] }] };
  assert.equal((await query({ prefetch: { query: [7, 0], using: "place", limit: 5 }, query: { formula }, limit: 1 }))[0], 9);
  const { groups } = await client.queryGroups(name, { query: [0, 0], using: "place", group_by: "group", limit: 3, group_size: 2 });
  assert.deepEqual(groups.map((group) => [group.id, ids(group.hits)]), [[0, [0, 3]], [1, [1, 4]], [2, [2, 5]]]);
  const { pairs } = await client.searchMatrixPairs(name, { sample: 5, limit: 2, using: "place" });
  assert.equal(pairs.length, 10);
  await client.updateVectors(name, { points: [{ id: 0, vector: { place: [100, 0] } }] });
  await client.deleteVectors(name, { points: [1], vector: ["place"] });
  assert.deepEqual(await query({ query: [101, 0], using: "place", limit: 1 }), [0]);
  assert.deepEqual(Object.keys((await client.retrieve(name, { ids: [1], with_vector: true }))[0].vector).sort(), ["tokens", "words"]);
  await client.deleteCollection(name);
}

async function checkTexts() {
  const name = "js-texts";
  await client.createCollection(name, { vectors: { size: 384, distance: "Cosine" } });
  const texts = ["Bread rises because yeast makes gas.", "The lynx hunts hares at night.", "Rates were raised by the bank."];
  await client.upsert(name, { points: texts.map((text, id) => ({ id, vector: { text, model: MODEL }, payload: { text } })) });
  const { points } = await client.query(name, { query: { text: "a wild cat", model: MODEL }, limit: 1, with_payload: true });
  assert.equal(points[0].payload.text, texts[1]);
  await client.deleteCollection(name);
}

const checks = [checkCollections, checkPoints, checkQueries, checkTexts];
for (const check of checks) {
  await check();
}
console.log(`${checks.length} passed, 0 failed`);
