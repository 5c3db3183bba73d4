//! Where the vectors of a collection are, and how they move.

use std::sync::atomic::AtomicBool;

use bincode::{Decode, Encode};
use twofold_types::VectorParams;
use twofold_vector::Arena;

use crate::collection::Collection;
use crate::error::Result;
use crate::indexing::threshold;

/// Where the vectors under one name are, from the fastest to the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Placement {
    /// Rows in full precision, byte codes and index in memory.
    Memory,
    /// Byte codes and index in memory, rows mapped from the checkpoint. Rows that were written since are in memory.
    Mapped,
    /// Rows mapped from the checkpoint, an index on disk, and nothing but what was written since in memory.
    Disk,
}

/// The kinds of quantised vectors that clients may ask to have in memory. Which of them is asked for makes no difference.
const QUANTISED: [&str; 3] = ["scalar", "product", "binary"];

impl Placement {
    /// What a vector's parameters ask for: `on_disk`, and of quantised vectors `always_ram`.
    pub fn asked(params: &VectorParams) -> Self {
        if !params.on_disk.unwrap_or(false) {
            return Self::Memory;
        }
        let quantisation = params.quantization_config.as_ref();
        let always_ram = |kind: &&str| quantisation.is_some_and(|config| config[kind]["always_ram"] == true);
        match QUANTISED.iter().any(always_ram) {
            true => Self::Mapped,
            false => Self::Disk,
        }
    }

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Mapped => "mapped",
            Self::Disk => "disk",
        }
    }

    /// The next one that takes less memory.
    pub(crate) fn down(self) -> Option<Self> {
        match self {
            Self::Memory => Some(Self::Mapped),
            Self::Mapped => Some(Self::Disk),
            Self::Disk => None,
        }
    }

    /// Whether byte codes are kept, and with them an index in memory.
    pub(crate) fn has_codes(self) -> bool {
        self != Self::Disk
    }

    /// Whether rows are read from the checkpoint.
    pub(crate) fn is_mapped(self) -> bool {
        self != Self::Memory
    }
}

impl Collection {
    /// Moves vectors where they take less memory; writes and searches go on meanwhile. Called by the indexer thread alone.
    pub(crate) fn step_down(&self, number: usize, cancel: &AtomicBool) -> Result<()> {
        let slot = &self.indexes[number];
        let placement = self.state().schema.placements[number];
        let Some(lower) = placement.down() else {
            return Ok(());
        };
        tracing::info!(
            collection = %self.name(), vector = number, from = placement.as_str(), to = lower.as_str(),
            "the memory budget is exceeded: vectors are moved"
        );
        if lower.has_codes() {
            let mut writer = self.lock_writer()?;
            let mut record = writer.record.clone();
            record.vectors[number].placement = lower;
            self.alter(&mut writer, record)?;
            drop(writer);
            fail::fail_point!("placement::recorded");
        } else {
            let state = self.state();
            let arena = &state.arenas[number];
            let small = arena.present().len() <= threshold(lower, arena, &self.options);
            // What is given up is not to be held from here.
            drop(state);
            match small {
                true => self.put_on_disk(slot, number, None)?,
                false => self.build_on_disk(slot, number, &|| self.is_cancelled(cancel))?,
            }
            if self.state().schema.placements[number] != lower {
                // It was cancelled.
                return Ok(());
            }
            self.change_arena(number, Arena::drop_codes)?;
            fail::fail_point!("placement::uncoded");
        }
        self.save(number)?;
        self.trim_log()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use twofold_types::Distance;

    use super::*;

    #[test]
    fn parameters_ask_for_a_placement() {
        let asked = |on_disk: Option<bool>, quantisation: serde_json::Value| {
            Placement::asked(&VectorParams {
                on_disk,
                quantization_config: Some(quantisation),
                ..VectorParams::new(2, Distance::Dot)
            })
        };
        let int8 = |always_ram: bool| json!({"scalar": {"type": "int8", "always_ram": always_ram}});
        assert_eq!(asked(None, int8(true)), Placement::Memory);
        assert_eq!(asked(Some(false), int8(true)), Placement::Memory);
        assert_eq!(asked(Some(true), int8(true)), Placement::Mapped);
        assert_eq!(asked(Some(true), int8(false)), Placement::Disk);
        assert_eq!(asked(Some(true), json!("Disabled")), Placement::Disk);
        assert_eq!(
            asked(Some(true), json!({"binary": {"always_ram": true}})),
            Placement::Mapped
        );
        assert_eq!(
            asked(
                Some(true),
                json!({"product": {"compression": "x16", "always_ram": true}})
            ),
            Placement::Mapped
        );
        let plain = VectorParams {
            on_disk: Some(true),
            ..VectorParams::new(2, Distance::Dot)
        };
        assert_eq!(Placement::asked(&plain), Placement::Disk);
    }
}
