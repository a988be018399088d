//! The port `Radio`: a server by which programs that know nothing of each other speak on channels, as `PUBLISH` and
//! `SUBSCRIBE` of Redis do. What is said while nobody listens is gone.

use crate::ports::PortFuture;
use bytes::Bytes;
use futures_util::stream::Stream;
use std::{pin::Pin, sync::Arc};

/// The server cannot be reached, does not answer in time, or refuses. Weather: it may do it later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RadioError(pub String);

/// A server that can be reached, or not.
pub trait Radio: Send + Sync + 'static {
    /// Reaches it, and listens to these channels and to all that match these patterns. When this answers, the server
    /// counts one more subscriber of each, and all that is said from then on is heard.
    fn tune_in(&self, channels: Vec<String>, patterns: Vec<String>) -> PortFuture<Result<Tuned, RadioError>>;
}

/// A server that was reached.
pub struct Tuned {
    /// To speak.
    pub speaker: Arc<dyn Speaker>,
    /// What is heard, in the order in which it was said. Its end is the link's.
    pub heard: Pin<Box<dyn Stream<Item = Said> + Send>>,
}

/// Something that is said on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where.
    pub channel: String,
    /// What.
    pub message: Bytes,
}

/// Speaks by way of a server. A failure means that the link is over.
pub trait Speaker: Send + Sync + 'static {
    /// Says all of this, in this order, behind all that was said before.
    fn say(&self, all: Vec<Said>) -> PortFuture<Result<(), RadioError>>;
}
