//! Where a network runs: the choice, as configuration names it, and the opened device.

use std::{fmt, str::FromStr};

use crate::EncodeError;

/// A device as configuration names it: `auto`, `cpu`, `cuda:N` or `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The first CUDA device, else Metal, else the CPU, of those that this build supports and that open. Where several devices may be
    /// used, all CUDA devices.
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
            Self::Auto => Ok(open_best(1).remove(0)),
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

    /// Opens all of the devices that `specs` name: CUDA devices, or one of another kind. `auto` are all CUDA devices that open.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`EncodeError::DeviceTwice`] and [`EncodeError::UnlikeDevices`].
    pub fn open_all(specs: &[Self]) -> Result<Vec<Device>, EncodeError> {
        match specs {
            [] | [Self::Auto] => return Ok(open_best(usize::MAX)),
            [_] => {}
            several => {
                if let Some((_, twice)) = several
                    .iter()
                    .enumerate()
                    .find(|(i, spec)| several[..*i].contains(spec))
                {
                    return Err(EncodeError::DeviceTwice { device: *twice });
                }
                if let Some(unlike) = several.iter().find(|spec| !matches!(spec, Self::Cuda(_))) {
                    return Err(EncodeError::UnlikeDevices { device: *unlike });
                }
            }
        }
        specs.iter().map(|spec| spec.open()).collect()
    }

    fn opened(self, device: candle_core::Result<candle_core::Device>) -> Result<Device, EncodeError> {
        device.map(Device).map_err(|source| EncodeError::OpenDevice {
            device: self,
            source: source.into(),
        })
    }
}

/// The best devices that open, at most so many of them. Only opening a device tells whether it is there: with the CUDA libraries
/// installed and no driver, candle's `cuda_is_available` still says yes.
fn open_best(most: usize) -> Vec<Device> {
    let mut reasons = Vec::new();
    let mut open = |spec: DeviceSpec| {
        let opened = spec
            .open()
            .inspect(|device| tracing::info!(%device, "encoders run on {device}"));
        opened.map_err(|error| reasons.push(error.to_string())).ok()
    };
    let mut devices: Vec<Device> = (0..most).map_while(|ordinal| open(DeviceSpec::Cuda(ordinal))).collect();
    if devices.is_empty() {
        devices.extend(open(DeviceSpec::Metal));
    }
    if devices.is_empty() {
        tracing::info!(device = "cpu", "encoders run on the CPU: {}", reasons.join("; "));
        devices.push(Device(candle_core::Device::Cpu));
    }
    devices
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

/// Whether this failed for want of the device's memory. Drivers say so in words only.
pub(crate) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let message = error.to_string().to_ascii_lowercase();
    ["out_of_memory", "out of memory", "alloc_failed"]
        .iter()
        .any(|words| message.contains(words))
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
        let all = DeviceSpec::open_all(&[DeviceSpec::Auto]).unwrap();
        assert_eq!(all.iter().map(Device::to_string).collect::<Vec<_>>(), ["cpu"]);
    }

    #[test]
    fn several_devices_are_different_gpus() {
        let error = |specs: &[DeviceSpec]| DeviceSpec::open_all(specs).unwrap_err().to_string();
        let twice = error(&[DeviceSpec::Cuda(0), DeviceSpec::Cuda(1), DeviceSpec::Cuda(0)]);
        assert!(twice.contains("cuda:0") && twice.contains("twice"), "{twice}");
        for unlike in [DeviceSpec::Cpu, DeviceSpec::Auto, DeviceSpec::Metal] {
            let message = error(&[DeviceSpec::Cuda(0), unlike]);
            assert!(
                message.contains(&unlike.to_string()) && message.contains("cuda:N"),
                "{message}"
            );
        }
        assert_eq!(DeviceSpec::open_all(&[DeviceSpec::Cpu]).unwrap().len(), 1);
    }

    #[test]
    fn a_driver_that_says_so_is_out_of_memory() {
        let error = |words: &str| candle_core::Error::Msg(words.to_owned());
        for words in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
        ] {
            assert!(is_out_of_memory(&error(words)), "{words}");
        }
        assert!(!is_out_of_memory(&error(
            "shape mismatch in matmul, lhs: [2, 3], rhs: [4, 5]"
        )));
    }
}
