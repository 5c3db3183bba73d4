//! Which instructions the processor has, and functions compiled for each of them.

#![expect(
    unsafe_code,
    reason = "functions compiled for an instruction set are called after the processor was asked for it"
)]

use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Portable, Simd};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the target always has; on AArch64 that includes NEON.
    Portable,
}

impl Instructions {
    /// Those of this processor, the widest first.
    pub fn supported() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if fma && is_x86_feature_detected!("avx512f") {
                sets.push(Self::Avx512);
            }
            if fma {
                sets.push(Self::Avx2);
            }
        }
        sets.push(Self::Portable);
        sets
    }

    /// Those that this process uses: the widest, or what `TWOFOLD_SIMD` (`avx2`, `portable`) masks them to.
    pub fn chosen() -> Self {
        static CHOSEN: LazyLock<Instructions> = LazyLock::new(|| {
            let sets = Instructions::supported();
            let masked = std::env::var("TWOFOLD_SIMD").ok();
            let wanted = masked.and_then(|name| sets.iter().find(|set| set.name() == name).copied());
            wanted.unwrap_or(sets[0])
        });
        *CHOSEN
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Numbers in two vectors: the columns that a panel of packed weights holds side by side.
    pub fn columns(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 2 * Avx512::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 2 * Avx2::WIDTH,
            Self::Portable => 2 * Portable::WIDTH,
        }
    }
}

/// Work that is compiled once for every instruction set. Everything that [`run`](Self::run) calls has to be
/// `#[inline(always)]`: a function that is not inlined is compiled for the target's own instructions.
pub(super) trait Kernel {
    type Output;

    /// # Safety
    /// The processor has the instructions of `S`.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Runs the work with `instructions`, which come from [`Instructions::supported`].
#[inline]
pub(super) fn run<K: Kernel>(instructions: Instructions, kernel: K) -> K::Output {
    // SAFETY: the enum's values are handed out only where the processor has the instructions.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => avx2(kernel),
            Instructions::Portable => kernel.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as the attribute says.
    unsafe { kernel.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as the attribute says.
    unsafe { kernel.run::<Avx2>() }
}
