//! Vectors on their way in: checked against the parameters of their name, and their form in records.

use twofold_types::{Datatype, Distance, Embedding, EmbeddingKind, EmbeddingSpace, SparseVector, VectorParams};
use twofold_vector::{kernel, round_to_half};

use crate::error::{InvalidInput, Result, StorageError};
use crate::state::{Schema, Slot};

/// Vectors of one multivector at most.
const MAX_ROWS: usize = 16_384;

/// Non-zero dimensions of a sparse vector at most.
const MAX_ENTRIES: usize = 1 << 20;

/// A vector that fits its name, as it is stored: of the right kind and size, finite, rounded to its datatype, and of unit length
/// for Cosine.
pub(crate) fn checked(schema: &Schema, name: &str, embedding: Embedding) -> Result<Embedding, InvalidInput> {
    Ok(finished(schema, name, fitting(schema, name, embedding)?))
}

/// A vector that [fits](fitting) its name, as it is stored.
pub(crate) fn finished(schema: &Schema, name: &str, mut embedding: Embedding) -> Embedding {
    match (schema.params(name), &mut embedding) {
        (Some(params), Embedding::Dense(vector)) => finish(params, vector),
        (Some(params), Embedding::Multi(rows)) => rows.iter_mut().for_each(|row| finish(params, row)),
        _ => {}
    }
    embedding
}

/// A vector of the right kind and size for its name, otherwise as it was sent.
pub(crate) fn fitting(schema: &Schema, name: &str, embedding: Embedding) -> Result<Embedding, InvalidInput> {
    let slot = schema.slot(name)?;
    let limit = |what, received, limit| InvalidInput::Limit { what, received, limit };
    match (slot, embedding) {
        (Slot::Dense(_), Embedding::Dense(vector)) => {
            check_row(schema, name, &vector)?;
            Ok(Embedding::Dense(vector))
        }
        (Slot::Multi(_), Embedding::Dense(vector)) => {
            check_row(schema, name, &vector)?;
            Ok(Embedding::Multi(vec![vector]))
        }
        (Slot::Multi(_), Embedding::Multi(rows)) => {
            if rows.is_empty() {
                return Err(InvalidInput::EmptyMultivector(name.to_owned()));
            }
            if rows.len() > MAX_ROWS {
                return Err(limit("vectors of a multivector", rows.len(), MAX_ROWS));
            }
            rows.iter().try_for_each(|row| check_row(schema, name, row))?;
            Ok(Embedding::Multi(rows))
        }
        (Slot::Sparse(_), Embedding::Sparse(vector)) => {
            if vector.indices().len() > MAX_ENTRIES {
                return Err(limit("indices of a sparse vector", vector.indices().len(), MAX_ENTRIES));
            }
            if !vector.values().iter().all(|value| value.is_finite()) {
                return Err(InvalidInput::NotFinite(name.to_owned()));
            }
            Ok(Embedding::Sparse(vector))
        }
        (slot, embedding) => Err(InvalidInput::VectorKind {
            vector: name.to_owned(),
            expected: slot.kind(),
            received: embedding.kind(),
        }),
    }
}

fn check_row(schema: &Schema, name: &str, vector: &[f32]) -> Result<(), InvalidInput> {
    let expected = schema.params(name).map_or(0, |params| params.size);
    if vector.len() != expected {
        return Err(InvalidInput::Dimension {
            vector: name.to_owned(),
            expected,
            received: vector.len(),
        });
    }
    // All at once: stopping at the first would take longer.
    match vector
        .iter()
        .fold(true, |finite, component| finite & component.is_finite())
    {
        true => Ok(()),
        false => Err(InvalidInput::NotFinite(name.to_owned())),
    }
}

fn finish(params: &VectorParams, vector: &mut [f32]) {
    if params.datatype == Some(Datatype::Uint8) {
        vector
            .iter_mut()
            .for_each(|component| *component = f32::from(*component as u8));
    }
    if params.distance == Distance::Cosine {
        kernel::normalise(vector);
    }
    if params.datatype == Some(Datatype::Float16) {
        vector
            .iter_mut()
            .for_each(|component| *component = round_to_half(*component));
    }
}

/// The rows of a multivector, one after another.
pub(crate) fn flat(rows: &[Vec<f32>]) -> Vec<f32> {
    rows.concat()
}

const VERSION: u8 = 1;

/// The record of a vector: a version byte, then little-endian numbers; of a sparse one first the indices, then as many values.
pub(crate) fn to_bytes(embedding: &Embedding) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let mut put = |components: &[f32]| bytes.extend(components.iter().flat_map(|component| component.to_le_bytes()));
    match embedding {
        Embedding::Dense(vector) => put(vector),
        Embedding::Multi(rows) => rows.iter().for_each(|row| put(row)),
        Embedding::Sparse(vector) => {
            bytes.extend(vector.indices().iter().flat_map(|index| index.to_le_bytes()));
            bytes.extend(vector.values().iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    bytes
}

/// An embedding of that space from a record of [`to_bytes`].
pub(crate) fn read(bytes: &[u8], space: EmbeddingSpace) -> Result<Embedding> {
    Ok(match space {
        EmbeddingSpace::Dense { dimensions, .. } => {
            let mut vector = vec![0.0; dimensions];
            read_dense(bytes, &mut vector)?;
            Embedding::Dense(vector)
        }
        EmbeddingSpace::Multi { dimensions, .. } => {
            let rows = read_rows(bytes, dimensions)?;
            Embedding::Multi(rows.chunks_exact(dimensions).map(<[f32]>::to_vec).collect())
        }
        EmbeddingSpace::Sparse { .. } => Embedding::Sparse(read_sparse(bytes)?),
    })
}

/// Reads a record of [`to_bytes`] into `vector`, whose length it must have.
pub(crate) fn read_dense(bytes: &[u8], vector: &mut [f32]) -> Result<()> {
    let body = body(bytes)?;
    if body.len() != vector.len() {
        return Err(corrupt(format!(
            "{} components in place of {}",
            body.len(),
            vector.len()
        )));
    }
    for (component, bytes) in vector.iter_mut().zip(body) {
        *component = f32::from_le_bytes(*bytes);
    }
    Ok(())
}

/// The rows of a multivector, one after another, from a record of [`to_bytes`].
pub(crate) fn read_rows(bytes: &[u8], dimensions: usize) -> Result<Vec<f32>> {
    let body = body(bytes)?;
    if body.is_empty() || body.len() % dimensions != 0 {
        return Err(corrupt(format!("{} components for rows of {dimensions}", body.len())));
    }
    Ok(body.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// A sparse vector from a record of [`to_bytes`].
pub(crate) fn read_sparse(bytes: &[u8]) -> Result<SparseVector> {
    let body = body(bytes)?;
    let (indices, values) = body.split_at(body.len() / 2);
    let indices = indices.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    SparseVector::new(indices, values).map_err(|error| corrupt(error.to_string()))
}

fn body(bytes: &[u8]) -> Result<&[[u8; 4]]> {
    match bytes.split_first() {
        Some((&VERSION, body)) => match body.as_chunks::<4>() {
            (body, []) => Ok(body),
            _ => Err(corrupt(format!("{} bytes", body.len()))),
        },
        version => Err(corrupt(format!(
            "version {:?} is unknown to this release",
            version.map(|(version, _)| version)
        ))),
    }
}

fn corrupt(reason: String) -> StorageError {
    StorageError::Corrupt { what: "vector", reason }
}

impl Slot {
    /// What is stored there.
    pub(crate) fn kind(self) -> EmbeddingKind {
        match self {
            Self::Dense(_) => EmbeddingKind::Dense,
            Self::Multi(_) => EmbeddingKind::Multi,
            Self::Sparse(_) => EmbeddingKind::Sparse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back() {
        let sparse = SparseVector::new(vec![9, 2], vec![0.5, -1.0]).unwrap();
        assert_eq!(
            read_sparse(&to_bytes(&Embedding::Sparse(sparse.clone()))).unwrap(),
            sparse
        );
        let rows = to_bytes(&Embedding::Multi(vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
        assert_eq!(read_rows(&rows, 2).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert!(read_rows(&rows, 3).is_err() && read_rows(&[1], 2).is_err() && read_sparse(&[7]).is_err());
        let mut vector = [0.0; 4];
        read_dense(&rows, &mut vector).unwrap();
        assert_eq!(vector, [1.0, 2.0, 3.0, 4.0]);
        assert!(read_dense(&rows, &mut [0.0; 3]).is_err());
    }
}
