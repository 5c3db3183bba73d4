//! The weights file. The only module with unsafe code: a file is mapped instead of read, because a large model would
//! otherwise need its size in memory twice while it loads.

use std::path::Path;

use candle_core::DType;
use candle_nn::VarBuilder;

use crate::{Device, EncodeError};

/// Opens a safetensors file; every tensor taken from it is converted to f32 and copied to `device`.
///
/// # Errors
/// [`EncodeError::ReadFile`] if it cannot be opened, [`EncodeError::Weights`] if it is not a safetensors file.
#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe: nothing keeps others from changing it"
)]
pub(crate) fn open(path: &Path, device: &Device) -> Result<VarBuilder<'static>, EncodeError> {
    // So that a missing file is reported like every other missing file.
    std::fs::File::open(path).map_err(|source| EncodeError::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    // SAFETY: whoever truncates the file while it loads makes this process fault. The directory belongs to the operator,
    // models are put there whole and not changed in place, and the map is gone when loading ends: tensors are copies.
    unsafe { VarBuilder::from_mmaped_safetensors(&[path], DType::F32, device.candle()) }.map_err(|source| {
        EncodeError::Weights {
            path: path.to_owned(),
            source: source.into(),
        }
    })
}
