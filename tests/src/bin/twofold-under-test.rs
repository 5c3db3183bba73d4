//! The `twofold` binary with crash points: `TWOFOLD_CRASH_AT=name:n` ends the process, as a power cut would, when the
//! fail point `name` is reached for the `n`th time. `TWOFOLD_FAIL_AT=name=action` makes it do what `action` says
//! (`fail`'s language: `3*return(9)->off`).

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

fn main() -> ExitCode {
    if let Ok(point) = std::env::var("TWOFOLD_CRASH_AT") {
        let (name, nth) = point.rsplit_once(':').expect("TWOFOLD_CRASH_AT is name:n");
        let nth: u64 = nth.parse().expect("TWOFOLD_CRASH_AT is name:n");
        let reached = AtomicU64::new(0);
        fail::cfg_callback(name, move || {
            if reached.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                std::process::abort();
            }
        })
        .expect("a callback is always a valid action");
    }
    if let Ok(point) = std::env::var("TWOFOLD_FAIL_AT") {
        let (name, action) = point.split_once('=').expect("TWOFOLD_FAIL_AT is name=action");
        fail::cfg(name, action).expect("the action is valid");
    }
    twofold_server::cli::main()
}
