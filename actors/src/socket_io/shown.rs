//! The token that a client shows when it enters a namespace, and what it is told if it is not let in.

use crate::logic::fault::Fault;
use serde::Deserialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

/// The token in what a client says of itself: `{token}`, as the stock client's option `auth` is customarily filled. What
/// stands there and is no text is no token, but shown all the same.
pub(super) fn token(auth: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct Auth {
        #[serde(default)]
        token: Value,
    }
    let auth: Auth = serde_json::from_str(auth?.get()).ok()?;
    match auth.token {
        Value::Null => None,
        Value::String(token) => Some(token),
        _ => Some(String::new()),
    }
}

/// What the listener of `connect_error` finds in `data`.
pub(super) fn error_data(fault: &Fault) -> Box<RawValue> {
    let mut data = json!({"code": fault.code.row().name});
    if let Some(details) = &fault.details {
        data["details"] = details.clone();
    }
    to_raw_value(&data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::fault::Code;

    #[test]
    fn a_token_is_a_text_in_an_object() {
        // (what the client says, the token)
        let table = [
            (r#"{"token":"t"}"#, Some("t")),
            (r#"{"pid":"p","token":"","offset":"o"}"#, Some("")),
            (r#"{"token":7}"#, Some("")),
            (r#"{"token":{"a":1}}"#, Some("")),
            (r#"{"token":null}"#, None),
            ("{}", None),
            ("null", None),
            ("[]", None),
            (r#""t""#, None),
        ];
        for (said, wanted) in table {
            let said = RawValue::from_string(said.into()).unwrap();
            assert_eq!(token(Some(&said)).as_deref(), wanted, "{said}");
        }
        assert_eq!(token(None), None);
    }

    #[test]
    fn a_refusal_is_a_code_with_its_details() {
        let fault = Fault::new(Code::Forbidden, "no").with(json!({"room": "a"}));
        assert_eq!(
            error_data(&fault).get(),
            r#"{"code":"forbidden","details":{"room":"a"}}"#
        );
        let plain = Fault::new(Code::Unauthenticated, "no");
        assert_eq!(error_data(&plain).get(), r#"{"code":"unauthenticated"}"#);
    }
}
