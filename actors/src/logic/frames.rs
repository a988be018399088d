//! Frames that wait to be written, in order. An idle connection has none and a busy one mostly one, so that one is kept
//! in place: no allocation, and no second place in memory to touch for each delivery.

use bytes::Bytes;
use std::{collections::VecDeque, mem};

/// Room for so many is made when a second one has to wait.
const BURST: usize = 16;

/// See the module's description.
#[derive(Debug, Default)]
pub enum Frames {
    /// Nothing waits.
    #[default]
    None,
    /// One waits.
    One(Bytes),
    /// More wait, or did a moment ago. Never holds memory while nothing waits.
    Many(Box<VecDeque<Bytes>>),
}

impl Frames {
    /// Behind all others.
    pub fn push_back(&mut self, frame: Bytes) {
        match self {
            Self::None => *self = Self::One(frame),
            Self::One(_) => {
                if let Self::One(first) = mem::take(self) {
                    let mut frames = VecDeque::with_capacity(BURST);
                    frames.extend([first, frame]);
                    *self = Self::Many(Box::new(frames));
                }
            }
            Self::Many(frames) => frames.push_back(frame),
        }
    }

    /// The first.
    pub fn front(&self) -> Option<&Bytes> {
        match self {
            Self::None => None,
            Self::One(frame) => Some(frame),
            Self::Many(frames) => frames.front(),
        }
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<Bytes> {
        let frame = match self {
            Self::Many(frames) => frames.pop_front(),
            Self::None | Self::One(_) => {
                return match mem::take(self) {
                    Self::One(frame) => Some(frame),
                    Self::None | Self::Many(_) => None,
                };
            }
        };
        if self.is_empty() {
            *self = Self::None;
        }
        frame
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(frames) => frames.is_empty(),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(frame) => (Some(frame), None),
            Self::Many(frames) => (None, Some(frames.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Drops all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Many(frames) if len > 0 => frames.truncate(len),
            Self::One(_) if len > 0 => {}
            _ => *self = Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop,
        Truncate(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => any::<u8>().prop_map(Step::Push),
            3 => Just(Step::Pop),
            1 => (0..4usize).prop_map(Step::Truncate),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn it_is_a_queue(steps in steps()) {
            let (mut frames, mut model) = (Frames::default(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Push(byte) => {
                        frames.push_back(vec![byte].into());
                        model.push_back(Bytes::from(vec![byte]));
                    }
                    Step::Pop => prop_assert_eq!(frames.pop_front(), model.pop_front()),
                    Step::Truncate(len) => {
                        frames.truncate(len);
                        model.truncate(len);
                    }
                }
                prop_assert!(frames.iter().eq(model.iter()));
                prop_assert_eq!(frames.front(), model.front());
                prop_assert_eq!(frames.is_empty(), model.is_empty());
                prop_assert_eq!(matches!(frames, Frames::None), model.is_empty(), "it keeps no memory");
            }
        }
    }
}
