//! What Redis answers, as texts; and why it does not.

use greenroom_actors::broker::BrokerError;
use redis::{RedisError, RedisResult, Value};

/// What our own scripts say when they belong to another life.
const REPLACED: &str = "REPLACED";
/// The server does not know a script any more that it was given: somebody has flushed them, or it is another server.
const NO_SCRIPT: &str = "NOSCRIPT";

/// Why something failed.
pub(super) fn error(failed: &RedisError) -> BrokerError {
    match failed.code() {
        Some(REPLACED | NO_SCRIPT) => BrokerError::Replaced,
        Some(code) => {
            let detail = failed.detail().unwrap_or_default();
            BrokerError::Refuses(format!("{code} {detail}").trim().to_owned())
        }
        None => BrokerError::Away(failed.to_string()),
    }
}

/// An answer of a form that no version of us gives.
pub(super) fn unreadable(what: &str) -> BrokerError {
    BrokerError::Refuses(format!("what it answers to {what} cannot be read"))
}

/// An answer, if it is no error.
pub(super) fn answered(answer: RedisResult<Value>) -> Result<Value, BrokerError> {
    let answer = answer.and_then(Value::extract_error);
    answer.map_err(|failed| error(&failed))
}

/// A text or a number.
pub(super) fn text(value: Value) -> Result<String, BrokerError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| unreadable("a script")),
        Value::SimpleString(text) => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        Value::VerbatimString { text, .. } => Ok(text),
        Value::Okay => Ok("OK".into()),
        _ => Err(unreadable("a script")),
    }
}

/// A list.
pub(super) fn list(value: Value) -> Result<Vec<Value>, BrokerError> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        _ => Err(unreadable("a script")),
    }
}

/// A list of texts.
pub(super) fn texts(value: Value) -> Result<Vec<String>, BrokerError> {
    list(value)?.into_iter().map(text).collect()
}
