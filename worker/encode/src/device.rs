//! Where a network runs: the choice, as configuration names it, and the opened device.

use std::{fmt, str::FromStr};

use crate::EncodeError;

/// A device as configuration names it: `auto`, `cpu`, `cuda:N` or `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The first CUDA device, else Metal, else the CPU, of those that this build supports and that open.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this ordinal. Needs the cargo feature `cuda`.
    Cuda(usize),
    /// Apple's GPU. Needs the cargo feature `metal`.
    Metal,
}

impl DeviceSpec {
    /// Opens the device. `auto` logs what it chose and why, and cannot fail; a device that was named either opens or is
    /// an error, it is never replaced by another.
    ///
    /// # Errors
    /// [`EncodeError::DeviceNotBuilt`] and [`EncodeError::OpenDevice`].
    pub fn open(self) -> Result<Device, EncodeError> {
        match self {
            Self::Auto => Ok(open_best()),
            Self::Cpu => Ok(Device(candle_core::Device::Cpu)),
            Self::Cuda(ordinal) if cfg!(feature = "cuda") => self.opened(candle_core::Device::new_cuda(ordinal)),
            Self::Metal if cfg!(feature = "metal") => self.opened(candle_core::Device::new_metal(0)),
            Self::Cuda(_) => Err(EncodeError::DeviceNotBuilt {
                device: self,
                feature: "cuda",
            }),
            Self::Metal => Err(EncodeError::DeviceNotBuilt {
                device: self,
                feature: "metal",
            }),
        }
    }

    fn opened(self, device: candle_core::Result<candle_core::Device>) -> Result<Device, EncodeError> {
        device.map(Device).map_err(|source| EncodeError::OpenDevice {
            device: self,
            source: source.into(),
        })
    }
}

/// Only opening a device tells whether it is there: with the CUDA libraries installed and no driver, candle's
/// `cuda_is_available` still says yes.
fn open_best() -> Device {
    let mut reasons = Vec::new();
    for spec in [DeviceSpec::Cuda(0), DeviceSpec::Metal] {
        match spec.open() {
            Ok(device) => {
                tracing::info!(%device, "encoders run on {device}: it is the first that opened");
                return device;
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    tracing::info!(device = "cpu", "encoders run on the CPU: {}", reasons.join("; "));
    Device(candle_core::Device::Cpu)
}

impl FromStr for DeviceSpec {
    type Err = EncodeError;

    fn from_str(given: &str) -> Result<Self, EncodeError> {
        match given {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "metal" => Ok(Self::Metal),
            _ => given
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| EncodeError::UnknownDevice {
                    given: given.to_owned(),
                }),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// An opened device. Cloning it is cheap and gives the same device.
#[derive(Debug, Clone)]
pub struct Device(candle_core::Device);

impl Device {
    /// Whether this is the CPU, where several threads may encode at the same time.
    pub fn is_cpu(&self) -> bool {
        self.0.is_cpu()
    }
}

impl Device {
    pub(crate) fn candle(&self) -> &candle_core::Device {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.location() {
            candle_core::DeviceLocation::Cpu => f.write_str("cpu"),
            candle_core::DeviceLocation::Cuda { gpu_id } => write!(f, "cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { .. } => f.write_str("metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_parsing() {
        for name in ["auto", "cpu", "cuda:0", "cuda:7", "metal"] {
            assert_eq!(name.parse::<DeviceSpec>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_accepted_ones() {
        for name in ["gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "CPU", ""] {
            let message = name.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(
                message.contains("auto, cpu, cuda:N") && message.contains("metal"),
                "{message}"
            );
        }
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn a_device_that_was_not_built_in_names_its_feature_and_auto_falls_back() {
        let message = DeviceSpec::Cuda(0).open().unwrap_err().to_string();
        assert!(message.contains("cuda:0") && message.contains("`cuda`"), "{message}");
        assert!(DeviceSpec::Metal.open().unwrap_err().to_string().contains("`metal`"));
        assert_eq!(DeviceSpec::Auto.open().unwrap().to_string(), "cpu");
    }
}
