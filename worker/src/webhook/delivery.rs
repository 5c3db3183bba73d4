//! A thread that delivers the messages of one receiver, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use twofold_storage::{Message, NextMessage, StorageError, Store};

use super::Counts;
use super::receiver::Receiver;
use crate::clock::now_millis;
use crate::stop::Stop;

/// How often the outbox is looked at while nothing is due.
const AT_REST: Duration = Duration::from_secs(1);

pub(crate) struct Delivery {
    pub(crate) store: Arc<Store>,
    pub(crate) name: String,
    pub(crate) receiver: Receiver,
    pub(crate) counts: Arc<Counts>,
    pub(crate) stop: Stop,
}

impl Delivery {
    pub(crate) fn run(self) {
        // Attempts that failed since one worked. A receiver that is down is tried with one message at a time, less and less often.
        let mut failures: u32 = 0;
        loop {
            let pause = match self.step(&mut failures) {
                Ok(pause) => pause,
                // What was delivered may be there still, and is not to be sent every second.
                Err(error) => {
                    tracing::error!(webhook = self.name, %error, "the outbox cannot be read or written");
                    failures = failures.saturating_add(1);
                    self.receiver.retry.pause(failures, now_millis())
                }
            };
            let stopped = self.stop.signal.recv_timeout(pause);
            if stopped.is_err_and(|error| error.is_disconnected()) {
                return;
            }
        }
    }

    /// Delivers what is due, and says how long to wait then.
    fn step(&self, failures: &mut u32) -> Result<Duration, StorageError> {
        let (outbox, now) = (self.store.outbox(), now_millis());
        let message = match outbox.next(&self.name, now)? {
            NextMessage::Due(message) => message,
            NextMessage::Later(due) => return Ok(Duration::from_millis(due - now).min(AT_REST)),
            NextMessage::Nothing => return Ok(AT_REST),
        };
        let Err(error) = self.deliver(&message) else {
            outbox.delivered(&message)?;
            self.counts.delivered.fetch_add(1, Ordering::Relaxed);
            *failures = 0;
            return Ok(Duration::ZERO);
        };
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        *failures = failures.saturating_add(1);
        let now = now_millis();
        let again = self.receiver.retry.pause(message.attempts + 1, message.task.0);
        tracing::warn!(webhook = self.name, task = %message.task, %error, attempts = message.attempts + 1, "a message was not delivered");
        outbox.put_back(&self.name, &message, now + again.as_millis() as u64)?;
        let oldest = now.saturating_sub(self.receiver.give_up.as_millis() as u64);
        let given_up = outbox.give_up(&self.name, oldest)?;
        if given_up > 0 {
            self.counts.given_up.fetch_add(given_up, Ordering::Relaxed);
            tracing::error!(
                webhook = self.name,
                messages = given_up,
                "messages that waited for too long are given up"
            );
        }
        Ok(self.receiver.retry.pause(*failures, now))
    }

    /// Posts a message. Only an answer of success within the timeout is a delivery; redirects are not followed.
    fn deliver(&self, message: &Message) -> Result<(), String> {
        let Receiver { url, secret, agent, .. } = &self.receiver;
        let id = format!("msg_{}", message.id.simple());
        let seconds = now_millis() / 1_000;
        let request = agent
            .post(url.as_str())
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", secret.sign(&id, seconds, &message.body));
        match request.send(message.body.as_slice()) {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("it answered {}", response.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}
