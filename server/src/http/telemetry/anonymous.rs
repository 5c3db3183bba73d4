//! What is answered of names, numbers and moments where nobody is to be recognised by them.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Replaces names: the same by the same, as long as the server runs.
#[derive(Debug, Clone)]
pub(super) struct Disguise {
    /// Never answered, so that nobody can try names.
    salt: Uuid,
}

impl Disguise {
    pub(super) fn new() -> Self {
        Self { salt: Uuid::new_v4() }
    }
}

/// A name, or what stands for it. The empty name says nothing and stays.
pub(super) fn name(disguise: Option<&Disguise>, name: &str) -> String {
    match disguise {
        Some(disguise) if !name.is_empty() => {
            let hash = Sha256::new()
                .chain_update(disguise.salt.as_bytes())
                .chain_update(name)
                .finalize();
            hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
        }
        _ => name.to_owned(),
    }
}

/// A number, or its first digit with zeros.
pub(super) fn number(disguise: Option<&Disguise>, number: u64) -> u64 {
    if disguise.is_none() {
        return number;
    }
    let magnitude = number.checked_ilog10().map_or(1, |digits| 10_u64.pow(digits));
    number / magnitude * magnitude
}

/// A moment to the second, or the hour that it is in.
pub(super) fn moment(disguise: Option<&Disguise>, moment: jiff::Timestamp) -> jiff::Timestamp {
    let unit = if disguise.is_some() { 3600 } else { 1 };
    let seconds = moment.as_second();
    jiff::Timestamp::from_second(seconds - seconds.rem_euclid(unit)).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_by_what_tells_nothing() {
        let disguise = Disguise::new();
        let hidden = |text| name(Some(&disguise), text);
        assert_eq!(hidden("customers"), hidden("customers"));
        assert_ne!(hidden("customers"), hidden("orders"));
        assert!(!hidden("customers").contains("customers") && hidden("customers").len() == 16);
        assert_eq!(
            (hidden(""), name(None, "customers")),
            (String::new(), "customers".to_owned())
        );
    }

    #[test]
    fn numbers_keep_their_size_only() {
        let disguise = Disguise::new();
        let hidden = |exact| number(Some(&disguise), exact);
        assert_eq!([0, 7, 10, 1234, 987_654].map(hidden), [0, 7, 10, 1000, 900_000]);
        assert_eq!(hidden(u64::MAX), 10_000_000_000_000_000_000);
        assert_eq!(number(None, 1234), 1234);
        let when: jiff::Timestamp = "2026-01-31T12:34:56.7Z".parse().unwrap();
        assert_eq!(moment(Some(&disguise), when).to_string(), "2026-01-31T12:00:00Z");
        assert_eq!(moment(None, when).to_string(), "2026-01-31T12:34:56Z");
    }
}
