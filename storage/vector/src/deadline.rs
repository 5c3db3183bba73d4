//! Until when the work of a thread is wanted.
//!
//! Whoever asks waits so long and no longer, or goes away. Loops over many vectors or points look at the deadline from time to time and
//! end early. It belongs to the thread that works for one request from its beginning to its end, so that the functions between the
//! request and the loops need not hand it on; work without a deadline is always wanted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

thread_local! {
    static CURRENT: RefCell<Option<Deadline>> = const { RefCell::new(None) };
}

/// Until when an answer is wanted.
#[derive(Debug, Clone)]
pub struct Deadline {
    started: Instant,
    within: Duration,
    /// Whether the request said it itself.
    asked: bool,
    canceled: Arc<AtomicBool>,
}

impl Deadline {
    /// From now on for so long.
    pub fn within(within: Duration) -> Self {
        Self {
            started: Instant::now(),
            within,
            asked: false,
            canceled: Arc::default(),
        }
    }

    /// The same, as the request itself says.
    pub fn asked_within(within: Duration) -> Self {
        Self {
            asked: true,
            ..Self::within(within)
        }
    }

    /// Nobody waits any more, so it is over now, for all clones.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// How long the answer is still wanted.
    pub fn left(&self) -> Duration {
        match self.canceled.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => self.within.saturating_sub(self.started.elapsed()),
        }
    }

    /// Does work of this thread that is wanted until then.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Deadline>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// How long the request says that the work of this thread is wanted, if it does.
    pub fn asked() -> Option<Duration> {
        CURRENT.with_borrow(|current| {
            current
                .as_ref()
                .filter(|deadline| deadline.asked)
                .map(|deadline| deadline.within)
        })
    }

    /// Lets the work of this thread be wanted no longer than that, if it has a deadline.
    pub fn shorten(most: Duration) {
        CURRENT.with_borrow_mut(|current| {
            if let Some(deadline) = current {
                deadline.within = deadline.within.min(most);
            }
        });
    }

    /// How long the work of this thread was wanted, where that is over.
    pub fn missed() -> Option<Duration> {
        CURRENT.with_borrow(|current| {
            let deadline = current.as_ref()?;
            let over = deadline.canceled.load(Ordering::Relaxed) || deadline.started.elapsed() >= deadline.within;
            over.then_some(deadline.within)
        })
    }
}

/// Looks at the deadline of this thread every so many steps of a loop.
#[derive(Debug)]
pub struct Watch {
    every: u32,
    steps: u32,
    missed: bool,
}

impl Watch {
    /// Every so many steps: about a millisecond of work.
    pub fn every(steps: u32) -> Self {
        Self {
            every: steps,
            steps: 0,
            missed: false,
        }
    }

    /// One step more: whether the deadline was missed, from then on for good. What the loop has found is then not whole, and
    /// whoever called it asks [`Deadline::missed`] before it is used.
    #[inline]
    pub fn missed(&mut self) -> bool {
        self.steps += 1;
        if self.steps >= self.every {
            self.steps = 0;
            self.missed |= Deadline::missed().is_some();
        }
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_that_of_its_thread_and_ends_with_its_work() {
        assert_eq!(Deadline::missed(), None);
        let passed = Deadline::within(Duration::ZERO);
        passed.during(|| {
            assert_eq!(Deadline::missed(), Some(Duration::ZERO));
            assert_eq!(std::thread::spawn(Deadline::missed).join().unwrap(), None);
            let far = Deadline::within(Duration::from_secs(1_000));
            far.during(|| assert_eq!(Deadline::missed(), None));
            assert!(Deadline::missed().is_some());
        });
        let asked = Deadline::asked_within(Duration::from_secs(1_000));
        asked.during(|| {
            assert_eq!(Deadline::asked(), Some(Duration::from_secs(1_000)));
            Deadline::shorten(Duration::ZERO);
            assert_eq!(Deadline::missed(), Some(Duration::ZERO));
        });
        assert_eq!(Deadline::missed(), None);
        let panicked = std::panic::catch_unwind(|| passed.during(|| panic!("in between")));
        assert!(panicked.is_err() && Deadline::missed().is_none());
    }

    #[test]
    fn a_loop_ends_when_nobody_waits() {
        let deadline = Deadline::within(Duration::from_secs(1_000));
        let steps = deadline.during(|| {
            let mut watch = Watch::every(10);
            let mut steps = 0;
            while !watch.missed() {
                steps += 1;
                if steps == 25 {
                    deadline.cancel();
                }
            }
            assert!(watch.missed(), "for good");
            steps
        });
        assert_eq!(steps, 29);
    }
}
