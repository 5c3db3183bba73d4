//! Which texts share a forward pass. Pure planning; [`Encoder::encode`](crate::Encoder::encode) does it.

use crate::Device;

/// How many tokens one forward pass may hold, padding included.
///
/// Larger batches use matrix units better until the activations leave the cache (CPU) or the memory (GPU); they also
/// keep the device busy for longer before a waiting query gets its turn. Too small costs throughput, too large costs
/// latency and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBudget(usize);

impl TokenBudget {
    /// A budget of `tokens`. A text that is longer than the budget still gets a batch, its own.
    pub const fn new(tokens: usize) -> Self {
        Self(tokens)
    }

    /// What suits a device: the default on the CPU, 16,384 tokens on a GPU, which a few hundred leave idle.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() {
            Self::default()
        } else {
            Self(1 << 14)
        }
    }

    /// The budget in tokens.
    pub const fn tokens(self) -> usize {
        self.0
    }
}

/// 512 tokens: on a CPU core more gains little throughput, and a batch still takes about half a second on a slow one.
impl Default for TokenBudget {
    fn default() -> Self {
        Self(512)
    }
}

/// Groups texts of the given token `lengths` into batches whose padded size, longest text times number of texts, keeps
/// to `budget`. Returns positions in `lengths`; each occurs exactly once, and no batch is empty.
///
/// Texts are sorted by length, so that a batch holds texts of about one length and little of it is padding; texts of
/// equal length keep their order. The longest come first: the batch that needs the most memory fails at once or not at
/// all, buffers of its size then serve all later ones, and the last batches, which decide when several lanes are done,
/// are the small ones.
pub fn plan(lengths: &[usize], budget: TokenBudget) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));

    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for i in order {
        match batches.last_mut() {
            Some(batch) if longest * (batch.len() + 1) <= budget.0 => batch.push(i),
            _ => {
                longest = lengths[i];
                batches.push(vec![i]);
            }
        }
    }
    batches
}

/// What was made of the texts of several batches, in the order of the texts again; `made` has every position once.
pub fn in_order<T>(mut made: Vec<(usize, T)>) -> Vec<T> {
    made.sort_unstable_by_key(|(position, _)| *position);
    made.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
        plan(lengths, TokenBudget::new(budget))
    }

    #[test]
    fn nothing_makes_no_batch() {
        assert!(planned(&[], 8).is_empty());
    }

    #[test]
    fn longest_first_and_equal_lengths_in_their_order() {
        assert_eq!(planned(&[2, 5, 2, 9, 5], 1000), [[3, 1, 4, 0, 2]]);
    }

    #[test]
    fn padding_counts_towards_the_budget() {
        // 9 + 2 tokens would fit 12; padded they are 18.
        assert_eq!(planned(&[2, 9, 2], 12), [vec![1], vec![0, 2]]);
    }

    #[test]
    fn a_text_over_the_budget_travels_alone() {
        assert_eq!(planned(&[50, 3, 60], 10), [vec![2], vec![0], vec![1]]);
        assert_eq!(planned(&[5, 5], 0), [[0], [1]]);
    }

    #[test]
    fn what_batches_made_comes_back_in_the_order_of_the_texts() {
        let lengths = [2, 9, 2, 5];
        let batches = planned(&lengths, 5);
        let made = batches.concat().into_iter().map(|i| (i, lengths[i])).collect();
        assert_eq!(in_order(made), lengths);
    }

    #[test]
    fn every_text_is_planned_once_and_every_batch_keeps_to_the_budget() {
        let lengths: Vec<usize> = (0..500).map(|i| (i * 7919) % 256 + 1).collect();
        let batches = planned(&lengths, 1024);
        for batch in &batches {
            let longest = batch.iter().map(|&i| lengths[i]).max().unwrap();
            assert!(longest * batch.len() <= 1024, "{batch:?}");
        }
        let mut seen: Vec<usize> = batches.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
    }
}
