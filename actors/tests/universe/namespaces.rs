//! Handlers of namespaces that are not the rooms: one that fails, one that refuses and puts out, one that asks.

use crate::{hush, returning::hear, scene::*};
use greenroom_actors::{
    logic::{bus_log::Limits, engine_io::Reason},
    ports::Wire,
    socket_io::{Asked, EmitError, Handler, Socket, Work},
    testing::{
        on_virtual_time,
        socket_io::{SocketIo, Stock},
        universe::Universe,
        wire::WINDOW,
    },
};
use serde_json::value::RawValue;
use std::{cell::RefCell, rc::Rc};

/// What a handler was told, in its own words.
type Told = Rc<RefCell<Vec<String>>>;

struct Fickle(Told);

impl<W: Wire> Handler<W> for Fickle {
    fn connect(&self, socket: Rc<Socket<W>>, auth: Option<Box<RawValue>>) -> Work {
        let auth = auth.as_deref().map_or("", RawValue::get);
        if auth.contains("no") {
            let data = RawValue::from_string(r#"{"why":"because"}"#.into()).ok();
            socket.refuse("not you", data.as_deref());
        } else if !auth.contains("wait") {
            socket.accept("me");
        }
        None
    }

    fn event(&self, socket: Rc<Socket<W>>, asked: Asked) -> Work {
        self.0.borrow_mut().push(asked.name.clone());
        match asked.name.as_str() {
            "panic" => panic!("as planned"),
            "panic later" => return Some(Box::pin(async { panic!("as planned") })),
            "out" => socket.disconnect(),
            "volatile" => socket.emit_volatile("there", "[1]"),
            "ask" => {
                let told = self.0.clone();
                let answer = socket.emit_with_ack("question", "[\"who?\"]", 5_000);
                return Some(Box::pin(async move {
                    let answer = answer.await;
                    told.borrow_mut().push(match answer {
                        Ok(json) => json.get().to_owned(),
                        Err(EmitError::NoAnswer) => "silence".into(),
                        Err(error) => error.to_string(),
                    });
                }));
            }
            _ => {}
        }
        None
    }

    fn disconnect(&self, _: &Rc<Socket<W>>, reason: Reason) -> Work {
        self.0.borrow_mut().push(reason.as_str().to_owned());
        None
    }
}

/// A universe, and a client that has a session to `/` and `/custom`.
async fn begun() -> (Universe, SocketIo, Told) {
    hush();
    let universe = Universe::new(1, 1, Limits::default(), |_| {});
    let told = Told::default();
    let mut client = client(&universe, &told);
    client.send("40");
    client.send("40/custom,");
    universe.settle().await;
    client.listen();
    assert_eq!(client.others, ["40/custom,{\"sid\":\"me\"}"]);
    assert!(client.greeting.is_some());
    client.others.clear();
    (universe, client, told)
}

fn client(universe: &Universe, told: &Told) -> SocketIo {
    let at = shard(universe, 0, 0);
    let mut namespaces = at.namespaces();
    let fickle = Rc::new(Fickle(told.clone()));
    namespaces.handlers.insert("/custom".into(), fickle);
    at.socket_io_with(namespaces, WINDOW)
}

#[test]
fn a_handler_that_panics_costs_its_client_the_connection_and_nobody_else_anything() {
    for event in ["panic", "panic later"] {
        on_virtual_time(async {
            let (universe, mut client, _) = begun().await;
            let at = shard(&universe, 0, 0);
            let mut other = Stock::default();
            other.enter(at.socket_io());
            hear(&universe, &mut other).await;
            crate::returning::join(&universe, &mut other, "a").await;
            client.send(&format!("42/custom,[\"{event}\"]"));
            universe.settle().await;
            client.listen();
            assert!(client.is_over());
            count(&universe, "a", 0..1);
            hear(&universe, &mut other).await;
            assert_eq!(other.numbers(), [0]);
            assert_eq!(at.desk.hub.stats.connections.get(), 1);
        });
    }
}

#[test]
fn who_is_refused_hears_why_and_may_try_again() {
    on_virtual_time(async {
        hush();
        let universe = Universe::new(1, 1, Limits::default(), |_| {});
        let told = Told::default();
        let mut client = client(&universe, &told);
        client.send("40/custom,{\"say\":\"no\"}");
        client.send("40/custom,{}");
        universe.settle().await;
        client.listen();
        let refused = "44/custom,{\"message\":\"not you\",\"data\":{\"why\":\"because\"}}";
        assert_eq!(client.others, [refused, "40/custom,{\"sid\":\"me\"}"]);
        assert!(told.borrow().is_empty(), "nobody was there who could have gone");
    });
}

#[test]
fn who_is_put_out_is_gone_and_its_other_namespaces_go_on() {
    on_virtual_time(async {
        let (universe, mut client, told) = begun().await;
        client.send("42/custom,[\"out\"]");
        universe.settle().await;
        client.listen();
        assert_eq!(client.others, ["41/custom,"]);
        assert_eq!(*told.borrow(), ["out", "server namespace disconnect"]);
        let id = client.emit("join", &"a".into());
        universe.settle().await;
        client.listen();
        assert_eq!(client.answers[&id]["ok"], true);
    });
}

#[test]
fn who_leaves_is_gone_at_once_and_who_waits_too() {
    on_virtual_time(async {
        let (universe, mut client, told) = begun().await;
        client.send("41/custom,");
        client.send("40/custom,{\"say\":\"wait\"}");
        universe.settle().await;
        assert_eq!(*told.borrow(), ["client namespace disconnect"]);
        client.hang_up();
        universe.settle().await;
        assert_eq!(*told.borrow(), ["client namespace disconnect", "transport close"]);
    });
}

#[test]
fn a_question_is_answered_or_given_up() {
    on_virtual_time(async {
        let (universe, mut client, told) = begun().await;
        client.send("42/custom,[\"ask\"]");
        universe.settle().await;
        client.listen();
        assert_eq!(client.others, ["42/custom,0[\"question\",\"who?\"]"]);
        client.send("43/custom,7[\"nobody asked\"]");
        client.send("43/custom,0[\"it is me\"]");
        client.send("43/custom,0[\"again\"]");
        universe.settle().await;
        assert_eq!(*told.borrow(), ["ask", "[\"it is me\"]"]);
        client.send("42/custom,[\"ask\"]");
        wait(10.0).await;
        assert_eq!(told.borrow()[2..], ["ask", "silence"]);
        for _ in 0..17 {
            client.send("42/custom,[\"ask\"]");
        }
        universe.settle().await;
        let too_many = told
            .borrow()
            .iter()
            .filter(|word| word.contains("too many"))
            .count();
        assert_eq!(too_many, 1);
    });
}

#[test]
fn what_may_be_dropped_is_dropped_where_something_waits() {
    on_virtual_time(async {
        let (universe, mut client, _) = begun().await;
        // Both within one turn: the second finds the first in the outbox.
        client.send("42/custom,[\"volatile\"]");
        client.send("42/custom,[\"volatile\"]");
        universe.settle().await;
        client.listen();
        assert_eq!(client.others, ["42/custom,[\"there\",1]"]);
    });
}
