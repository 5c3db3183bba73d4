//! Memory that a thread keeps from one operation to the next, so that none of them allocates in the steady state.

#![expect(unsafe_code, reason = "lines of sixteen words are seen as plain words")]

use std::{cell::Cell, slice};

/// A cache line of words: rows of packed matrices begin at one, so that no vector is loaded from two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Plain 32-bit numbers: every pattern of bits is one.
pub(super) trait Word: Copy + sealed::Sealed {}
impl Word for f32 {}
impl Word for i32 {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
}

/// Words that begin at a cache line.
#[derive(Default, Clone)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    /// `len` zeroes, rounded up to whole lines.
    pub fn zeroes(len: usize) -> Self {
        Self(vec![Line([0; 16]); len.div_ceil(16)])
    }

    pub fn words<W: Word>(&self) -> &[W] {
        // SAFETY: a line is sixteen words without padding, and every pattern of bits is a `Word`.
        unsafe { slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 16) }
    }

    pub fn words_mut<W: Word>(&mut self) -> &mut [W] {
        // SAFETY: see `words`.
        unsafe { slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }

    /// At least `len` words with whatever they held before.
    pub fn at_least<W: Word>(&mut self, len: usize) -> &mut [W] {
        if self.0.len() * 16 < len {
            self.0.resize(len.div_ceil(16), Line([0; 16]));
        }
        self.words_mut()
    }
}

/// A thread's buffers, by what uses them.
#[derive(Default)]
pub(super) struct Scratch {
    /// Quantised rows and their scales.
    pub rows: Lines,
    pub scales: Lines,
    /// Keys and values of a head, and the scores of some of its queries.
    pub keys: Lines,
    pub values: Lines,
    pub scores: Lines,
}

thread_local!(static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::EMPTY) });

impl Scratch {
    const EMPTY: Self = Self {
        rows: Lines(Vec::new()),
        scales: Lines(Vec::new()),
        keys: Lines(Vec::new()),
        values: Lines(Vec::new()),
        scores: Lines(Vec::new()),
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
