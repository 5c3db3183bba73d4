//! What every thread that works on documents is at, and since when: a stage that hangs is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;
use parking_lot::Mutex;

use crate::stop::Stop;
use crate::timings::{TimedStep, Timings};

/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(1);

/// A thread that works on documents.
#[derive(Clone)]
pub(crate) struct Stage(Arc<Mutex<State>>);

struct State {
    name: String,
    /// Where the durations of its work are counted, and as what.
    timed: Option<(Arc<Timings>, TimedStep)>,
    work: Option<Work>,
}

struct Work {
    what: String,
    since: Instant,
    reported: bool,
}

/// Work that is going on until this is dropped.
#[must_use = "the work ends when this is dropped"]
pub(crate) struct Busy<'a>(&'a Stage);

impl Stage {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(State {
            name: name.into(),
            timed: None,
            work: None,
        })))
    }

    /// The same, with the durations of its work counted.
    pub(crate) fn timed(self, timings: &Arc<Timings>, step: TimedStep) -> Self {
        self.0.lock().timed = Some((timings.clone(), step));
        self
    }

    /// Says what the thread is at from now on.
    pub(crate) fn begin(&self, what: impl Into<String>) -> Busy<'_> {
        self.0.lock().work = Some(Work {
            what: what.into(),
            since: Instant::now(),
            reported: false,
        });
        Busy(self)
    }

    /// The stage as it is answered; one that takes longer than `bound` hangs.
    pub(crate) fn answer(&self, bound: Duration) -> twofold_types::Stage {
        let state = self.0.lock();
        let busy = state.work.as_ref().map(|work| work.since.elapsed());
        twofold_types::Stage {
            name: state.name.clone(),
            busy_seconds: busy.map(|busy| busy.as_secs_f64()),
            hangs: busy.is_some_and(|busy| busy > bound),
        }
    }

    /// What it is at for longer than `bound`, the first time that this is asked.
    fn overdue(&self, bound: Duration) -> Option<(String, String, Duration)> {
        let mut state = self.0.lock();
        let name = state.name.clone();
        let work = state.work.as_mut().filter(|work| !work.reported)?;
        let busy = work.since.elapsed();
        if busy <= bound {
            return None;
        }
        work.reported = true;
        Some((name, work.what.clone(), busy))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        let work = state.work.take();
        if let (Some((timings, step)), Some(work)) = (&state.timed, work) {
            timings.observe(*step, work.since.elapsed());
        }
    }
}

/// The watchdog thread: logs every piece of work that takes longer than `bound`, once.
pub(crate) fn watch(stages: &[Stage], bound: Duration, stop: &Stop) {
    while stop.signal.recv_timeout(WATCH) == Err(RecvTimeoutError::Timeout) {
        for (stage, what, busy) in stages.iter().filter_map(|stage| stage.overdue(bound)) {
            tracing::error!(stage, what, ?busy, "a stage of ingestion hangs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_takes_too_long_is_reported_once_and_is_seen_until_it_ends() {
        let stage = Stage::new("committer");
        let bound = Duration::from_millis(1);
        assert_eq!(stage.answer(bound).busy_seconds, None);
        let busy = stage.begin("7 documents of `docs`");
        assert!(stage.overdue(Duration::from_secs(60)).is_none());
        std::thread::sleep(2 * bound);
        let (name, what, _) = stage.overdue(bound).unwrap();
        assert_eq!((name.as_str(), what.as_str()), ("committer", "7 documents of `docs`"));
        assert!(stage.overdue(bound).is_none());
        assert!(stage.answer(bound).hangs);
        drop(busy);
        assert!(!stage.answer(bound).hangs);
    }
}
