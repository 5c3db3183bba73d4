//! BERT: its configuration, its network, and the encoder built on them.
//!
//! Our own instead of candle-transformers', for three reasons: texts of a batch are packed one after another instead of
//! padded to the longest; on the CPU the steps between the matrix products are fused and done in place ([`fused`]); and
//! the other families share most of it.

mod attention;
mod config;
mod encoder;
mod fused;
mod kernels;
mod network;

pub use config::BertConfig;
pub use encoder::BertEncoder;
