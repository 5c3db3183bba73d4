//! What an opened model promises, on the real all-MiniLM-L6-v2 against vectors that sentence-transformers made
//! (`scripts/reference_vectors.py`), and on tiny models of every family (`scripts/family_fixtures.py`).

mod batches;
mod bm25;
mod candle;
mod cross_encoders;
mod families;
mod files;
mod kinds;
mod mpnet;
mod params;
mod parity;
mod precision;
mod remote;
mod support;
