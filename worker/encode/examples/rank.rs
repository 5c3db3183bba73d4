//! Encodes three documents and a query, and ranks the documents by cosine.
//!
//!     cargo run --release -p twofold-encode --example rank [MODEL_DIR]

mod common;

use twofold_encode::{DeviceSpec, EncodeError, Model, cosine};
use twofold_types::Role;

fn main() -> Result<(), EncodeError> {
    let dir = std::env::args_os()
        .nth(1)
        .map_or_else(common::default_model, Into::into);
    let model = Model::open(dir, DeviceSpec::Auto)?;

    let texts = [
        "Bi-encoders embed queries and documents independently.",
        "Cross-encoders read the query and the document together.",
        "The recipe calls for two cups of flour and a pinch of salt.",
    ];
    let documents = model.embed(&texts, Role::Document)?;
    let query = model
        .embed(&["How do two-tower models encode text?"], Role::Query)?
        .remove(0);

    let mut ranked: Vec<_> = texts
        .iter()
        .zip(&documents)
        .map(|(text, d)| (cosine(&query, d), text))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, text) in ranked {
        println!("{score:.4}  {text}");
    }
    Ok(())
}
