//! Prints how many floating point operations in f32 one thread of this processor can do: GFLOP per second of CPU time, in
//! multiply-adds on registers alone. How much of it the encoder reaches, `scripts/bench_encode.py` tells.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "functions compiled for an instruction set are called after the processor was asked for it"
    )
)]

#[path = "common/cpu_time.rs"]
mod cpu_time;

use std::hint::black_box;

use cpu_time::cpu_time;

const ROUNDS: usize = 300_000_000;

/// Vectors of sums that do not wait for each other: more than an instruction's latency times those begun in a cycle.
const SUMS: usize = 12;

/// Does [`ROUNDS`] times [`SUMS`] multiply-adds of vectors of `width` and returns the operations in them.
macro_rules! multiply_adds {
    ($width:literal, $splat:expr, $multiply_add:expr) => {{
        let (factor, addend) = ($splat(black_box(0.999)), $splat(black_box(0.001)));
        let mut sums = [$splat(1.0); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = $multiply_add(*sum, factor, addend);
            }
        }
        black_box(sums);
        2 * $width * SUMS * ROUNDS
    }};
}

fn portable() -> usize {
    let multiply_add = |a: [f32; 4], b: [f32; 4], c: [f32; 4]| std::array::from_fn(|i| a[i] * b[i] + c[i]);
    multiply_adds!(4, |x| [x; 4], multiply_add)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    #[target_feature(enable = "avx512f")]
    pub fn avx512() -> usize {
        multiply_adds!(16, _mm512_set1_ps, _mm512_fmadd_ps)
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2() -> usize {
        multiply_adds!(8, _mm256_set1_ps, _mm256_fmadd_ps)
    }
}

fn widest() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just said that it can.
            return unsafe { x86::avx512() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: likewise.
            return unsafe { x86::avx2() };
        }
    }
    portable()
}

fn main() {
    let before = cpu_time();
    let operations = widest();
    let spent = cpu_time() - before;
    println!("{:.2}", operations as f64 / spent.as_secs_f64() / 1e9);
}
