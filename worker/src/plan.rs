//! What is encoded next: a pure function of what waits.

use twofold_types::TaskId;

/// A task with documents that were not yet taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting<'a> {
    pub(crate) task: TaskId,
    /// The collection they go to.
    pub(crate) collection: &'a str,
    /// The first document that was not taken up.
    pub(crate) from: u64,
    /// How many were not taken up.
    pub(crate) left: u64,
}

/// Documents of one task that are taken up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) task: TaskId,
    pub(crate) from: u64,
    pub(crate) count: u64,
}

/// The next window: documents of one collection, oldest first, out of as many tasks as fit. Encoding many at once lets the
/// batcher put texts of one length together; one collection, because a window is committed as one write.
pub(crate) fn plan(waiting: &[Waiting<'_>], max_documents: u64) -> Vec<Slice> {
    let Some(first) = waiting.first() else {
        return Vec::new();
    };
    let mut room = max_documents;
    let mut window = Vec::new();
    for task in waiting
        .iter()
        .filter(|task| task.collection == first.collection && task.left > 0)
    {
        let count = task.left.min(room);
        if count == 0 {
            break;
        }
        window.push(Slice {
            task: task.task,
            from: task.from,
            count,
        });
        room -= count;
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(task: u64, collection: &str, from: u64, left: u64) -> Waiting<'_> {
        Waiting {
            task: TaskId(task),
            collection,
            from,
            left,
        }
    }

    fn slices(plan: Vec<Slice>) -> Vec<(u64, u64, u64)> {
        plan.into_iter()
            .map(|slice| (slice.task.0, slice.from, slice.count))
            .collect()
    }

    #[test]
    fn small_tasks_of_one_collection_share_a_window() {
        let tasks = [waiting(1, "a", 0, 1), waiting(2, "b", 0, 1), waiting(3, "a", 0, 1)];
        assert_eq!(slices(plan(&tasks, 10)), [(1, 0, 1), (3, 0, 1)]);
    }

    #[test]
    fn a_window_ends_when_it_is_full() {
        let tasks = [waiting(1, "a", 7, 3), waiting(2, "a", 0, 5), waiting(3, "a", 0, 1)];
        assert_eq!(slices(plan(&tasks, 5)), [(1, 7, 3), (2, 0, 2)]);
        assert_eq!(slices(plan(&[], 5)), []);
    }
}
