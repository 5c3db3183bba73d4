//! The arithmetic of networks on the CPU, in kernels of our own: linear layers with packed weights, in f32, bf16 or whole
//! numbers of 8 bits, and attention.
//!
//! Unsafe code is in this module and in `weights` only. Kernels are generic over the instruction set ([`simd`]) and compiled
//! once for each; which one runs is decided by what the processor reports ([`instructions`]). Every set that a processor
//! has is tested against plain loops.

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod bf16;
mod instructions;
mod integers;
pub(crate) mod kernels;
mod product;
mod quantised;
mod rows;
mod scratch;
mod simd;
mod tile;

pub(crate) use attention::{Attention, Distances};
pub(crate) use bf16::Bf16Linear;
pub(crate) use instructions::Instructions;
pub(crate) use product::{Linear, Then};
pub(crate) use quantised::QuantisedLinear;
pub(crate) use rows::{RowKernel, by_rows};
pub(crate) use simd::Simd;

/// Numbers in -1..1, others for every seed.
#[cfg(test)]
fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}
