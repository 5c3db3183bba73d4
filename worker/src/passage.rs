//! What is answered to a search: points as passages of documents, with what stands around them.

use std::collections::HashMap;

use serde_json::Value;
use twofold_storage::{DOCUMENT_ID, Fetch, Group, METADATA, RankedPoint, Reading, chunk_id};
use twofold_types::api::{ChunkPlace, GroupId, NeighbourChunk, Neighbours, Passage, PassageStages, StageScore};
use twofold_types::{Payload, PointId, ScoredPoint};

use crate::error::Result;
use crate::reranking::TEXT;

/// Groups of points that were read whole as passages, with what `fetch` leaves of their payloads. `stages` says what became of a point
/// after the `vectors` of these names had found it.
pub(crate) fn passages(
    groups: impl Iterator<Item = Group>,
    vectors: &[&str],
    fetch: &Fetch,
    stages: impl Fn(&ScoredPoint) -> PassageStages,
) -> Vec<(Option<GroupId>, Vec<Passage>)> {
    let groups = groups.map(|Group { id, points }| {
        let points = points.into_iter();
        let passages = points.map(|ranked| passage(stages(&ranked.point), ranked, vectors, fetch));
        (id, passages.collect())
    });
    groups.collect()
}

fn passage(stages: PassageStages, ranked: RankedPoint, vectors: &[&str], fetch: &Fetch) -> Passage {
    let RankedPoint { point, ranks } = ranked;
    let payload = point.payload.unwrap_or_default();
    let document_id = payload.get(DOCUMENT_ID).and_then(Value::as_str).map(str::to_owned);
    let metadata = payload.get(METADATA).and_then(Value::as_object);
    let ranked = vectors.iter().zip(ranks).filter_map(|(&name, rank)| {
        let (rank, score) = rank?;
        Some((name.to_owned(), StageScore { rank: rank + 1, score }))
    });
    Passage {
        id: point.id,
        score: point.score,
        place: match document_id {
            Some(_) => place(&payload),
            None => ChunkPlace {
                text: text(&payload),
                ..ChunkPlace::default()
            },
        },
        metadata: metadata.filter(|_| document_id.is_some()).cloned(),
        document_id,
        stages: PassageStages {
            vectors: ranked.collect(),
            ..stages
        },
        highlights: None,
        neighbours: None,
        payload: fetch.part(payload),
        vector: point.vector,
    }
}

/// Where a chunk is in its document, as ingestion has stored it.
fn place(payload: &Payload) -> ChunkPlace {
    let number = |key| payload.get(key).and_then(Value::as_u64);
    let headings = payload.get("headings").and_then(Value::as_array);
    let headings = headings.into_iter().flatten().filter_map(Value::as_str);
    ChunkPlace {
        chunk: number("chunk").and_then(|chunk| chunk.try_into().ok()),
        start: number("start"),
        end: number("end"),
        headings: headings.map(str::to_owned).collect(),
        text: text(payload),
    }
}

fn text(payload: &Payload) -> Option<String> {
    payload.get(TEXT).and_then(Value::as_str).map(str::to_owned)
}

/// Adds to passages of documents the chunks around them, up to `most` on either side.
pub(crate) fn add_neighbours<'a>(
    reading: &Reading<'_>,
    passages: impl Iterator<Item = &'a mut Passage>,
    most: u32,
) -> Result<()> {
    let around = |passage: &Passage| {
        let (document, chunk) = (passage.document_id.clone()?, passage.place.chunk?);
        let ids =
            |chunks: std::ops::Range<u32>| -> Vec<PointId> { chunks.map(|chunk| chunk_id(&document, chunk)).collect() };
        let after = chunk.saturating_add(1);
        Some((
            ids(chunk.saturating_sub(most)..chunk),
            ids(after..after.saturating_add(most)),
        ))
    };
    let passages: Vec<_> = passages
        .filter_map(|passage| around(passage).map(|around| (passage, around)))
        .collect();
    let ids: Vec<PointId> = passages
        .iter()
        .flat_map(|(_, (before, after))| before.iter().chain(after).copied())
        .collect();
    let records = reading.get(&ids, &Fetch::payload_only())?.into_iter();
    let places: HashMap<PointId, ChunkPlace> = records
        .filter_map(|record| Some((record.id, place(&record.payload?))))
        .collect();
    for (passage, (before, after)) in passages {
        let chunks = |ids: Vec<PointId>| -> Vec<NeighbourChunk> {
            let chunk = |id: PointId| {
                Some(NeighbourChunk {
                    id,
                    place: places.get(&id)?.clone(),
                })
            };
            ids.into_iter().filter_map(chunk).collect()
        };
        passage.neighbours = Some(Neighbours {
            before: chunks(before),
            after: chunks(after),
        });
    }
    Ok(())
}
