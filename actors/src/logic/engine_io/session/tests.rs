//! The rules of a session one by one, each as a short story with what the owner is told to do.

use super::*;
use crate::logic::engine_io::Packet;

pub(super) const TIMING: Timing = Timing {
    ping_interval_ms: 300,
    ping_timeout_ms: 200,
    upgrade_timeout_ms: 1_000,
    close_wait_ms: 3_000,
};

const A: Link = Link(1);
const B: Link = Link(2);
const OVER: Effect = Effect::AnswerGet(Control::Close);

/// A session and its clock.
struct Story {
    session: Session,
    now_ms: u64,
}

impl Story {
    fn polling() -> Self {
        let session = Session::polling(0, &TIMING);
        Self { session, now_ms: 0 }
    }

    fn websocket() -> Self {
        let session = Session::websocket(A, 0, &TIMING);
        Self { session, now_ms: 0 }
    }

    /// A session that was upgraded to socket `A`.
    fn upgraded() -> Self {
        let mut story = Self::polling();
        story.hear(Input::Attached(A));
        assert_eq!(
            story.says(A, Packet::Ping("probe")),
            [Effect::Write(A, Control::ProbePong)]
        );
        assert_eq!(story.says(A, Packet::Upgrade), [Effect::Upgraded(A)]);
        story
    }

    fn hear(&mut self, input: Input<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.session.handle(input, self.now_ms, &TIMING, &mut effects);
        effects
    }

    fn says(&mut self, link: Link, packet: Packet<'_>) -> Vec<Effect> {
        self.hear(Input::Packet(Source::Socket(link), &packet))
    }

    /// A whole POST of these packets.
    fn posts(&mut self, packets: &[Packet<'_>]) -> Vec<Effect> {
        let mut effects = self.hear(Input::Post { octets: false });
        for packet in packets {
            effects.extend(self.hear(Input::Packet(Source::Post, packet)));
        }
        effects.extend(self.hear(Input::PostEnded));
        effects
    }

    fn after(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        self.hear(Input::Tick)
    }
}

#[test]
fn messages_of_a_post_go_up_and_it_is_accepted() {
    let mut story = Story::polling();
    let effects = story.posts(&[Packet::Text("a"), Packet::Noop, Packet::Binary(vec![1].into())]);
    assert_eq!(effects, [Effect::Deliver, Effect::Deliver, Effect::AcceptPost]);
    assert_eq!(story.hear(Input::Packet(Source::Post, &Packet::Text("late"))), []);
}

#[test]
fn messages_may_go_out_while_a_get_waits() {
    let mut story = Story::polling();
    assert_eq!(story.session.outlet(), Outlet::Hold);
    assert_eq!(story.hear(Input::Get), []);
    assert_eq!(story.session.outlet(), Outlet::Get);
    story.hear(Input::GetAnswered);
    assert_eq!(story.session.outlet(), Outlet::Hold);
    assert_eq!(Story::websocket().session.outlet(), Outlet::Socket(A));
}

#[test]
fn a_second_get_ends_the_session() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    let refused = Effect::Refuse(Fault::BadRequest);
    assert_eq!(
        story.hear(Input::Get),
        [OVER, Effect::Closed(Reason::TransportError), refused]
    );
    assert_eq!(story.hear(Input::Get), [Effect::Refuse(Fault::UnknownSid)]);
}

#[test]
fn a_second_post_ends_the_session() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    story.hear(Input::Post { octets: false });
    let expected = [
        OVER,
        Effect::AbortPost(Fault::BadRequest),
        Effect::Closed(Reason::TransportError),
        Effect::Refuse(Fault::BadRequest),
    ];
    assert_eq!(story.hear(Input::Post { octets: false }), expected);
    assert_eq!(
        story.hear(Input::Post { octets: false }),
        [Effect::Refuse(Fault::UnknownSid)]
    );
}

#[test]
fn a_post_of_another_revision_ends_the_session() {
    let mut story = Story::polling();
    let expected = [
        Effect::Closed(Reason::TransportError),
        Effect::Refuse(Fault::BadRequest),
    ];
    assert_eq!(story.hear(Input::Post { octets: true }), expected);
}

#[test]
fn a_post_that_is_too_large_costs_only_itself() {
    let mut story = Story::polling();
    story.hear(Input::Post { octets: false });
    assert_eq!(story.hear(Input::PostTooLarge), []);
    assert_eq!(
        story.posts(&[Packet::Text("a")]),
        [Effect::Deliver, Effect::AcceptPost]
    );
}

#[test]
fn a_request_that_breaks_off_ends_the_session() {
    for (begin, abort) in [
        (Input::Get, Input::GetAborted),
        (Input::Post { octets: false }, Input::PostAborted),
    ] {
        let mut story = Story::polling();
        assert_eq!(story.hear(abort.clone()), [], "there was none");
        story.hear(begin);
        assert_eq!(story.hear(abort), [Effect::Closed(Reason::TransportError)]);
    }
}

#[test]
fn what_is_no_packet_ends_the_session_but_what_came_before_counts() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    story.hear(Input::Post { octets: false });
    assert_eq!(
        story.hear(Input::Packet(Source::Post, &Packet::Text("a"))),
        [Effect::Deliver]
    );
    let expected = [
        OVER,
        Effect::AbortPost(Fault::BadRequest),
        Effect::Closed(Reason::ParseError),
    ];
    assert_eq!(story.hear(Input::Malformed(Source::Post)), expected);
    assert_eq!(story.hear(Input::PostEnded), []);

    let mut story = Story::websocket();
    let expected = [Effect::CloseSocket(A), Effect::Closed(Reason::ParseError)];
    assert_eq!(story.hear(Input::Malformed(Source::Socket(A))), expected);
}

#[test]
fn a_client_must_not_ping() {
    for data in ["", "probe"] {
        let expected = [Effect::CloseSocket(A), Effect::Closed(Reason::TransportError)];
        assert_eq!(Story::websocket().says(A, Packet::Ping(data)), expected);
        let expected = [
            Effect::AbortPost(Fault::BadRequest),
            Effect::Closed(Reason::TransportError),
        ];
        assert_eq!(Story::polling().posts(&[Packet::Ping(data)]), expected);
    }
}

#[test]
fn a_client_closes_by_packet_or_by_closing() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    let closed = Effect::Closed(Reason::TransportClose);
    let expected = [Effect::AnswerGet(Control::Noop), Effect::AcceptPost, closed];
    assert_eq!(story.posts(&[Packet::Close, Packet::Text("late")]), expected);
    assert_eq!(
        Story::websocket().says(A, Packet::Close),
        [Effect::CloseSocket(A), closed]
    );
    assert_eq!(Story::websocket().hear(Input::SocketClosed(A)), [closed]);
    let failed = Effect::Closed(Reason::TransportError);
    assert_eq!(Story::websocket().hear(Input::SocketFailed(A)), [failed]);
}

#[test]
fn pings_go_out_by_whatever_is_there() {
    let mut story = Story::websocket();
    assert_eq!(story.after(299), []);
    assert_eq!(story.after(1), [Effect::Write(A, Control::Ping)]);
    story.now_ms += 199;
    assert_eq!(story.says(A, Packet::Pong("")), []);
    assert_eq!(story.session.due_ms(), Some(799));

    let mut story = Story::polling();
    story.hear(Input::Get);
    assert_eq!(story.after(300), [Effect::AnswerGet(Control::Ping)]);
    assert_eq!(story.posts(&[Packet::Pong("")]), [Effect::AcceptPost]);
    assert_eq!(story.after(300), [], "no GET waits");
    assert_eq!(story.hear(Input::Get), [Effect::AnswerGet(Control::Ping)]);
    assert_eq!(story.hear(Input::Get), [], "this one waits");
}

#[test]
fn silence_ends_the_session_and_other_traffic_is_no_sign_of_life() {
    let mut story = Story::polling();
    story.after(300);
    assert_eq!(
        story.posts(&[Packet::Text("a")]),
        [Effect::Deliver, Effect::AcceptPost]
    );
    assert_eq!(story.after(199), []);
    assert_eq!(story.after(1), [Effect::Closed(Reason::PingTimeout)]);
    let mut story = Story::websocket();
    story.after(300);
    assert_eq!(
        story.after(200),
        [Effect::CloseSocket(A), Effect::Closed(Reason::PingTimeout)]
    );
}

#[test]
fn an_upgrade_ends_the_waiting_get_and_then_switches() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    assert_eq!(story.hear(Input::Attached(A)), []);
    assert_eq!(
        story.says(A, Packet::Ping("probe")),
        [Effect::Write(A, Control::ProbePong)]
    );
    assert_eq!(story.after(99), []);
    assert_eq!(story.after(1), [Effect::AnswerGet(Control::Noop)]);
    assert_eq!(story.session.outlet(), Outlet::Hold, "what comes now is buffered");
    assert_eq!(story.hear(Input::Get), []);
    assert_eq!(
        story.after(100),
        [Effect::AnswerGet(Control::Noop)],
        "as often as it takes"
    );
    assert_eq!(
        story.posts(&[Packet::Text("polled")]),
        [Effect::Deliver, Effect::AcceptPost]
    );
    assert_eq!(story.says(A, Packet::Upgrade), [Effect::Upgraded(A)]);
    assert_eq!(
        (story.session.outlet(), story.session.carrier()),
        (Outlet::Socket(A), Some(Carrier::Upgraded))
    );
    assert_eq!(story.says(A, Packet::Text("hello")), [Effect::Deliver]);
}

#[test]
fn after_an_upgrade_nothing_else_gets_in() {
    let mut story = Story::upgraded();
    let refused = [Effect::Refuse(Fault::BadRequest)];
    assert_eq!(story.hear(Input::Get), refused);
    assert_eq!(story.hear(Input::Post { octets: false }), refused);
    assert_eq!(story.hear(Input::Attached(B)), [Effect::CloseSocket(B)]);
    assert_eq!(story.says(B, Packet::Ping("probe")), []);
    assert_eq!(story.hear(Input::SocketClosed(B)), []);
    assert_eq!(story.says(A, Packet::Text("hello")), [Effect::Deliver]);
}

#[test]
fn a_second_socket_during_an_upgrade_is_closed_and_the_first_goes_on() {
    let mut story = Story::polling();
    story.hear(Input::Attached(A));
    assert_eq!(story.hear(Input::Attached(B)), [Effect::CloseSocket(B)]);
    assert_eq!(story.says(B, Packet::Upgrade), []);
    assert_eq!(story.says(A, Packet::Upgrade), [Effect::Upgraded(A)]);
}

#[test]
fn an_upgrade_that_fails_leaves_polling_as_it_was() {
    for fail in [Input::SocketClosed(A), Input::SocketFailed(A)] {
        let mut story = Story::polling();
        story.hear(Input::Attached(A));
        assert_eq!(story.hear(fail), []);
        assert_eq!(story.hear(Input::Get), []);
        assert_eq!(story.hear(Input::Attached(B)), [], "another may try");
    }
    let text = Packet::Text("too early");
    for input in [
        Input::Packet(Source::Socket(A), &text),
        Input::Malformed(Source::Socket(A)),
    ] {
        let mut story = Story::polling();
        story.hear(Input::Attached(A));
        assert_eq!(story.hear(input), [Effect::CloseSocket(A)]);
        assert_eq!(story.hear(Input::Get), []);
    }
}

#[test]
fn an_upgrade_that_takes_too_long_is_given_up() {
    let mut story = Story::polling();
    story.hear(Input::Attached(A));
    story.says(A, Packet::Ping("probe"));
    for _ in 0..4 {
        story.after(240);
        story.posts(&[Packet::Pong("")]);
    }
    assert_eq!(story.after(40), [Effect::CloseSocket(A)]);
    assert_eq!(story.says(A, Packet::Upgrade), []);
    assert_eq!(story.session.carrier(), Some(Carrier::Polling));
}

#[test]
fn a_ping_that_found_no_get_goes_over_the_new_socket_with_its_whole_time() {
    let mut story = Story::polling();
    story.hear(Input::Attached(A));
    assert_eq!(story.after(300), []);
    story.now_ms += 150;
    assert_eq!(
        story.says(A, Packet::Upgrade),
        [Effect::Upgraded(A), Effect::Write(A, Control::Ping)]
    );
    assert_eq!(story.after(199), []);
    assert_eq!(story.says(A, Packet::Pong("")), []);
    assert_eq!(story.after(299), []);
}

#[test]
fn requests_that_are_open_at_the_switch_are_answered() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    story.hear(Input::Post { octets: false });
    story.hear(Input::Attached(A));
    let expected = [
        Effect::AnswerGet(Control::Noop),
        Effect::AbortPost(Fault::BadRequest),
        Effect::Upgraded(A),
    ];
    assert_eq!(story.says(A, Packet::Upgrade), expected);
    assert_eq!(story.hear(Input::Packet(Source::Post, &Packet::Text("late"))), []);
}

#[test]
fn the_server_closes_when_all_is_sent() {
    let (reason, closed) = (Reason::ForcedClose, Effect::Closed(Reason::ForcedClose));
    let close = |backlog| Input::Close { reason, backlog };
    let mut story = Story::websocket();
    assert_eq!(story.hear(close(true)), []);
    assert!(!story.session.is_open());
    assert_eq!(story.session.outlet(), Outlet::Socket(A));
    assert_eq!(story.hear(Input::Drained), [Effect::CloseSocket(A), closed]);

    let mut story = Story::polling();
    assert_eq!(story.hear(close(true)), []);
    assert_eq!(story.hear(Input::Get), []);
    assert_eq!(story.session.outlet(), Outlet::Get);
    assert_eq!(
        (story.hear(Input::GetAnswered), story.hear(Input::Drained)),
        (vec![], vec![])
    );
    assert_eq!(story.hear(Input::Get), [OVER, closed]);

    let mut story = Story::polling();
    story.hear(Input::Get);
    assert_eq!(story.hear(close(false)), [OVER, closed]);
}

#[test]
fn the_server_waits_only_so_long_for_a_client_that_it_closes() {
    for backlog in [false, true] {
        let mut story = Story::polling();
        let reason = Reason::ForcedClose;
        story.hear(Input::Close { reason, backlog });
        assert_eq!(
            story.posts(&[Packet::Text("late"), Packet::Pong("")]),
            [Effect::AcceptPost]
        );
        assert_eq!(story.after(2_999), []);
        assert_eq!(story.session.due_ms(), Some(3_000));
        assert_eq!(story.after(1), [Effect::Closed(reason)]);
        assert_eq!(story.session.due_ms(), None);
    }
}

#[test]
fn an_upgrade_may_complete_a_close() {
    let mut story = Story::polling();
    story.hear(Input::Attached(A));
    let (reason, backlog) = (Reason::ForcedClose, false);
    story.hear(Input::Close { reason, backlog });
    let expected = [
        Effect::Upgraded(A),
        Effect::CloseSocket(A),
        Effect::Closed(reason),
    ];
    assert_eq!(story.says(A, Packet::Upgrade), expected);
}

#[test]
fn a_shutdown_waits_for_nobody() {
    let mut story = Story::polling();
    story.hear(Input::Get);
    story.hear(Input::Attached(A));
    let closed = Effect::Closed(Reason::ServerShuttingDown);
    let stop = Input::CloseNow(Reason::ServerShuttingDown);
    assert_eq!(story.hear(stop.clone()), [OVER, Effect::CloseSocket(A), closed]);
    assert_eq!(story.hear(stop), []);
    assert_eq!(story.hear(Input::Attached(B)), [Effect::CloseSocket(B)]);
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 96, "{}", size_of::<Session>());
}
