//! What an index needs, by how it and its collection stand.

/// A checkpoint is written again when one vector in this many has changed since the last, and as many more as the options
/// say.
pub(crate) const SAVED_SHARE: u64 = 5;

/// The same for a collection at rest: a start has little to follow then.
const SAVED_SHARE_AT_REST: u64 = 50;

/// What an index needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// Follow what has changed.
    Follow,
    /// Be built anew.
    Build,
    /// Be saved.
    Save,
}

/// Numbers that decide what an index needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Vectors there are.
    pub(crate) present: u64,
    /// Vectors from which on an index is worth its while.
    pub(crate) threshold: u64,
    /// Offsets that changed since the index followed, and how many may; none without an index.
    pub(crate) pending: Option<(u64, u64)>,
    /// It failed, or its data has become different.
    pub(crate) unfit: bool,
    /// Rows are read from a checkpoint even if there is no index to save with them.
    pub(crate) mapped: bool,
    /// Offsets that changed since the checkpoint, and how many may besides a share.
    pub(crate) unsaved: u64,
    pub(crate) unsaved_least: u64,
    /// The index was trained after the checkpoint.
    pub(crate) retrained: bool,
    /// The collection was not written to for a while.
    pub(crate) at_rest: bool,
}

pub(crate) fn need(standing: Standing) -> Need {
    let small = standing.present <= standing.threshold;
    match standing.pending {
        None if !small => Need::Build,
        Some(_) if standing.unfit && !small => Need::Build,
        Some((pending, allowed)) if pending > allowed => Need::Follow,
        pending if (pending.is_some() || standing.mapped) && is_save_due(standing) => Need::Save,
        _ => Need::Nothing,
    }
}

/// Training takes much longer than saving, so what was trained is saved at once.
fn is_save_due(standing: Standing) -> bool {
    let share = if standing.at_rest {
        SAVED_SHARE_AT_REST
    } else {
        SAVED_SHARE
    };
    standing.retrained || standing.unsaved > standing.present / share + standing.unsaved_least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_built_when_it_pays_follows_when_it_lags_and_is_saved_when_much_has_changed() {
        let standing = Standing {
            present: 1_000,
            threshold: 1_000,
            pending: None,
            unfit: false,
            mapped: false,
            unsaved: u64::MAX,
            unsaved_least: 100,
            retrained: false,
            at_rest: false,
        };
        assert_eq!(need(standing), Need::Nothing);
        let large = Standing {
            threshold: 999,
            ..standing
        };
        assert_eq!(need(large), Need::Build);
        let saved = Standing {
            pending: Some((100, 100)),
            unsaved: 0,
            ..large
        };
        assert_eq!(need(saved), Need::Nothing);
        assert_eq!(
            need(Standing {
                pending: Some((101, 100)),
                ..saved
            }),
            Need::Follow
        );
        assert_eq!(need(Standing { unfit: true, ..saved }), Need::Build);
        assert_eq!(need(Standing { unsaved: 301, ..saved }), Need::Save);
        assert_eq!(need(Standing { unsaved: 300, ..saved }), Need::Nothing);
        let at_rest = Standing { at_rest: true, ..saved };
        assert_eq!(
            need(Standing {
                unsaved: 121,
                ..at_rest
            }),
            Need::Save
        );
        assert_eq!(
            need(Standing {
                unsaved: 120,
                ..at_rest
            }),
            Need::Nothing
        );
        assert_eq!(
            need(Standing {
                retrained: true,
                ..saved
            }),
            Need::Save
        );
        let mapped = Standing {
            mapped: true,
            unsaved: 301,
            ..standing
        };
        assert_eq!(need(mapped), Need::Save);
        assert_eq!(need(Standing { unsaved: 300, ..mapped }), Need::Nothing);
    }
}
