//! Which instructions the processor has, and functions compiled for each of them.

#![expect(
    unsafe_code,
    reason = "functions compiled for an instruction set are called after the processor was asked for it"
)]

use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use super::{
    amx::{self, Amx},
    integers::{Avx512Vnni, AvxVnni},
    simd::{Avx2, Avx512},
};
use super::{
    bf16::Tiles,
    integers::Integers,
    simd::{Portable, Simd},
};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// All of the next, and tile registers for products of bf16.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// AVX-512 with products of 8 bits that are added up in 32.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-512, as every server's processor with it has had it: with whole numbers of 8 and 16 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA, and products of 8 bits that are added up in 32.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
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
            let wide = fma && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            let vnni = wide && is_x86_feature_detected!("avx512vnni");
            if vnni && amx::is_there() {
                sets.push(Self::Amx);
            }
            if vnni {
                sets.push(Self::Avx512Vnni);
            }
            if wide {
                sets.push(Self::Avx512);
            }
            if fma && is_x86_feature_detected!("avxvnni") {
                sets.push(Self::AvxVnni);
            }
            if fma {
                sets.push(Self::Avx2);
            }
        }
        sets.push(Self::Portable);
        sets
    }

    /// Those that this process uses: the first of them, or what `TWOFOLD_SIMD` masks them to: `avx512_vnni`, `avx512`,
    /// `avx_vnni`, `avx2`, `portable`.
    pub fn chosen() -> Self {
        static CHOSEN: LazyLock<Instructions> = LazyLock::new(|| {
            let sets = Instructions::supported();
            let masked = std::env::var("TWOFOLD_SIMD").ok();
            let wanted = masked.and_then(|name| sets.iter().find(|set| set.name() == name).copied());
            wanted.unwrap_or(sets[0])
        });
        *CHOSEN
    }

    /// Whether products of 8 bits are faster than those of f32.
    pub fn prefer_integers(self) -> bool {
        self != Self::Portable
    }

    /// Whether there are products of bf16.
    pub fn has_bf16(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => true,
            _ => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => "amx",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "avx512_vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "avx_vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Inputs and columns of a panel of packed weights in f32, at most.
    pub fn panel(self) -> [usize; 2] {
        const fn of<S: Simd>() -> [usize; 2] {
            [S::BLOCK, S::ROW * S::WIDTH]
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni | Self::Avx512 => of::<Avx512>(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni | Self::Avx2 => of::<Avx2>(),
            Self::Portable => of::<Portable>(),
        }
    }

    /// Numbers in two vectors: the columns that a panel of weights in whole numbers holds side by side.
    pub fn columns(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Vnni | Self::Avx512 => 2 * Avx512::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni | Self::Avx2 => 2 * Avx2::WIDTH,
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
            Instructions::Amx | Instructions::Avx512Vnni | Instructions::Avx512 => avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni | Instructions::Avx2 => avx2(kernel),
            Instructions::Portable => kernel.run::<Portable>(),
        }
    }
}

/// Work in whole numbers, compiled like that of a [`Kernel`].
pub(super) trait IntegerKernel {
    /// # Safety
    /// The processor has the instructions of `I`.
    unsafe fn run<I: Integers>(self);
}

/// Runs the work with `instructions`, which come from [`Instructions::supported`].
#[inline]
pub(super) fn run_integers<K: IntegerKernel>(instructions: Instructions, kernel: K) {
    // SAFETY: the enum's values are handed out only where the processor has the instructions.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx | Instructions::Avx512Vnni => integers_avx512_vnni(kernel),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => integers_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni => integers_avx_vnni(kernel),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => integers_avx2(kernel),
            Instructions::Portable => kernel.run::<Portable>(),
        }
    }
}

/// Work in bf16, compiled like that of a [`Kernel`].
pub(super) trait Bf16Kernel {
    /// # Safety
    /// The processor has the instructions of `T` and `S`.
    unsafe fn run<T: Tiles, S: Simd>(self);
}

/// Runs the work with `instructions`, which come from [`Instructions::supported`] and have products of bf16.
#[inline]
pub(super) fn run_bf16<K: Bf16Kernel>(instructions: Instructions, kernel: K) {
    // SAFETY: the enum's values are handed out only where the processor has the instructions.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx => bf16_amx(kernel),
            other => unreachable!("{other:?} has no products of bf16"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw")]
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vnni")]
unsafe fn integers_avx512_vnni<K: IntegerKernel>(kernel: K) {
    // SAFETY: as the attribute says.
    unsafe { kernel.run::<Avx512Vnni>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw")]
unsafe fn integers_avx512<K: IntegerKernel>(kernel: K) {
    // SAFETY: as the attribute says.
    unsafe { kernel.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn integers_avx_vnni<K: IntegerKernel>(kernel: K) {
    // SAFETY: as the attribute says.
    unsafe { kernel.run::<AvxVnni>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn integers_avx2<K: IntegerKernel>(kernel: K) {
    // SAFETY: as the attribute says.
    unsafe { kernel.run::<Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw")]
unsafe fn bf16_amx<K: Bf16Kernel>(kernel: K) {
    // SAFETY: as the attribute says, and the processor has tile registers.
    unsafe { kernel.run::<Amx, Avx512>() }
}
