//! Prints how many operations one thread of this processor can do by the second of CPU time, in multiply-adds on registers
//! alone: a line of JSON with billions of them in f32, in whole numbers of 8 bits and in bf16, by the instructions that the
//! encoder uses; bf16 is computed in f32 where there are no tile registers. How much of it the encoder reaches,
//! `scripts/bench_encode.py` tells.

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

const ROUNDS: usize = 200_000_000;

/// Vectors of sums that do not wait for each other: more than an instruction's latency times those begun in a cycle.
const SUMS: usize = 12;

/// Takes [`ROUNDS`] times [`SUMS`] steps of so many multiply-adds each and returns the operations in them.
macro_rules! steps {
    ($multiply_adds:literal, $start:expr, $step:expr) => {{
        let mut sums = [$start; SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = $step(*sum);
            }
        }
        black_box(sums);
        2 * $multiply_adds * SUMS * ROUNDS
    }};
}

fn main() {
    let [f32, int8, bf16] = [floats, integers, tiles].map(|work| {
        let before = cpu_time();
        let operations = work();
        let billions = operations as f64 / (cpu_time() - before).as_secs_f64() / 1e9;
        (billions * 100.0).round() / 100.0
    });
    println!("{}", serde_json::json!({"f32": f32, "int8": int8, "bf16": bf16}));
}

fn floats() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has just said that it can; so below.
            return unsafe { x86::avx512_floats() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return unsafe { x86::avx2_floats() };
        }
    }
    let [factor, addend] = black_box([[0.999f32; 4], [0.001; 4]]);
    let multiply_add = |sum: [f32; 4]| -> [f32; 4] { std::array::from_fn(|i| sum[i] * factor[i] + addend[i]) };
    steps!(4, [1.0; 4], multiply_add)
}

fn integers() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has just said that it can; so below.
            return unsafe { x86::avx512_vnni() };
        }
        if is_x86_feature_detected!("avx512bw") {
            return unsafe { x86::avx512_integers() };
        }
        if is_x86_feature_detected!("avxvnni") {
            return unsafe { x86::avx_vnni() };
        }
        if is_x86_feature_detected!("avx2") {
            return unsafe { x86::avx2_integers() };
        }
    }
    let [a, b] = black_box([[3i32; 4], [5; 4]]);
    let multiply_add = |sum: [i32; 4]| -> [i32; 4] { std::array::from_fn(|i| (sum[i] & a[i]) * b[i] + sum[i]) };
    steps!(4, [1; 4], multiply_add)
}

fn tiles() -> usize {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if amx::is_there() {
        // SAFETY: the processor has just said that it can, and the system lets it.
        return unsafe { amx::multiply_adds() };
    }
    floats()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    #[target_feature(enable = "avx512f")]
    pub fn avx512_floats() -> usize {
        let [factor, addend] = black_box([0.999, 0.001]).map(|x| _mm512_set1_ps(x));
        steps!(16, _mm512_set1_ps(1.0), |sum| _mm512_fmadd_ps(sum, factor, addend))
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2_floats() -> usize {
        let [factor, addend] = black_box([0.999, 0.001]).map(|x| _mm256_set1_ps(x));
        steps!(8, _mm256_set1_ps(1.0), |sum| _mm256_fmadd_ps(sum, factor, addend))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn avx512_vnni() -> usize {
        let [a, b] = black_box([3, 5]).map(|x| _mm512_set1_epi8(x));
        steps!(64, _mm512_setzero_si512(), |sum| _mm512_dpbusd_epi32(sum, a, b))
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub fn avx_vnni() -> usize {
        let [a, b] = black_box([3, 5]).map(|x| _mm256_set1_epi8(x));
        steps!(32, _mm256_setzero_si256(), |sum| _mm256_dpbusd_avx_epi32(sum, a, b))
    }

    // Without products that add up in 32 bits, two are added up in 16 before they are widened. They are of the sum itself,
    // or they would be computed once.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn avx512_integers() -> usize {
        let [a, b] = black_box([3, 5]).map(|x| _mm512_set1_epi8(x));
        steps!(128, _mm512_setzero_si512(), |sum| {
            let both = _mm512_add_epi16(_mm512_maddubs_epi16(sum, a), _mm512_maddubs_epi16(sum, b));
            _mm512_add_epi32(sum, _mm512_madd_epi16(both, _mm512_set1_epi16(1)))
        })
    }

    #[target_feature(enable = "avx2")]
    pub fn avx2_integers() -> usize {
        let [a, b] = black_box([3, 5]).map(|x| _mm256_set1_epi8(x));
        steps!(64, _mm256_setzero_si256(), |sum| {
            let both = _mm256_add_epi16(_mm256_maddubs_epi16(sum, a), _mm256_maddubs_epi16(sum, b));
            _mm256_add_epi32(sum, _mm256_madd_epi16(both, _mm256_set1_epi16(1)))
        })
    }
}

/// Tile registers, which stable Rust has no functions for.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::arch::{asm, x86_64::__cpuid_count};

    /// Palette 1, and eight registers of sixteen rows with 64 bytes each.
    #[repr(C, align(64))]
    struct Shapes([u8; 64]);

    const SHAPES: Shapes = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut register = 0;
        while register < 8 {
            bytes[16 + 2 * register] = 64;
            bytes[48 + register] = 16;
            register += 1;
        }
        Shapes(bytes)
    };

    const ROUNDS: usize = 5_000_000;

    pub fn is_there() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        let features = __cpuid_count(7, 0).edx;
        let has_tiles = features >> 22 & features >> 24 & 1 == 1;
        // SAFETY: the call takes two numbers and changes nothing but the permission to use the registers.
        has_tiles && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
    }

    /// # Safety
    /// The registers are there.
    pub unsafe fn multiply_adds() -> usize {
        // SAFETY: the caller's; only registers are written.
        unsafe {
            asm!(
                "ldtilecfg [{shapes}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm5",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "tdpbf16ps tmm1, tmm4, tmm5",
                "tdpbf16ps tmm2, tmm4, tmm5",
                "tdpbf16ps tmm3, tmm4, tmm5",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                shapes = in(reg) &SHAPES,
                rounds = inout(reg) ROUNDS => _,
                options(readonly, nostack),
            );
        }
        2 * 4 * 16 * 16 * 32 * ROUNDS
    }
}
