//! Products of bf16 in tile registers (AMX): sixteen rows by sixteen columns of sums, thirty-two inputs at a time.
//!
//! Stable Rust has no functions for these registers, so they are used from assembly; the compiler never touches them.

#![expect(unsafe_code, reason = "tile registers are used from assembly, on pointers")]

use std::arch::{asm, x86_64::__cpuid_count};
use std::sync::LazyLock;

use super::bf16::{COLUMNS, STEP, Tiles};

/// Rows of one tile register.
const HEIGHT: usize = 16;

/// Bytes of a row of one tile register.
const ROW: usize = 64;

/// Bytes from row to row of packed weights, and of what is computed: two registers side by side.
const STRIDE: usize = 2 * ROW;

/// Bytes of a step of all rows.
const X_STEP: usize = Amx::ROWS * ROW;

/// Bytes of packed weights that a step of inputs meets.
const STEP_BYTES: usize = STEP * COLUMNS * size_of::<u16>();

/// Whether the processor has such registers and the system lets this process use them.
pub(super) fn is_there() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| {
        let features = __cpuid_count(7, 0).edx;
        let (bf16, tile) = (features >> 22 & 1, features >> 24 & 1);
        bf16 & tile == 1 && is_permitted()
    });
    *THERE
}

/// Asks the system for the registers: it keeps more of a thread's state from then on.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but the permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The shapes of the registers, as the processor reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight registers of sixteen rows with 64 bytes each.
const SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tile registers of this thread, from here on until they are dropped.
pub(super) struct Amx;

impl Drop for Amx {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the registers are there, as one was made.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}

impl Tiles for Amx {
    const ROWS: usize = 2 * HEIGHT;

    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &SHAPES, options(readonly, nostack, preserves_flags)) }
        Self
    }

    #[inline(always)]
    unsafe fn multiply(&self, rows: usize, x: *const u16, panel: *const u16, steps: usize, tile: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            if rows > HEIGHT {
                two(x, panel, steps, tile);
            } else {
                one(x, panel, steps, tile);
            }
        }
    }
}

/// Thirty-two rows.
///
/// # Safety
/// See [`Tiles::multiply`].
#[inline(always)]
unsafe fn two(x: *const u16, panel: *const u16, steps: usize, tile: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{x} + {narrow}]",
            "tileloadd tmm6, [{panel} + {wide}]",
            "tileloadd tmm7, [{panel} + {wide} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{x} + {narrow} + {below}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {x}, {x_step}",
            "add {panel}, {step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{tile} + {wide}], tmm0",
            "tilestored [{tile} + {wide} + 64], tmm1",
            "add {tile}, {half}",
            "tilestored [{tile} + {wide}], tmm2",
            "tilestored [{tile} + {wide} + 64], tmm3",
            x = inout(reg) x => _,
            narrow = in(reg) ROW,
            panel = inout(reg) panel => _,
            wide = in(reg) STRIDE,
            steps = inout(reg) steps => _,
            tile = inout(reg) tile => _,
            below = const HEIGHT * ROW,
            x_step = const X_STEP,
            step = const STEP_BYTES,
            half = const HEIGHT * STRIDE,
            options(nostack),
        );
    }
}

/// Sixteen rows. So few wait for weights, so each step asks for as much of the next panel as it takes of this one.
///
/// # Safety
/// See [`Tiles::multiply`].
#[inline(always)]
unsafe fn one(x: *const u16, panel: *const u16, steps: usize, tile: *mut f32) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{x} + {narrow}]",
            ".irp line,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "prefetcht1 [{panel} + {ahead} + 64 * \\line]",
            ".endr",
            "tileloadd tmm6, [{panel} + {wide}]",
            "tileloadd tmm7, [{panel} + {wide} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {x}, {x_step}",
            "add {panel}, {step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{tile} + {wide}], tmm0",
            "tilestored [{tile} + {wide} + 64], tmm1",
            x = inout(reg) x => _,
            narrow = in(reg) ROW,
            panel = inout(reg) panel => _,
            wide = in(reg) STRIDE,
            ahead = in(reg) steps * STEP_BYTES,
            steps = inout(reg) steps => _,
            tile = in(reg) tile,
            x_step = const X_STEP,
            step = const STEP_BYTES,
            options(nostack),
        );
    }
}
