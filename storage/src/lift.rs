//! Vectors in a form in which direction tells them apart, for an index that splits space by planes through the origin.
//!
//! - Cosine: as they are.
//! - Euclid, Manhattan: moved so that their mean is the origin, with a constant `h` as one more component. Seen from the
//!   origin, points on the plane at height `h` differ in direction as they differ in place, and a plane through the origin
//!   cuts it along any line. The angle between two of them grows with their distance.
//! - Dot: with `sqrt(m² - |x|²)` as one more component, where `m` is the largest length, and 0 for the query. All points
//!   then have length `m`, so the order of the cosine is the order of the dot product (Bachrach et al., 2014).

use twofold_types::Distance;

use twofold_vector::Arena;
use twofold_vector::kernel::kernels;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    kernels().dot(a, b)
}

/// The height of the plane over the points, in multiples of their root mean square distance from the mean. Higher is
/// truer to the distance and leaves less of it to the precision of the angle.
const HEIGHT: f32 = 4.0;

/// How vectors of one index generation are lifted; decided when it is built, and kept with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lift {
    /// As they are.
    None { dimensions: usize },
    /// Onto a plane.
    Plane { mean: Vec<f32>, height: f32 },
    /// Onto a sphere.
    Sphere { dimensions: usize, radius: f32 },
}

impl Lift {
    /// The lift that suits the vectors there are.
    pub(crate) fn for_arena(distance: Distance, arena: &Arena) -> Self {
        let dimensions = arena.dimensions();
        match distance {
            Distance::Cosine => Self::None { dimensions },
            Distance::Dot => {
                let mut longest = 0.0f32;
                arena.scan(arena.present(), |_, vector| longest = longest.max(dot(vector, vector)));
                Self::Sphere {
                    dimensions,
                    radius: longest.sqrt(),
                }
            }
            Distance::Euclid | Distance::Manhattan => {
                let mut sums = vec![0.0f64; dimensions];
                let mut squares = 0.0f64;
                arena.scan(arena.present(), |_, vector| {
                    sums.iter_mut()
                        .zip(vector)
                        .for_each(|(sum, &component)| *sum += f64::from(component));
                    squares += f64::from(dot(vector, vector));
                });
                let count = (arena.present().len() as f64).max(1.0);
                let mean: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
                let variance = squares / count - f64::from(dot(&mean, &mean));
                let height = HEIGHT * (variance.max(0.0).sqrt() as f32).max(f32::MIN_POSITIVE);
                Self::Plane { mean, height }
            }
        }
    }

    /// Components of a lifted vector.
    pub(crate) fn dimensions(&self) -> usize {
        match self {
            Self::None { dimensions } => *dimensions,
            Self::Plane { mean, .. } => mean.len() + 1,
            Self::Sphere { dimensions, .. } => dimensions + 1,
        }
    }

    /// A stored vector, lifted.
    pub(crate) fn point(&self, vector: &[f32]) -> Vec<f32> {
        match self {
            Self::Sphere { radius, .. } => {
                let rest = (radius * radius - dot(vector, vector)).max(0.0).sqrt();
                vector.iter().copied().chain([rest]).collect()
            }
            _ => self.query(vector),
        }
    }

    /// A query vector, lifted.
    pub(crate) fn query(&self, vector: &[f32]) -> Vec<f32> {
        match self {
            Self::None { .. } => vector.to_vec(),
            Self::Plane { mean, height } => vector
                .iter()
                .zip(mean)
                .map(|(x, mean)| x - mean)
                .chain([*height])
                .collect(),
            Self::Sphere { .. } => vector.iter().copied().chain([0.0]).collect(),
        }
    }

    /// A tag, then little-endian f32.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (tag, numbers) = match self {
            Self::None { .. } => (0, Vec::new()),
            Self::Plane { mean, height } => (1, [mean.as_slice(), &[*height]].concat()),
            Self::Sphere { radius, .. } => (2, vec![*radius]),
        };
        [tag]
            .into_iter()
            .chain(numbers.into_iter().flat_map(f32::to_le_bytes))
            .collect()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote, for vectors of `dimensions`.
    pub(crate) fn from_bytes(bytes: &[u8], dimensions: usize) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let mut numbers: Vec<f32> = rest
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        let last = numbers.pop();
        match (tag, last) {
            (0, None) => Some(Self::None { dimensions }),
            (1, Some(height)) if numbers.len() == dimensions => Some(Self::Plane { mean: numbers, height }),
            (2, Some(radius)) => Some(Self::Sphere { dimensions, radius }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(vectors: &[[f32; 2]]) -> Arena {
        let mut arena = Arena::new(2, Distance::Dot, false);
        (0..)
            .zip(vectors)
            .for_each(|(offset, vector)| arena.set(offset, vector));
        arena
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn lifted_vectors_are_nearer_in_direction_when_they_are_nearer() {
        let far_from_origin = arena(&[[100.0, 100.0], [101.0, 100.0], [104.0, 104.0], [90.0, 98.0]]);
        let short_and_long = arena(&[[1.0, 0.0], [5.0, 5.0], [-3.0, 1.0], [0.5, 0.5]]);
        for (distance, arena) in [(Distance::Euclid, far_from_origin), (Distance::Dot, short_and_long)] {
            let lift = Lift::for_arena(distance, &arena);
            let nearness = twofold_vector::kernel::nearness(distance);
            let query = arena.get(0).unwrap();
            let order = |near: &dyn Fn(&[f32]) -> f32| {
                let mut offsets: Vec<u32> = (1..4).collect();
                offsets.sort_by(|&a, &b| {
                    let near = |offset| near(arena.get(offset).unwrap());
                    near(b).total_cmp(&near(a))
                });
                offsets
            };
            let lifted = order(&|vector| cosine(&lift.query(query), &lift.point(vector)));
            assert_eq!(lifted, order(&|vector| nearness(query, vector)), "{distance:?}");
        }
    }

    #[test]
    fn a_lift_is_read_back() {
        let arena = arena(&[[1.0, 2.0], [3.0, 5.0]]);
        for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid] {
            let lift = Lift::for_arena(distance, &arena);
            assert_eq!(Lift::from_bytes(&lift.to_bytes(), 2), Some(lift.clone()));
            assert_eq!(lift.point(&[1.0, 2.0]).len(), lift.dimensions());
        }
        assert_eq!(Lift::from_bytes(&[1, 0, 0, 0, 0], 2), None);
    }
}
