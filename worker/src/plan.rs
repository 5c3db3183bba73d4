//! What is encoded next: a pure function of what waits and of what was done lately.

use std::collections::BTreeMap;

use twofold_storage::{CollectionId, WaitingCollection, WaitingTask};
use twofold_types::{Priority, TaskId};

/// A collection that may have the next window.
pub(crate) struct Candidate<'a> {
    pub(crate) waiting: &'a WaitingCollection,
    /// How many documents it may have in it.
    pub(crate) most: u64,
}

/// The next window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) collection: CollectionId,
    pub(crate) priority: Priority,
    pub(crate) slices: Vec<Slice>,
}

/// Documents of one task that are taken up together: those that are tried again, and then `count` from `from` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) task: TaskId,
    pub(crate) due: Vec<u64>,
    pub(crate) from: u64,
    pub(crate) count: u64,
}

/// What collections had of the work lately. Each has a clock of its own that is put forward by the work it gets, more slowly
/// where that is urgent, and the one that is behind goes next (start-time fair queueing: Goyal, Vin, Cheng 1996). So
/// collections that have something waiting all the time get equal shares but for two windows, and who had nothing does not
/// save up.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// Where the clock stood of the collection that went last.
    now: u64,
    clocks: BTreeMap<CollectionId, u64>,
}

/// How far a byte puts a collection's clock forward.
pub(crate) fn cost(priority: Priority) -> u64 {
    match priority {
        Priority::High => 1,
        Priority::Normal => 4,
        Priority::Low => 16,
    }
}

impl Shares {
    fn clock(&self, collection: CollectionId) -> u64 {
        self.clocks
            .get(&collection)
            .map_or(self.now, |clock| self.now.max(*clock))
    }

    /// Notes that a collection got a window.
    pub(crate) fn charge(&mut self, collection: CollectionId, priority: Priority, bytes: u64) {
        self.now = self.clock(collection);
        self.clocks.insert(
            collection,
            self.now.saturating_add(bytes.saturating_mul(cost(priority))),
        );
        let now = self.now;
        self.clocks.retain(|_, clock| *clock > now);
    }
}

/// The next window: documents of the collection that had least, of its tasks of the highest priority, the oldest first, out of
/// as many tasks as fit. Encoding many at once lets the batcher put texts of one length together; one collection, because a
/// window is committed as one write.
pub(crate) fn plan(candidates: &[Candidate<'_>], shares: &Shares) -> Option<Plan> {
    let has_work = |task: &&WaitingTask| task.left > 0 || !task.due.is_empty();
    let candidates = candidates.iter().filter_map(|candidate| {
        let waiting = candidate.waiting;
        Some((candidate, waiting.tasks.iter().find(has_work)?.priority))
    });
    let (Candidate { waiting, most }, priority) =
        candidates.min_by_key(|(candidate, _)| shares.clock(candidate.waiting.id))?;
    let mut room = *most;
    let mut slices = Vec::new();
    for task in waiting
        .tasks
        .iter()
        .filter(|task| task.priority == priority)
        .filter(has_work)
    {
        if room == 0 {
            break;
        }
        let due: Vec<u64> = task.due.iter().copied().take(room as usize).collect();
        room -= due.len() as u64;
        let count = task.left.min(room);
        room -= count;
        slices.push(Slice {
            task: task.task,
            due,
            from: task.from,
            count,
        });
    }
    (!slices.is_empty()).then_some(Plan {
        collection: waiting.id,
        priority,
        slices,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(task: u64, from: u64, left: u64) -> WaitingTask {
        WaitingTask {
            task: TaskId(task),
            priority: Priority::Normal,
            due: Vec::new(),
            from,
            left,
        }
    }

    fn waiting(id: u32, tasks: Vec<WaitingTask>) -> WaitingCollection {
        WaitingCollection {
            id: CollectionId(id),
            collection: id.to_string().parse().unwrap(),
            tasks,
        }
    }

    fn next(collections: &[WaitingCollection], most: u64, shares: &Shares) -> Option<Plan> {
        let candidates: Vec<_> = collections.iter().map(|waiting| Candidate { waiting, most }).collect();
        plan(&candidates, shares)
    }

    fn slices(plan: Option<Plan>) -> Vec<(u64, u64, u64)> {
        let slices = plan.into_iter().flat_map(|plan| plan.slices);
        slices.map(|slice| (slice.task.0, slice.from, slice.count)).collect()
    }

    #[test]
    fn small_tasks_of_one_collection_share_a_window() {
        let collections = [
            waiting(0, vec![task(1, 0, 1), task(3, 0, 1)]),
            waiting(1, vec![task(2, 0, 1)]),
        ];
        let shares = Shares::default();
        assert_eq!(slices(next(&collections, 10, &shares)), [(1, 0, 1), (3, 0, 1)]);
    }

    #[test]
    fn a_window_ends_when_it_is_full() {
        let collections = [waiting(0, vec![task(1, 7, 3), task(2, 0, 5), task(3, 0, 1)])];
        let shares = Shares::default();
        assert_eq!(slices(next(&collections, 5, &shares)), [(1, 7, 3), (2, 0, 2)]);
        assert_eq!(slices(next(&[], 5, &shares)), []);
    }

    #[test]
    fn what_is_tried_again_goes_before_what_is_new_and_counts_into_the_window() {
        let again = WaitingTask {
            due: vec![2, 4],
            ..task(1, 9, 5)
        };
        let collections = [waiting(0, vec![again])];
        let slice = next(&collections, 3, &Shares::default()).unwrap().slices.pop().unwrap();
        assert_eq!((slice.due, slice.from, slice.count), (vec![2, 4], 9, 1));
    }

    #[test]
    fn urgent_tasks_have_a_window_of_their_own() {
        let urgent = WaitingTask {
            priority: Priority::High,
            ..task(9, 0, 2)
        };
        let collections = [waiting(0, vec![urgent, task(1, 0, 5)])];
        let plan = next(&collections, 10, &Shares::default());
        assert_eq!(plan.as_ref().unwrap().priority, Priority::High);
        assert_eq!(slices(plan), [(9, 0, 2)]);
    }

    const COLLECTIONS: [u32; 4] = [0, 1, 2, 3];

    /// What happens between two windows: a task of so many documents arrives.
    fn arrivals() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
        prop::collection::vec((0..COLLECTIONS.len(), 0..3_u64, 1..30_u64), 0..200)
    }

    fn priority(n: u64) -> Priority {
        [Priority::High, Priority::Normal, Priority::Low][n as usize]
    }

    proptest! {
        /// Against a model that knows what waits: every document is planned once; within a collection and priority in the
        /// order of acceptance; none of a priority while one of a higher priority waits in its collection; and something is
        /// planned as long as something waits.
        #[test]
        fn every_document_is_planned_once_and_in_its_order(arrivals in arrivals(), most in 1..40_u64) {
            let mut collections: Vec<_> = COLLECTIONS.iter().map(|id| waiting(*id, Vec::new())).collect();
            let mut shares = Shares::default();
            let mut arrivals = arrivals.into_iter().enumerate();
            let mut accepted = 0;
            let mut planned = 0;
            loop {
                let arrived = arrivals.by_ref().take(2).map(|(id, (collection, level, documents))| {
                    let new = WaitingTask { priority: priority(level), ..task(id as u64, 0, documents) };
                    collections[collection].tasks.push(new);
                    collections[collection].tasks.sort_by_key(|task| (task.priority, task.task));
                    documents
                });
                let arrived: Vec<u64> = arrived.collect();
                accepted += arrived.iter().sum::<u64>();
                let Some(plan) = next(&collections, most, &shares) else {
                    prop_assert_eq!(planned, accepted);
                    if arrived.is_empty() { break; }
                    continue;
                };
                let (id, level, slices) = (plan.collection, plan.priority, plan.slices.clone());
                let tasks = &mut collections.iter_mut().find(|waiting| waiting.id == id).unwrap().tasks;
                prop_assert!(slices.iter().map(|slice| slice.count).sum::<u64>() <= most);
                for slice in &slices {
                    // The first of all that is left.
                    let head = tasks.iter_mut().find(|task| task.left > 0).unwrap();
                    prop_assert_eq!((head.task, head.from, head.priority), (slice.task, slice.from, level));
                    prop_assert!(slice.count > 0 && slice.count <= head.left);
                    head.from += slice.count;
                    head.left -= slice.count;
                    planned += slice.count;
                }
                shares.charge(id, level, slices.iter().map(|slice| slice.count).sum());
            }
        }

        /// Collections that have something waiting all the time get the same, whatever their windows hold, but for two of
        /// the largest windows; and by priority four times as much a step. Some of them pause in between and are not paid
        /// back for it.
        #[test]
        fn collections_with_enough_to_do_get_equal_shares(
            sizes in prop::collection::vec(1..1_000_u64, 100..300),
            levels in prop::collection::vec(0..3_u64, COLLECTIONS.len()),
            pause in (0..COLLECTIONS.len(), 0..100_usize),
        ) {
            let endless = |level| WaitingTask { priority: priority(level), ..task(1, 0, u64::MAX / 2) };
            let collections: Vec<_> = COLLECTIONS.iter().zip(&levels).map(|(id, level)| waiting(*id, vec![endless(*level)])).collect();
            let (paused, until) = pause;
            let mut shares = Shares::default();
            let mut worked = BTreeMap::new();
            for (step, bytes) in sizes.into_iter().enumerate() {
                let awake: Vec<_> = collections.iter().enumerate()
                    .filter(|(n, _)| *n != paused || step >= until)
                    .map(|(_, waiting)| waiting.clone())
                    .collect();
                if step == until {
                    worked.clear();
                }
                let plan = next(&awake, 10, &shares).unwrap();
                let (id, level) = (plan.collection, plan.priority);
                shares.charge(id, level, bytes);
                *worked.entry(id).or_insert(0) += bytes * cost(level);
                let clocks = awake.iter().map(|waiting| worked.get(&waiting.id).copied().unwrap_or(0));
                let (least, most) = clocks.fold((u64::MAX, 0), |(least, most), clock| (least.min(clock), most.max(clock)));
                prop_assert!(most - least <= 2 * 1_000 * cost(Priority::Low), "step {}: {} to {}", step, least, most);
            }
        }
    }
}
