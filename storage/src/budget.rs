//! The memory budget: how large it is by default, and what is to be given up when more than that is held.
//!
//! Relief begins when the budget is exceeded and goes on until an eighth of it is free, so that it does not begin again with
//! the next few writes. Vectors never move back up while the store is open.

use std::path::Path;

use crate::placement::Placement;

/// One part in this many of the budget is free after relief.
const FREED_SHARE: u64 = 8;

/// Vectors are opened as they were asked for where that takes at most one part in this many of the budget.
const OPENED_SHARE: u64 = 2;

/// One part in this many of the machine's memory is the default budget.
const DEFAULT_SHARE: u64 = 2;

/// What the vectors under one name hold on the heap, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) placement: Placement,
    /// Rows in full precision.
    pub(crate) rows: u64,
    /// Byte codes and index.
    pub(crate) codes: u64,
}

/// What to do about too much memory, by the number of the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relief {
    /// Write a checkpoint and read rows from it that are on the heap so far.
    Checkpoint(usize),
    /// Move the vectors one step down.
    StepDown(usize),
    /// Nothing: there is too much, but nothing is left to be given up.
    Exhausted,
}

/// The next thing to do, that which does least harm; none where the budget is kept. `others` are bytes beside those of
/// vectors. Once `relieving`, it goes on until a part of the budget is free.
pub(crate) fn relief(held: &[Held], others: u64, budget: u64, relieving: bool) -> Option<Relief> {
    let total = others + held.iter().map(|held| held.rows + held.codes).sum::<u64>();
    let target = budget - budget / FREED_SHARE;
    if total <= if relieving { target } else { budget } {
        return None;
    }
    let largest = |bytes: &dyn Fn(&Held) -> u64| {
        let places = held.iter().map(bytes).enumerate().filter(|&(_, bytes)| bytes > 0);
        places
            .max_by_key(|&(place, bytes)| (bytes, std::cmp::Reverse(place)))
            .map(|(place, _)| place)
    };
    let rows = |mapped: bool| {
        move |held: &Held| {
            if held.placement.is_mapped() == mapped {
                held.rows
            } else {
                0
            }
        }
    };
    if held.iter().map(rows(true)).sum::<u64>() >= total - target {
        return largest(&rows(true)).map(Relief::Checkpoint);
    }
    let codes = |held: &Held| match held.placement {
        Placement::Mapped => held.rows + held.codes,
        Placement::Memory | Placement::Disk => 0,
    };
    let down = largest(&rows(false)).or_else(|| largest(&codes)).map(Relief::StepDown);
    down.or((total > budget).then_some(Relief::Exhausted))
}

/// Vectors that are about to be opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed {
    pub(crate) asked: Placement,
    /// Where they were last.
    pub(crate) recorded: Placement,
    /// Bytes of their checkpoint, which is about as large as they would be in memory.
    pub(crate) bytes: u64,
}

impl Closed {
    fn held(&self, placement: Placement) -> Held {
        let codes = self.bytes / 4;
        Held {
            placement,
            rows: if placement == Placement::Memory {
                self.bytes - codes
            } else {
                0
            },
            codes: if placement.has_codes() { codes } else { 0 },
        }
    }
}

/// Where vectors are to be when they are opened: as they were asked for where there is plenty of room, otherwise as they were
/// last, or below that if the budget calls for it.
pub(crate) fn opening(closed: &[Closed], budget: u64) -> Vec<Placement> {
    let as_asked: Vec<Held> = closed.iter().map(|closed| closed.held(closed.asked)).collect();
    if as_asked.iter().map(|held| held.rows + held.codes).sum::<u64>() <= budget / OPENED_SHARE {
        return closed.iter().map(|closed| closed.asked).collect();
    }
    let mut held: Vec<Held> = closed.iter().map(|closed| closed.held(closed.recorded)).collect();
    let mut relieving = false;
    while let Some(Relief::StepDown(place)) = relief(&held, 0, budget, relieving) {
        let lower = held[place].placement.down();
        held[place] = closed[place].held(lower.unwrap_or(Placement::Disk));
        relieving = true;
    }
    held.iter().map(|held| held.placement).collect()
}

/// Half of the memory that this process may use. Where the system does not tell, there is no limit.
pub(crate) fn default_bytes() -> u64 {
    memory_bytes().map_or(u64::MAX, |bytes| bytes / DEFAULT_SHARE)
}

/// Bytes of the process that are in memory, files that it maps included. `None` where the system does not say (only Linux does).
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = kilobytes.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// How much of the memory that it may use the process takes, in percent. `None` where the system does not say.
pub fn resident_percent() -> Option<f64> {
    let (resident, all) = (resident_bytes()?, memory_bytes()?);
    Some(resident as f64 * 100.0 / all.max(1) as f64)
}

/// Bytes of memory that this process may use: the machine's, or less where its control group says so. `None` where the system
/// does not tell.
pub fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| meminfo_bytes(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_files(&groups).into_iter();
    let group = limits.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    group.chain(machine).min()
}

fn meminfo_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}

/// The files that may limit this process's memory: those of its group and of all groups around that, in version 2, and where
/// containers see version 1.
fn group_files(groups: &str) -> Vec<std::path::PathBuf> {
    let mut files = vec!["/sys/fs/cgroup/memory/memory.limit_in_bytes".into()];
    if let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) {
        let around = Path::new(own).ancestors();
        files.extend(around.map(|group| Path::new("/sys/fs/cgroup").join(group).join("memory.max")));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use Placement::{Disk, Mapped, Memory};

    fn held(placement: Placement, rows: u64, codes: u64) -> Held {
        Held { placement, rows, codes }
    }

    #[test]
    fn nothing_moves_while_the_budget_is_kept() {
        let vectors = [held(Memory, 600, 200), held(Mapped, 0, 100)];
        assert_eq!(relief(&vectors, 100, 1_000, false), None);
        assert_eq!(relief(&vectors, 101, 1_000, false), Some(Relief::StepDown(0)));
    }

    #[test]
    fn relief_goes_on_until_a_part_of_the_budget_is_free() {
        assert_eq!(relief(&[held(Memory, 600, 276)], 0, 1_000, false), None);
        assert_eq!(
            relief(&[held(Memory, 600, 276)], 0, 1_000, true),
            Some(Relief::StepDown(0))
        );
        assert_eq!(relief(&[held(Memory, 600, 275)], 0, 1_000, true), None);
    }

    #[test]
    fn the_largest_goes_first_and_memory_before_codes() {
        let vectors = [held(Memory, 10, 5), held(Mapped, 0, 900), held(Memory, 20, 7)];
        assert_eq!(relief(&vectors, 0, 100, false), Some(Relief::StepDown(2)));
        let vectors = [held(Mapped, 0, 50), held(Mapped, 0, 900), held(Disk, 20, 0)];
        assert_eq!(relief(&vectors, 0, 100, false), Some(Relief::StepDown(1)));
    }

    #[test]
    fn a_checkpoint_is_enough_where_it_frees_enough() {
        let vectors = [held(Memory, 500, 100), held(Mapped, 90, 100), held(Disk, 110, 0)];
        assert_eq!(relief(&vectors, 0, 800, false), Some(Relief::Checkpoint(2)));
        assert_eq!(relief(&vectors, 0, 700, false), Some(Relief::StepDown(0)));
    }

    #[test]
    fn where_nothing_is_left_to_give_up_nothing_is_done() {
        let vectors = [held(Disk, 0, 0), held(Disk, 10, 0)];
        assert_eq!(relief(&vectors, 5_000, 1_000, true), Some(Relief::Exhausted));
        assert_eq!(relief(&[], 900, 1_000, true), None);
    }

    #[test]
    fn vectors_open_as_asked_with_room_to_spare_and_as_recorded_otherwise() {
        let closed = |asked, recorded, bytes| Closed { asked, recorded, bytes };
        let one = [closed(Memory, Disk, 400), closed(Disk, Disk, 1_000)];
        assert_eq!(opening(&one, 800), [Memory, Disk]);
        assert_eq!(opening(&one, 799), [Disk, Disk]);
        // The machine has become smaller: what would not fit is not loaded to begin with.
        let large = [closed(Memory, Memory, 4_000), closed(Memory, Memory, 400)];
        assert_eq!(opening(&large, 8_800), [Memory, Memory]);
        assert_eq!(opening(&large, 4_400), [Memory, Memory]);
        assert_eq!(opening(&large, 2_000), [Mapped, Memory]);
        assert_eq!(opening(&large, 1_300), [Mapped, Mapped]);
        assert_eq!(opening(&large, 300), [Disk, Mapped]);
    }

    #[test]
    fn the_machine_and_its_groups_say_what_there_is() {
        assert_eq!(meminfo_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16_384));
        let files = group_files("1:memory:/old\n0::/a.slice/b.scope\n");
        for file in ["a.slice/b.scope/memory.max", "a.slice/memory.max", "memory.max"] {
            assert!(files.contains(&Path::new("/sys/fs/cgroup").join(file)), "{file}");
        }
    }
}
