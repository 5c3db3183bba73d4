//! The arithmetic of networks on the CPU, in kernels of our own: linear layers with packed weights, in f32 or whole
//! numbers of 8 bits, and attention.
//!
//! Unsafe code is in this module and in `weights` only. Kernels are generic over the instruction set ([`simd`]) and compiled
//! once for each; which one runs is decided by what the processor reports ([`instructions`]). Every set that a processor
//! has is tested against plain loops.

mod attention;
mod instructions;
mod integers;
pub(crate) mod kernels;
mod product;
mod quantised;
mod scratch;
mod simd;
mod tile;

pub(crate) use attention::{Attention, Distances};
pub(crate) use instructions::Instructions;
pub(crate) use product::{Linear, Then};
pub(crate) use quantised::QuantisedLinear;
pub(crate) use simd::Portable;
