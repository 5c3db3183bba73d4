//! Memory that a thread keeps from one operation to the next, so that none of them allocates in the steady state.

#![expect(unsafe_code, reason = "lines of sixteen numbers are seen as plain numbers")]

use std::{cell::Cell, slice};

use super::quantised::Range;

/// A cache line of numbers: rows of packed matrices begin at one, so that no vector is loaded from two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin at a cache line.
#[derive(Default, Clone)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// `len` zeroes, rounded up to whole lines.
    pub fn zeroes(len: usize) -> Self {
        Self(vec![Line([0.0; 16]); len.div_ceil(16)])
    }

    pub fn numbers(&self) -> &[f32] {
        // SAFETY: a line is sixteen numbers without padding.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    pub fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: see `numbers`.
        unsafe { slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }

    /// At least `len` numbers with whatever they held before.
    pub fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() * 16 < len {
            self.0.resize(len.div_ceil(16), Line([0.0; 16]));
        }
        self.numbers_mut()
    }
}

/// Whole numbers of 8 bits that begin at a cache line.
#[derive(Default, Clone)]
pub(super) struct Bytes(Lines);

impl Bytes {
    /// `len` zeroes, rounded up to whole lines.
    pub fn zeroes(len: usize) -> Self {
        Self(Lines::zeroes(len.div_ceil(4)))
    }

    pub fn signed(&self) -> &[i8] {
        let numbers = self.0.numbers();
        // SAFETY: a number is four bytes, and any bytes are whole numbers.
        unsafe { slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len() * 4) }
    }

    pub fn signed_mut(&mut self) -> &mut [i8] {
        let numbers = self.0.numbers_mut();
        // SAFETY: a number is four bytes, and any bytes are whole numbers and parts of numbers.
        unsafe { slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len() * 4) }
    }

    /// At least `len` numbers without a sign, with whatever they held before.
    pub fn at_least(&mut self, len: usize) -> &mut [u8] {
        let numbers = self.0.at_least(len.div_ceil(4));
        // SAFETY: see `signed_mut`.
        unsafe { slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len() * 4) }
    }
}

/// Numbers of 16 bits that begin at a cache line.
#[derive(Default, Clone)]
pub(super) struct Halves(Lines);

impl Halves {
    /// `len` zeroes, rounded up to whole lines.
    pub fn zeroes(len: usize) -> Self {
        Self(Lines::zeroes(len.div_ceil(2)))
    }

    pub fn halves(&self) -> &[u16] {
        let numbers = self.0.numbers();
        // SAFETY: a number is two halves, and any bytes are whole numbers.
        unsafe { slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len() * 2) }
    }

    pub fn halves_mut(&mut self) -> &mut [u16] {
        self.at_least(0)
    }

    /// At least `len` numbers with whatever they held before.
    pub fn at_least(&mut self, len: usize) -> &mut [u16] {
        let numbers = self.0.at_least(len.div_ceil(2));
        // SAFETY: a number is two halves, and any bytes are whole numbers and parts of numbers.
        unsafe { slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len() * 2) }
    }
}

/// A thread's buffers, by what uses them.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keys and values of a head, and the scores of some of its queries.
    pub keys: Lines,
    pub values: Lines,
    pub scores: Lines,
    /// Quantised rows, their ranges, and one row before it is quantised.
    pub quantised: Bytes,
    pub ranges: Vec<Range>,
    pub row: Lines,
    /// Rows in bf16.
    pub halves: Halves,
}

thread_local!(static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::EMPTY) });

impl Scratch {
    const EMPTY: Self = Self {
        keys: Lines(Vec::new()),
        values: Lines(Vec::new()),
        scores: Lines(Vec::new()),
        quantised: Bytes(Lines(Vec::new())),
        ranges: Vec::new(),
        row: Lines(Vec::new()),
        halves: Halves(Lines(Vec::new())),
    };

    /// The calling thread's buffers, to be given back. Not lent to a closure, which would be compiled for the target's
    /// own instructions only.
    #[inline(always)]
    pub fn take() -> Self {
        SCRATCH.take()
    }

    #[inline(always)]
    pub fn give_back(self) {
        SCRATCH.set(self);
    }
}
