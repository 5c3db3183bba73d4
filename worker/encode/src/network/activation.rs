//! The functions between two matrix products.

use candle_core::{Result, Tensor};

/// An activation, by its formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x Φ(x), with the error function itself.
    Gelu,
    /// GELU's approximation by tanh.
    GeluTanh,
    Relu,
    /// x / (1 + e^-x), also called swish.
    Silu,
    Tanh,
}

impl Activation {
    /// The names that [`named`](Self::named) knows.
    pub const NAMES: &[&str] = &["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh"];

    /// The function that a configuration calls by this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            "tanh" => Some(Self::Tanh),
            _ => None,
        }
    }

    pub(crate) fn by_candle(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
        }
    }
}
