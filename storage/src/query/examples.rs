//! The vectors that a query names, as vectors or by the ids of points.

use twofold_types::{Embedding, SparseVector};
use twofold_vector::Bitmap;

use super::Example;
use crate::embedding::fitting;
use crate::error::{InvalidInput, Result};
use crate::key::PointOffset;
use crate::view::View;

/// Looks examples up, and remembers the points among them.
pub(super) struct Examples<'a> {
    view: &'a View<'a>,
    /// The vector that is compared, which they must fit.
    name: &'a str,
    /// The vector that is looked up.
    from: &'a str,
    mentioned: Vec<PointOffset>,
}

impl<'a> Examples<'a> {
    pub(super) fn new(view: &'a View<'a>, name: &'a str, from: Option<&'a str>) -> Self {
        Self {
            view,
            name,
            from: from.unwrap_or(name),
            mentioned: Vec::new(),
        }
    }

    /// The vector of an example, as it was sent or stored.
    pub(super) fn get(&mut self, example: &Example) -> Result<Embedding> {
        let vector = match example {
            Example::Vector(vector) => vector.clone(),
            Example::Point(id) => {
                let slot = self.view.state.schema.slot(self.from)?;
                let offset = self.view.offsets(&[*id])?.pop().flatten();
                let offset = offset.ok_or(InvalidInput::PointNotFound(*id))?;
                self.mentioned.push(offset);
                self.view
                    .vector(slot, offset)?
                    .ok_or_else(|| InvalidInput::VectorMissing {
                        id: *id,
                        vector: self.from.to_owned(),
                    })?
            }
        };
        Ok(fitting(&self.view.state.schema, self.name, vector)?)
    }

    pub(super) fn all(&mut self, examples: &[Example]) -> Result<Vec<Embedding>> {
        examples.iter().map(|example| self.get(example)).collect()
    }

    pub(super) fn pairs(&mut self, pairs: &[(Example, Example)]) -> Result<Vec<(Embedding, Embedding)>> {
        let pairs = pairs.iter();
        pairs
            .map(|(positive, negative)| Ok((self.get(positive)?, self.get(negative)?)))
            .collect()
    }

    /// Takes the points among the examples out of a mask.
    pub(super) fn leave_out(&self, mask: &mut Bitmap) {
        self.mentioned.iter().for_each(|offset| {
            mask.remove(offset.0);
        });
    }
}

/// Twice the mean of what is wanted, less the mean of what is not; of multivectors all rows, those that are not wanted negated.
pub(super) fn average(positive: Vec<Embedding>, negative: Vec<Embedding>) -> Result<Embedding, InvalidInput> {
    let Some(first) = positive.first() else {
        return Err(InvalidInput::Query(
            "`average_vector` needs at least one positive example",
        ));
    };
    Ok(match first {
        Embedding::Multi(_) => {
            let rows = |examples: Vec<Embedding>| examples.into_iter().filter_map(into_multi).flatten();
            let negated = rows(negative).map(|row| row.into_iter().map(|component| -component).collect());
            Embedding::Multi(rows(positive).chain(negated).collect())
        }
        Embedding::Dense(_) => {
            let (wanted, unwanted) = (mean_dense(&positive), mean_dense(&negative));
            Embedding::Dense(match unwanted.is_empty() {
                true => wanted,
                false => wanted.iter().zip(&unwanted).map(|(p, n)| p + p - n).collect(),
            })
        }
        Embedding::Sparse(_) => {
            let mean = mean_sparse(&positive, 1.0);
            Embedding::Sparse(match negative.is_empty() {
                true => mean,
                false => sum_sparse(&[mean_sparse(&positive, 2.0), mean_sparse(&negative, -1.0)], 1.0),
            })
        }
    })
}

fn into_multi(embedding: Embedding) -> Option<Vec<Vec<f32>>> {
    match embedding {
        Embedding::Multi(rows) => Some(rows),
        _ => None,
    }
}

fn mean_dense(examples: &[Embedding]) -> Vec<f32> {
    let mut mean: Vec<f32> = Vec::new();
    for example in examples {
        if let Embedding::Dense(vector) = example {
            mean.resize(vector.len(), 0.0);
            mean.iter_mut()
                .zip(vector)
                .for_each(|(sum, component)| *sum += component);
        }
    }
    let count = examples.len() as f32;
    mean.iter_mut().for_each(|sum| *sum /= count);
    mean
}

fn mean_sparse(examples: &[Embedding], factor: f32) -> SparseVector {
    let sparse = examples.iter().filter_map(|example| match example {
        Embedding::Sparse(vector) => Some(vector.clone()),
        _ => None,
    });
    let sparse: Vec<_> = sparse.collect();
    sum_sparse(&sparse, factor / sparse.len() as f32)
}

fn sum_sparse(vectors: &[SparseVector], factor: f32) -> SparseVector {
    let mut sums = std::collections::BTreeMap::new();
    for (index, value) in vectors.iter().flat_map(SparseVector::iter) {
        *sums.entry(index).or_insert(0.0) += value * factor;
    }
    let (indices, values) = sums.into_iter().unzip();
    SparseVector::new(indices, values).expect("the keys of a map are unique")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wanted_is_taken_off_the_average() {
        let dense = |vectors: &[[f32; 2]]| vectors.iter().map(|v| Embedding::Dense(v.to_vec())).collect::<Vec<_>>();
        let both = average(dense(&[[1.0, 0.0], [3.0, 2.0]]), dense(&[[0.0, 1.0]])).unwrap();
        assert_eq!(both, Embedding::Dense(vec![4.0, 1.0]));
        let sparse = |i: &[u32], v: &[f32]| Embedding::Sparse(SparseVector::new(i.to_vec(), v.to_vec()).unwrap());
        let both = average(
            vec![sparse(&[1], &[2.0]), sparse(&[2], &[4.0])],
            vec![sparse(&[2, 9], &[1.0, 1.0])],
        );
        assert_eq!(both.unwrap(), sparse(&[1, 2, 9], &[2.0, 3.0, -1.0]));
        assert!(average(Vec::new(), dense(&[[1.0, 0.0]])).is_err());
    }
}
