//! The rooms, for actors of the embedding program: typed messages out and in.

use std::sync::Arc;

use actix::Recipient;
use greenroom_actors::logic::access::{Action, Grant, decide};
use greenroom_actors::logic::event::Draft;
use greenroom_actors::logic::fault::{Code, Fault};
use greenroom_actors::logic::known::{Known, rfc3339, room_names};
use greenroom_actors::logic::protocol::Publication;
use greenroom_actors::logic::publication::{self, Stamp};
use greenroom_actors::logic::room_name::RoomName;
use greenroom_actors::messages::{Publish, Unwatch, Watch};
use greenroom_actors::ports::WallClock;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::ids;

/// What an actor of the embedding program is given to speak to the node: cheap to clone, and at home on any thread.
#[derive(Clone)]
pub struct Rooms {
    /// Where to send events to be published; answered with a receipt.
    pub publish: Recipient<Publish>,
    /// Where to ask for events of rooms. The watch ends with [`Unwatch`], or when the asking actor has ended.
    pub watch: Recipient<Watch>,
    /// Where to say that they are no longer wanted.
    pub unwatch: Recipient<Unwatch>,
    pub(crate) publisher: Option<Arc<str>>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) limits: publication::Limits,
    pub(crate) clock: WallClock,
}

impl Rooms {
    /// The same for a publisher with a name: ids that different publishers choose do not meet.
    pub fn of(mut self, publisher: &str) -> Self {
        self.publisher = Some(publisher.into());
        self
    }

    /// The same for an actor that is to do no more than this grant allows, in the name of its subject. Without one it may
    /// do everything.
    pub fn granted(mut self, grant: Grant) -> Self {
        self.publisher = grant.subject.clone();
        self.grant = Arc::new(grant);
        self
    }

    /// Room names, checked, each once: for [`Watch`]. Errors: `room_name_invalid`, `forbidden`.
    pub fn names(&self, names: &[&str]) -> Result<Vec<RoomName>, Fault> {
        let rooms = publication::check_rooms(&owned(names), &self.limits)?;
        self.may(Action::Join, &rooms)?;
        Ok(rooms)
    }

    /// An event for exactly these rooms, checked: for [`Publish`].
    pub fn draft(&self, rooms: &[&str], event: &str, data: &impl Serialize) -> Result<Draft, Fault> {
        let publication = Publication {
            rooms: owned(rooms),
            event: event.to_owned(),
            data: Some(raw(data)?),
            ..Publication::default()
        };
        let draft = publication::check(publication, self.stamp(), &self.limits)?;
        self.may(Action::Publish, &draft.rooms)?;
        Ok(draft)
    }

    /// A known event for every room that its payload names, checked: for [`Publish`]. `timestamp` is filled in where it
    /// is left out.
    pub fn draft_known(&self, event: &str, data: &impl Serialize) -> Result<Draft, Fault> {
        let known = Known::named(event).ok_or_else(|| {
            let message = format!("{event:?} is no known event: name its rooms");
            Fault::new(Code::EventNameInvalid, message)
        })?;
        let stamp = self.stamp();
        let written = raw(data)?;
        let mut data = serde_json::to_value(data).map_err(|error| unwritable(&error))?;
        if let Value::Object(fields) = &mut data {
            fields
                .entry("timestamp")
                .or_insert_with(|| json!(rfc3339(stamp.now_ms)));
        }
        let data = raw(&data)?;
        let rooms = room_names(&known.check(&data)?, self.limits.name_chars)?;
        let publication = Publication {
            event: event.to_owned(),
            data: Some(data),
            ..Publication::default()
        };
        let mut draft = publication::check_to(publication, rooms, stamp, &self.limits)?;
        self.may(Action::Publish, &draft.rooms)?;
        draft.written = Some(written.get().to_owned().into());
        Ok(draft)
    }

    fn may<'r>(
        &self,
        action: impl Fn(&'r RoomName) -> Action<'r>,
        rooms: &'r [RoomName],
    ) -> Result<(), Fault> {
        let now_ms = (self.clock)();
        rooms
            .iter()
            .try_for_each(|room| decide(&self.grant, &action(room), now_ms))
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            publisher: self.publisher.clone(),
            new_id: ids::event_id(),
            now_ms: (self.clock)(),
        }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn raw(data: &impl Serialize) -> Result<Box<RawValue>, Fault> {
    to_raw_value(data).map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> Fault {
    Fault::new(
        Code::BadRequest,
        format!("the data cannot be written as JSON: {error}"),
    )
}
