//! The names of the channels of one namespace.

/// The channels by which the servers of a cluster speak about one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    broadcast: String,
    request: String,
    response: String,
}

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// Events for sockets.
    Broadcast {
        /// The one room they are for, as its text; `None` for several rooms, or everyone.
        room: Option<&'a str>,
    },
    /// Questions and commands to every server.
    Request,
    /// What servers answer.
    Response {
        /// The one server it is for; `None` where all of them hear it.
        uid: Option<&'a str>,
    },
}

impl Channels {
    /// Those of a cluster with this key prefix (`socket.io` if nobody chose another) for a namespace with its slash.
    pub fn new(prefix: &str, namespace: &str) -> Self {
        Self {
            broadcast: format!("{prefix}#{namespace}#"),
            request: format!("{prefix}-request#{namespace}#"),
            response: format!("{prefix}-response#{namespace}#"),
        }
    }

    /// Where events for everyone go, or for several rooms.
    pub fn broadcast(&self) -> &str {
        &self.broadcast
    }

    /// Where events for exactly one room go.
    pub fn room(&self, room: &str) -> String {
        format!("{}{room}#", self.broadcast)
    }

    /// The pattern that matches both. What stands for something else in a pattern of Redis is escaped, in the prefix and
    /// the namespace.
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.broadcast.len() + 1);
        for c in self.broadcast.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        pattern
    }

    /// Where questions and commands go. JavaScript counts its subscribers as the servers of the cluster: a node subscribes
    /// to it exactly once.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Where answers go.
    pub fn response(&self) -> &str {
        &self.response
    }

    /// Where answers to one server go, in clusters that are set up so.
    pub fn response_to(&self, uid: &str) -> String {
        format!("{}{uid}#", self.response)
    }

    /// What a channel of this name is for; `None` where it is none of these.
    pub fn parse<'a>(&self, channel: &'a str) -> Option<Channel<'a>> {
        if channel == self.request {
            return Some(Channel::Request);
        }
        if let Some(rest) = channel.strip_prefix(self.response.as_str()) {
            let uid = one(rest)?;
            return Some(Channel::Response { uid });
        }
        let room = one(channel.strip_prefix(self.broadcast.as_str())?)?;
        Some(Channel::Broadcast { room })
    }
}

/// The text before the last `#`. Nothing is nothing, and so is an empty text: thus JavaScript reads it.
fn one(rest: &str) -> Option<Option<&str>> {
    match rest {
        "" | "#" => Some(None),
        _ => rest.strip_suffix('#').map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_names_are_those_of_the_adapter() {
        let main = Channels::new("socket.io", "/");
        assert_eq!(main.broadcast(), "socket.io#/#");
        assert_eq!(main.pattern(), "socket.io#/#*");
        assert_eq!(main.room("task:42"), "socket.io#/#task:42#");
        assert_eq!(main.request(), "socket.io-request#/#");
        assert_eq!(main.response(), "socket.io-response#/#");
        assert_eq!(main.response_to("AbCdEf"), "socket.io-response#/#AbCdEf#");
        let admin = Channels::new("app", "/admin");
        assert_eq!(admin.room("a#b"), "app#/admin#a#b#");
        assert_eq!(admin.request(), "app-request#/admin#");
    }

    #[test]
    fn a_channel_is_told_by_its_name() {
        let channels = Channels::new("socket.io", "/");
        let broadcast = |room| Some(Channel::Broadcast { room });
        let response = |uid| Some(Channel::Response { uid });
        for (channel, expected) in [
            ("socket.io#/#", broadcast(None)),
            ("socket.io#/##", broadcast(None)),
            ("socket.io#/#task:42#", broadcast(Some("task:42"))),
            ("socket.io#/#a#b##", broadcast(Some("a#b#"))),
            ("socket.io-request#/#", Some(Channel::Request)),
            ("socket.io-response#/#", response(None)),
            ("socket.io-response#/#AbCdEf#", response(Some("AbCdEf"))),
            ("socket.io#/#task:42", None),
            ("socket.io#/admin#", None),
            ("socket.io-request#/admin#", None),
            ("socket.io-request#/#x#", None),
            ("", None),
        ] {
            assert_eq!(channels.parse(channel), expected, "{channel}");
        }
    }

    #[test]
    fn a_pattern_has_no_wildcard_but_its_own() {
        assert_eq!(Channels::new("a*", "/[x]?\\").pattern(), "a\\*#/\\[x\\]\\?\\\\#*");
    }

    proptest! {
        #[test]
        fn names_are_read_back(prefix in ".{0,8}", namespace in "/.{0,8}", name in ".{0,8}[^#]", other in ".{0,20}") {
            let channels = Channels::new(&prefix, &namespace);
            let room = channels.room(&name);
            let response = channels.response_to(&name);
            let name = Some(name.as_str());
            prop_assert_eq!(channels.parse(&room), Some(Channel::Broadcast { room: name }));
            prop_assert_eq!(channels.parse(&response), Some(Channel::Response { uid: name }));
            prop_assert_eq!(channels.parse(channels.request()), Some(Channel::Request));
            let _ = channels.parse(&other);
        }
    }
}
