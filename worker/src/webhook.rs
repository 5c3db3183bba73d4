//! Webhooks: receivers that the operator names are told of every task that is finished.
//!
//! Requests have the form of Standard Webhooks (<https://www.standardwebhooks.com>). Each receiver has a thread of its own, so that one
//! that is slow or down holds up no other.

mod delivery;
mod receiver;
mod signature;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::delivery::Delivery;
pub use self::receiver::{Webhooks, WebhooksError};

use crate::engine::Engine;
use crate::error::Result;

/// What has become of the messages to a receiver since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
}

/// How it goes with a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookState {
    /// Its name in the operator's file.
    pub name: String,
    /// Messages that wait to be delivered.
    pub waiting: u64,
    /// Messages that were delivered since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Messages that were given up since the start.
    pub given_up: u64,
}

impl Engine {
    /// How it goes with the receivers of webhooks, in the order of their names.
    pub fn webhooks(&self) -> Result<Vec<WebhookState>> {
        let states = self.webhooks.iter().map(|(name, counts)| {
            Ok(WebhookState {
                name: name.clone(),
                waiting: self.store.outbox().waiting(name)?,
                delivered: counts.delivered.load(Ordering::Relaxed),
                failed: counts.failed.load(Ordering::Relaxed),
                given_up: counts.given_up.load(Ordering::Relaxed),
            })
        });
        states.collect()
    }
}
