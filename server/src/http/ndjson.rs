//! Documents as a stream of lines: cut into tasks of bounded size while it is read, so its length does not matter.

use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use twofold_storage::StorageError;
use twofold_types::api::Envelope;
use twofold_types::{CollectionName, Document, StreamAccepted, TaskId};
use twofold_worker::{Result, WorkerError, check_document};

use super::blocking::Api;
use super::documents::{AddOptions, wait_for};
use super::error::ApiError;

/// Documents of a task at most.
const TASK_DOCUMENTS: usize = 1_000;

/// Bytes of lines of a task, about.
const TASK_BYTES: usize = 4 << 20;

/// How long a stream waits for room in the queue. Meanwhile nothing is read, so the sender waits as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it looks whether there is room.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn add(
    api: Api,
    collection: CollectionName,
    options: AddOptions,
    body: axum::body::Body,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let mut stream = Stream {
        lines: Lines::new(api.body_bytes()),
        task: Vec::new(),
        task_bytes: 0,
        accepted: StreamAccepted::default(),
        api,
        collection,
        options,
    };
    if let Err(error) = stream.read(body).await {
        return Err(error.with_accepted(stream.accepted));
    }
    let mut status = StatusCode::ACCEPTED;
    if let Some(wait) = stream.options.wait {
        stream.accepted.tasks = wait_for(&stream.api, &stream.accepted.task_ids, wait).await?;
        if stream.accepted.tasks.iter().all(|task| task.status.is_finished()) {
            status = StatusCode::OK;
        }
    }
    let envelope = Envelope {
        result: stream.accepted,
        status: "ok".to_owned(),
        time: started.elapsed().as_secs_f64(),
    };
    Ok((status, Json(envelope)).into_response())
}

struct Stream {
    api: Api,
    collection: CollectionName,
    options: AddOptions,
    lines: Lines,
    /// The next task.
    task: Vec<Document>,
    task_bytes: usize,
    accepted: StreamAccepted,
}

impl Stream {
    /// Accepts every line up to the first that cannot be.
    async fn read(&mut self, body: axum::body::Body) -> Result<(), ApiError> {
        let mut body = body.into_data_stream();
        loop {
            let read = tokio::select! {
                read = body.next() => read,
                () = self.api.stopping() => {
                    self.flush().await?;
                    return Err(WorkerError::Stopping.into());
                }
            };
            let end = match read {
                Some(Ok(bytes)) => {
                    self.lines.push(&bytes);
                    false
                }
                Some(Err(error)) => {
                    self.flush().await?;
                    return Err(ApiError::new(
                        StatusCode::BAD_REQUEST,
                        format!("the body ended early: {error}"),
                    ));
                }
                None => true,
            };
            while let Some(line) = self.lines.next(end) {
                self.accepted.lines += 1;
                if let Err(error) = self.line(line) {
                    let number = self.accepted.lines;
                    self.flush().await?;
                    return Err(ApiError::new(
                        StatusCode::BAD_REQUEST,
                        format!("Wrong input: line {number}: {error}"),
                    ));
                }
                if self.task.len() >= TASK_DOCUMENTS || self.task_bytes >= TASK_BYTES {
                    self.flush().await?;
                }
            }
            if end {
                return self.flush().await;
            }
        }
    }

    fn line(&mut self, line: Line) -> Result<(), String> {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong(limit) => return Err(format!("it is over the limit of {limit} bytes")),
        };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut document = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
        check_document(&mut document)?;
        self.task.push(document);
        self.task_bytes += line.len();
        Ok(())
    }

    /// Makes a task of what was read.
    async fn flush(&mut self) -> Result<(), ApiError> {
        let documents = std::mem::take(&mut self.task);
        self.task_bytes = 0;
        if documents.is_empty() {
            return Ok(());
        }
        let count = documents.len() as u64;
        let task = self.enqueue(documents).await?;
        self.accepted.task_ids.push(task);
        self.accepted.documents += count;
        Ok(())
    }

    async fn enqueue(&self, documents: Vec<Document>) -> Result<TaskId, ApiError> {
        let documents = std::sync::Arc::new(documents);
        let until = Instant::now() + PATIENCE;
        loop {
            let (name, documents, priority) = (self.collection.clone(), documents.clone(), self.options.priority);
            let accepted = self.api.clone().call(move |engine| {
                let collection = engine.store().collection(&name)?;
                match engine.add_checked_documents(&collection, &documents, priority) {
                    Err(WorkerError::Storage(StorageError::QueueFull { .. })) if Instant::now() < until => Ok(None),
                    accepted => accepted.map(Some),
                }
            });
            match accepted.await? {
                Some(task) => return Ok(task),
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// A line of a stream.
#[derive(Debug, PartialEq)]
enum Line {
    Whole(Vec<u8>),
    /// Longer than so many bytes.
    TooLong(usize),
}

/// Cuts a stream into lines, with at most one line and what was just read in memory.
struct Lines {
    read: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is no end of a line.
    searched: usize,
    limit: usize,
}

impl Lines {
    fn new(limit: usize) -> Self {
        Self {
            read: Vec::new(),
            start: 0,
            searched: 0,
            limit,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.read.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.read.extend_from_slice(bytes);
    }

    /// The next line, where it is there as a whole. At the `end` of the stream that is so without the end of a line.
    fn next(&mut self, end: bool) -> Option<Line> {
        let found = self.read[self.searched..].iter().position(|&byte| byte == b'\n');
        let line = match found {
            Some(length) => self.start..self.searched + length,
            None if self.read.len() - self.start > self.limit => return Some(Line::TooLong(self.limit)),
            None if end && self.start < self.read.len() => self.start..self.read.len(),
            None => {
                self.searched = self.read.len();
                return None;
            }
        };
        if line.len() > self.limit {
            return Some(Line::TooLong(self.limit));
        }
        self.start = (line.end + 1).min(self.read.len());
        self.searched = self.start;
        Some(Line::Whole(self.read[line].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(stream: &[u8], piece: usize, limit: usize) -> Vec<Line> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        let mut pieces = stream.chunks(piece);
        loop {
            let piece = pieces.next();
            lines.push(piece.unwrap_or_default());
            while let Some(line) = lines.next(piece.is_none()) {
                let stop = matches!(line, Line::TooLong(_));
                found.push(line);
                if stop {
                    return found;
                }
            }
            if piece.is_none() {
                return found;
            }
        }
    }

    #[test]
    fn lines_are_the_same_wherever_the_stream_is_cut() {
        for (stream, expected) in [
            ("", vec![]),
            ("one", vec!["one"]),
            ("one\n", vec!["one"]),
            ("one\n\nthree\r\n4", vec!["one", "", "three\r", "4"]),
        ] {
            for piece in 1..6 {
                let expected: Vec<_> = expected
                    .iter()
                    .map(|line| Line::Whole(line.as_bytes().to_vec()))
                    .collect();
                assert_eq!(
                    lines(stream.as_bytes(), piece, 5 + 1),
                    expected,
                    "{stream:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        for piece in 1..20 {
            let found = lines(b"ok\n0123456789", piece, 4);
            assert_eq!(found, [Line::Whole(b"ok".to_vec()), Line::TooLong(4)], "by {piece}");
        }
    }
}
