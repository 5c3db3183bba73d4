//! The `twofold` binary.

use std::process::ExitCode;

/// Encoding frees and allocates large buffers all the time; glibc hands them back to the kernel in between.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    twofold_server::memory::use_large_pages();
    twofold_server::cli::main()
}
