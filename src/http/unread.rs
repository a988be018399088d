//! What is left unread of a request's body when it is answered.
//!
//! The server ends a connection on which an answered request has not come to its end, but for a body in chunks that
//! nobody wants any more: that it reads on, for ever and without a limit. So somebody goes on wanting it, until the answer
//! is written.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_http::Payload;
use actix_http::error::PayloadError;
use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::web::Bytes;
use futures_util::Stream;

use super::patience::Stage;

/// A body in chunks, if the request has one.
pub struct Unread(Option<Chunks>);

#[derive(Clone)]
struct Chunks(Rc<RefCell<Payload>>);

impl Unread {
    /// Of a request whose head is there.
    pub fn of(request: &mut ServiceRequest) -> Self {
        if let Some(stage) = request.request().conn_data::<Rc<Stage>>() {
            stage.has_request();
        }
        if !request.chunked().unwrap_or(false) {
            return Self(None);
        }
        let chunks = Chunks(Rc::new(RefCell::new(request.take_payload())));
        let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(chunks.clone());
        request.set_payload(payload.into());
        Self(Some(chunks))
    }

    /// The answer to that request.
    pub fn held_by(self, answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        match self.0 {
            Some(chunks) => answer.map_body(|_, answer| {
                BoxBody::new(Held {
                    answer,
                    _chunks: chunks,
                })
            }),
            None => answer,
        }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(task)
    }
}

/// The body of an answer, with what is unread of the request's.
struct Held {
    answer: BoxBody,
    _chunks: Chunks,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(task)
    }
}
