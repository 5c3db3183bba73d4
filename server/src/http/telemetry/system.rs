//! The machine.

use std::path::Path;

use serde::Serialize;
use utoipa::ToSchema;

use super::anonymous::{self, Disguise};

/// The machine that the server runs on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SystemTelemetry {
    is_docker: bool,
    /// `docker`, `kubernetes` or `none`.
    container_runtime: &'static str,
    cores: u64,
    /// KiB that the process may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    ram_size: Option<u64>,
    /// KiB of the process that are in memory, files that it maps included.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_size: Option<u64>,
    /// Vector instructions that kernels look for, after commas.
    cpu_flags: String,
    /// `little` or `big`.
    cpu_endian: &'static str,
}

impl SystemTelemetry {
    pub(super) fn here(disguise: Option<&Disguise>) -> Self {
        let is_docker = Path::new("/.dockerenv").exists();
        let kibibytes = |bytes: u64| anonymous::number(disguise, bytes / 1024);
        Self {
            is_docker,
            container_runtime: match is_docker {
                _ if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => "kubernetes",
                true => "docker",
                false => "none",
            },
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            ram_size: twofold_storage::memory_bytes().map(kibibytes),
            resident_size: twofold_storage::resident_bytes().map(kibibytes),
            cpu_flags: cpu_flags().join(","),
            cpu_endian: if cfg!(target_endian = "little") {
                "little"
            } else {
                "big"
            },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_flags() -> Vec<&'static str> {
    let flags = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
    ];
    let found = flags.into_iter().filter(|(_, there)| *there);
    found.map(|(flag, _)| flag).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_flags() -> Vec<&'static str> {
    Vec::new()
}
