//! An encoded value of a payload index.

use std::ops::Deref;
use std::sync::Arc;

/// Bytes that stand in place.
const SHORT: usize = 22;

/// An encoded value. Numbers, dates, UUIDs and short words stand in place; others are shared between clones.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..value.len()) {
            Some(place) => {
                place.copy_from_slice(value);
                Self::Short {
                    len: value.len() as u8,
                    bytes,
                }
            }
            None => Self::Long(value.into()),
        }
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Value {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(bytes) => bytes.len(),
        }
    }
}
