//! Slices of the ids: the same points every time, without a list of them.

use std::hash::Hasher;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use siphasher::sip::SipHasher24;
use utoipa::ToSchema;

use crate::PointId;

/// One of `total` slices, which have no point in common and all points together, for scans side by side and for samples that stay the
/// same.
///
/// A point is in the slice whose `index` is the remainder of its id's hash by `total`: SipHash-2-4 (Aumasson and Bernstein 2012) with a key
/// of zeros, of the 8 bytes of a number in little-endian order, or of the 16 bytes of a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Slice {
    /// How many slices there are, at least 1.
    #[schema(minimum = 1)]
    total: u64,
    /// Which of them, below `total`.
    index: u64,
}

impl Slice {
    /// Whether a point is in the slice.
    pub fn contains(self, id: PointId) -> bool {
        let mut hasher = SipHasher24::new();
        match id {
            PointId::Num(number) => hasher.write(&number.to_le_bytes()),
            PointId::Uuid(uuid) => hasher.write(uuid.as_bytes()),
        }
        hasher.finish() % self.total == self.index
    }
}

impl<'de> Deserialize<'de> for Slice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unchecked {
            total: u64,
            index: u64,
        }
        let Unchecked { total, index } = Unchecked::deserialize(deserializer)?;
        if index >= total {
            return Err(D::Error::custom(format!(
                "`total` of a `slice` is at least 1 and its `index` is below that, not {index} of {total}"
            )));
        }
        Ok(Self { total, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(total: u64, index: u64) -> Result<Slice, String> {
        serde_json::from_value(serde_json::json!({"total": total, "index": index})).map_err(|error| error.to_string())
    }

    #[test]
    fn every_point_is_in_one_slice_and_halves_are_made_of_quarters() {
        let quarters: Vec<Slice> = (0..4).map(|index| slice(4, index).unwrap()).collect();
        let half = slice(2, 0).unwrap();
        let mut counts = [0; 4];
        for id in 0..400u64 {
            let uuid = PointId::Uuid(uuid::Uuid::from_u128(id.into()));
            for id in [id.into(), uuid] {
                let of: Vec<usize> = (0..4).filter(|&index| quarters[index].contains(id)).collect();
                assert_eq!(of.len(), 1);
                assert_eq!(half.contains(id), [0, 2].contains(&of[0]));
                counts[of[0]] += 1;
            }
        }
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }

    #[test]
    fn slices_that_are_none_are_refused() {
        for (total, index) in [(0, 0), (3, 3)] {
            assert!(slice(total, index).unwrap_err().contains("below"));
        }
    }
}
