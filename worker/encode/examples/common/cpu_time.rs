//! What the processor worked for this process.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// User and system time of the process so far.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
