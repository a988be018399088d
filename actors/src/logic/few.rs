//! A queue that is mostly empty and else mostly holds one: that one is kept in place, so there is no allocation and no
//! second place in memory to touch. A connection's frames that wait to be written are such a queue, with each delivery.

use std::{collections::VecDeque, mem};

/// Room for so many is made when a second one has to wait.
const BURST: usize = 16;

/// See the module's description.
#[derive(Debug, Default)]
pub enum Few<T> {
    /// Nothing waits.
    #[default]
    None,
    /// One waits.
    One(T),
    /// More wait, or did a moment ago. Never holds memory while nothing waits.
    Many(Box<VecDeque<T>>),
}

impl<T> Few<T> {
    /// Behind all others.
    pub fn push_back(&mut self, next: T) {
        match self {
            Self::None => *self = Self::One(next),
            Self::One(_) => {
                if let Self::One(first) = mem::take(self) {
                    let mut many = VecDeque::with_capacity(BURST);
                    many.extend([first, next]);
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(many) => many.push_back(next),
        }
    }

    /// The first.
    pub fn front(&self) -> Option<&T> {
        match self {
            Self::None => None,
            Self::One(one) => Some(one),
            Self::Many(many) => many.front(),
        }
    }

    /// The first, to be changed.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::None => None,
            Self::One(one) => Some(one),
            Self::Many(many) => many.front_mut(),
        }
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<T> {
        let first = match self {
            Self::Many(many) => many.pop_front(),
            Self::None | Self::One(_) => {
                return match mem::take(self) {
                    Self::One(one) => Some(one),
                    Self::None | Self::Many(_) => None,
                };
            }
        };
        if self.is_empty() {
            *self = Self::None;
        }
        first
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(many) => many.is_empty(),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Drops all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Many(many) if len > 0 => many.truncate(len),
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
            let (mut few, mut model) = (Few::default(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Push(byte) => {
                        few.push_back(byte);
                        model.push_back(byte);
                    }
                    Step::Pop => prop_assert_eq!(few.pop_front(), model.pop_front()),
                    Step::Truncate(len) => {
                        few.truncate(len);
                        model.truncate(len);
                    }
                }
                prop_assert!(few.iter().eq(model.iter()));
                prop_assert_eq!(few.front(), model.front());
                prop_assert_eq!((few.is_empty(), few.len()), (model.is_empty(), model.len()));
                prop_assert_eq!(matches!(few, Few::None), model.is_empty(), "it keeps no memory");
            }
        }
    }
}
