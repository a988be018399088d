//! A radio in memory, with switches for what may become of one.

use crate::{
    ports::PortFuture,
    radio::{Radio, RadioError, Said, Speaker, Tuned},
};
use futures_util::{
    future::{FutureExt as _, pending, ready},
    stream::{StreamExt as _, poll_fn},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Whether it can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// It does what it should.
    #[default]
    Fine,
    /// It refuses.
    Away,
    /// It answers nothing.
    Stalled,
}

#[derive(Default)]
struct State {
    weather: Weather,
    listeners: Vec<(Vec<String>, Vec<String>, UnboundedSender<Said>)>,
    attempts: usize,
    said: Vec<Said>,
}

/// See the module's description. Clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryRadio(Arc<Mutex<State>>);

impl MemoryRadio {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Cuts every link.
    pub fn cut(&self) {
        self.lock().listeners.clear();
    }

    /// How often somebody tried to tune in.
    pub fn attempts(&self) -> usize {
        self.lock().attempts
    }

    /// What was said since this was asked last, by whomever.
    pub fn said(&self) -> Vec<Said> {
        std::mem::take(&mut self.lock().said)
    }

    /// Says something.
    pub fn say(&self, channel: &str, message: impl Into<bytes::Bytes>) {
        self.hand_out(Said {
            channel: channel.to_owned(),
            message: message.into(),
        });
    }

    /// Patterns end with their only wildcard.
    fn hand_out(&self, said: Said) {
        let mut state = self.lock();
        for (channels, patterns, listener) in &state.listeners {
            let matches = patterns
                .iter()
                .filter(|pattern| said.channel.starts_with(pattern.trim_end_matches('*')));
            let times = channels
                .iter()
                .filter(|channel| **channel == said.channel)
                .count()
                + matches.count();
            for _ in 0..times {
                // Who is gone hears nothing.
                let _ = listener.send(said.clone());
            }
        }
        state.said.push(said);
    }
}

impl Radio for MemoryRadio {
    fn tune_in(&self, channels: Vec<String>, patterns: Vec<String>) -> PortFuture<Result<Tuned, RadioError>> {
        let mut state = self.lock();
        state.attempts += 1;
        match state.weather {
            Weather::Fine => {}
            Weather::Away => return ready(Err(RadioError("it is away".into()))).boxed(),
            Weather::Stalled => return pending().boxed(),
        }
        let (listener, mut hears) = unbounded_channel();
        state.listeners.push((channels, patterns, listener));
        let tuned = Tuned {
            speaker: Arc::new(self.clone()),
            heard: poll_fn(move |task| hears.poll_recv(task)).boxed(),
        };
        ready(Ok(tuned)).boxed()
    }
}

impl Speaker for MemoryRadio {
    fn say(&self, all: Vec<Said>) -> PortFuture<Result<(), RadioError>> {
        match self.lock().weather {
            Weather::Fine => {}
            Weather::Away => return ready(Err(RadioError("it is away".into()))).boxed(),
            Weather::Stalled => return pending().boxed(),
        }
        all.into_iter().for_each(|said| self.hand_out(said));
        ready(Ok(())).boxed()
    }
}
