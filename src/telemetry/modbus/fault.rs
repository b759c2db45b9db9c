//! What can go wrong with a request, in words for the sample and for metrics.

use std::sync::Arc;

/// Why a request brought no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No reply in time.
    Timeout,
    /// The unit, or a gateway for it, refused: the exception code (Modbus V1.1b3, 7).
    Exception(u8),
    /// Something came that is not the reply: what is wrong with it.
    Garbled(&'static str),
    /// There is no connection: why.
    Link(Arc<str>),
}

impl Fault {
    /// A few words for the sample.
    pub fn reason(&self) -> Arc<str> {
        match self {
            Self::Timeout => "timeout".into(),
            Self::Exception(code) => format!("exception {code}: {}", exception(*code)).into(),
            Self::Garbled(what) => format!("garbled reply: {what}").into(),
            Self::Link(why) => why.clone(),
        }
    }

    /// The unit itself did not answer: it backs off.
    pub fn silent(&self) -> bool {
        // 10 and 11 are a gateway's words about a unit behind it.
        !matches!(self, Self::Exception(code) if !matches!(code, 10 | 11))
    }

    /// Some address or the count is what the unit objects to: a smaller request may do.
    pub fn divisible(&self) -> bool {
        matches!(self, Self::Exception(2 | 3))
    }
}

/// The names of Modbus V1.1b3, section 7.
fn exception(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "device failure",
        5 => "acknowledge",
        6 => "device busy",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target did not respond",
        _ => "unknown",
    }
}
