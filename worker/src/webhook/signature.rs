//! The signature of a message (Standard Webhooks, symmetric): `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// What secrets begin with; it is not part of the key.
const PREFIX: &str = "whsec_";

/// A key to sign with, which nothing prints.
#[derive(Clone)]
pub(super) struct Secret(Key);

impl Secret {
    /// From `whsec_` and base64 of 24 to 64 bytes; `whsec_` may be left out. None where it is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let key = BASE64_STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok()?;
        if !(24..=64).contains(&key.len()) {
            return None;
        }
        Some(Self(Key::new(HMAC_SHA256, &key)))
    }

    /// The value of `webhook-signature`. `timestamp` is in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Context::with_key(&self.0);
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.sign()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example that the reference implementations of Standard Webhooks test with.
    #[test]
    fn a_message_is_signed_as_the_standard_says() {
        let body = br#"{"test": 2432232314}"#;
        for secret in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        ] {
            let signature = Secret::parse(secret)
                .unwrap()
                .sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
            assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "whsec_",
            "whsec_c2hvcnQ=",
            "a password that somebody thought of",
            "whsec_!",
        ] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
        let long = BASE64_STANDARD.encode([7; 65]);
        assert!(Secret::parse(&long).is_none());
        assert_eq!(
            format!("{:?}", Secret::parse(&BASE64_STANDARD.encode([7; 64])).unwrap()),
            "Secret"
        );
    }
}
