//! What nodes that share a broker write there and say to each other: the broker itself only numbers and keeps it.

pub mod entry;
pub mod record;
pub mod told;
