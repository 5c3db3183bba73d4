//! Encodes a file of texts, one per line, and writes the vectors: two little-endian u32 (count, dimensions), then rows of
//! little-endian f32.
//!
//!     cargo run --release -p twofold-encode --example embed -- MODEL_DIR TEXTS OUT [f32 | bf16 | int8 | gguf]

use std::error::Error;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use twofold_encode::{DeviceSpec, EncodeOptions, Model, ModelFiles, open_encoder};
use twofold_types::{EncoderParams, ModelId, Precision, Role};

// As in the server's binary: glibc gives the large buffers of a forward pass back to the system and takes them again.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let precision = match paths.get(3) {
        Some(_) => serde_json::from_value(paths.remove(3).to_string_lossy().into())?,
        None => Precision::F32,
    };
    let [model, texts, out] = paths.as_slice() else {
        return Err("usage: embed MODEL_DIR TEXTS OUT [f32 | bf16 | int8 | gguf]".into());
    };
    let params = EncoderParams {
        precision,
        ..EncoderParams::new(ModelId::new("embed"))
    };
    let model = Model::from(open_encoder(
        &ModelFiles::open(model)?,
        &params,
        &DeviceSpec::Auto.open()?,
        EncodeOptions::default(),
    )?);
    let texts = std::fs::read_to_string(texts)?;
    let texts: Vec<&str> = texts.lines().collect();
    let mut out = BufWriter::new(std::fs::File::create(out)?);
    let mut header = Some(());
    for texts_of_part in texts.chunks(4096) {
        let rows = model.embed(texts_of_part, Role::Document)?;
        if header.take().is_some() {
            out.write_all(&(texts.len() as u32).to_le_bytes())?;
            out.write_all(&(rows[0].len() as u32).to_le_bytes())?;
        }
        for component in rows.iter().flatten() {
            out.write_all(&component.to_le_bytes())?;
        }
    }
    out.flush()?;
    Ok(())
}
