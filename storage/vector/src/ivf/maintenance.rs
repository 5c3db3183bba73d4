//! Keeping lists of a like length between trainings: what grows far beyond the others is split, what withers is dissolved.

use std::sync::Arc;

use super::{Cancel, Ivf, NONE};
use crate::arena::Arena;
use crate::centroids::{Centroids, Row};
use crate::kernel::{SLICE, kernels};
use crate::list::List;

/// A list is split when it is this many times as long as the mean.
pub(super) const SPLIT_FACTOR: usize = 4;

/// A list is dissolved when it is this many times shorter than the mean.
const DISSOLVE_FACTOR: usize = 8;

/// Lists around a split one whose members are assigned anew.
const SPLIT_NEIGHBOURS: usize = 8;

impl Ivf {
    /// Splits lists that are too long and dissolves those that are too short.
    pub(super) fn maintain(&mut self, arena: &Arena, cancel: Cancel<'_>) {
        if self.lists.len() < 2 {
            return;
        }
        let entries = |index: &Self| index.lists.iter().map(|list| list.len()).sum::<usize>();
        let mean = entries(self) / self.lists.len();
        let (mut changed, mut list) = (false, 0);
        while list < self.lists.len() && !cancel() {
            if self.lists[list].len() > SPLIT_FACTOR * mean.max(16) {
                changed |= self.split(arena, list);
            }
            list += 1;
        }
        for list in (0..self.lists.len()).rev() {
            if self.lists[list].len() < mean / DISSOLVE_FACTOR && self.lists.len() > 2 && !cancel() {
                self.dissolve(arena, list);
                changed = true;
            }
        }
        if changed {
            self.centroid_codes = self.coded_centroids();
        }
    }

    /// Cuts a list in two, and assigns the members of the lists around it anew; says whether it could be cut.
    fn split(&mut self, arena: &Arena, list: usize) -> bool {
        let members: Vec<u32> = self.lists[list].offsets().to_vec();
        let rows: Vec<Row<'_>> = members.iter().map(|&offset| self.row(arena, offset)).collect();
        let halves = Centroids::train(self.rotation.size(), 2, &rows, 1, &|| false);
        let sides = halves.assign(&rows, 1);
        let right = sides.iter().filter(|&&side| side == 1).count();
        if halves.len() < 2 || right < members.len() / 16 || members.len() - right < members.len() / 16 {
            // What is all alike cannot be told apart; one long list of it is as good as two.
            return false;
        }
        let (old, _) = self.centroids.get(list);
        let mut neighbours: Vec<(f32, usize)> = (0..self.centroids.len())
            .filter(|&other| other != list)
            .map(|other| (kernels().squared_euclid(old, self.centroids.get(other).0), other))
            .collect();
        neighbours.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut moving = members;
        for &(_, neighbour) in neighbours.iter().take(SPLIT_NEIGHBOURS) {
            moving.extend_from_slice(self.lists[neighbour].offsets());
        }
        let centroids = Arc::make_mut(&mut self.centroids);
        let (left, right) = (halves.get(0), halves.get(1));
        centroids.set(list, left.0, left.1);
        centroids.push(right.0, right.1);
        self.lists.push(Arc::new(List::new(self.origin.len() / SLICE)));
        moving.sort_unstable();
        moving.dedup();
        self.place(arena, &moving, 1);
        true
    }

    /// Gives the members of a list to the others.
    fn dissolve(&mut self, arena: &Arena, list: usize) {
        let last = self.lists.len() - 1;
        let members: Vec<u32> = self.lists[list].offsets().to_vec();
        let renamed: Vec<u32> = self.lists[last].offsets().to_vec();
        // The members leave all their lists while the numbers still hold.
        for &offset in &members {
            let home = self.homes.get(offset);
            for home in home.into_iter().filter(|&home| home != NONE) {
                Arc::make_mut(&mut self.lists[home as usize]).remove(offset);
            }
            self.homes.set(offset, [NONE; 2]);
            self.len -= 1;
        }
        for offset in renamed {
            let home = self.homes.get(offset);
            self.homes.set(
                offset,
                home.map(|home| if home == last as u32 { list as u32 } else { home }),
            );
        }
        self.lists.swap_remove(list);
        Arc::make_mut(&mut self.centroids).swap_remove(list);
        self.place(arena, &members, 1);
    }
}
