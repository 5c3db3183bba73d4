//! What an opened model promises, on the real all-MiniLM-L6-v2 against vectors that sentence-transformers made
//! (`scripts/reference_vectors.py`).

mod batches;
mod candle;
mod files;
mod parity;
mod support;
