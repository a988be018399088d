//! Errors as the HTTP surface tells them: the catalogue's code and status, one sentence, details.

use std::fmt;

use actix_http::StatusCode;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use greenroom_actors::logic::fault::{Code, Fault};
use serde_json::json;

use super::unread::Unread;

/// Seconds after which a request that may be tried again should be.
const RETRY_AFTER_SECONDS: &str = "1";

/// A fault as an HTTP response.
#[derive(Debug)]
pub struct ApiError(pub Fault);

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let row = self.0.code.row();
        let mut body = json!({"code": row.name, "message": self.0.message});
        if let Some(details) = &self.0.details {
            body["details"] = details.clone();
        }
        let mut response = HttpResponse::build(self.status_code());
        if row.status == 401 {
            let asks = header::HeaderValue::from_static("Bearer realm=\"greenroom\"");
            response.insert_header((header::WWW_AUTHENTICATE, asks));
        }
        if matches!(row.status, 429 | 503) {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.json(json!({"error": body}))
    }
}

/// What answers where there is no route.
pub async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("there is nothing at {} {}", request.method(), request.path());
    Err(Fault::new(Code::NotFound, message).into())
}

/// What answers where there is a path, but not for this method.
pub async fn method_not_allowed(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("{} does not take {}", request.path(), request.method());
    Err(Fault::new(Code::MethodNotAllowed, message).into())
}

/// Errors that actix answers by itself (a body over the limit, a query that cannot be read) get the catalogue's
/// body too.
pub async fn in_our_words(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let unread = Unread::of(&mut request);
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(unread.held_by(in_words(response)))
}

fn in_words(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let is_ours = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status.as_u16() {
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        413 => Code::BodyTooLarge,
        415 => Code::UnsupportedMedia,
        400..=499 => Code::BadRequest,
        _ => Code::Internal,
    };
    let fault = ApiError(Fault::new(code, code.row().meaning));
    let (request, before) = response.into_parts();
    let mut response = fault.error_response();
    for (name, value) in before
        .headers()
        .iter()
        .filter(|(name, _)| **name == header::ALLOW)
    {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    ServiceResponse::new(request, response)
}
