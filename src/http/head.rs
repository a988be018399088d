//! How large the head of a request may be. The HTTP server itself takes up to 128 KiB.

use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use greenroom_actors::logic::fault::{Code, Fault};

use super::{ApiError, Site};

/// What stands between a field's name, its value and the next one, bytes.
const BETWEEN: usize = ": \r\n".len();

/// Refuses a request whose head is too large: its address and its fields.
pub async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let limit = request.app_data::<Rc<Site>>().map_or(0, |site| site.head_bytes);
    let bytes = size(&request);
    if bytes > limit {
        let message =
            format!("the request's head has {bytes} bytes, and may have {limit} (limits.head_bytes)");
        return Err(ApiError(Fault::new(Code::HeadTooLarge, message)).into());
    }
    next.call(request).await
}

fn size(request: &ServiceRequest) -> usize {
    let address = request
        .uri()
        .path_and_query()
        .map_or(0, |address| address.as_str().len());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + BETWEEN);
    address + fields.sum::<usize>()
}
