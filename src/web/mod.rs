//! What viewers reach: the page, WHEP, and the API.

pub mod crypto;
pub mod page;
