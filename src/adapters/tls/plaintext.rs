//! What is said to clients that speak no TLS on a port that does.

use tokio::net::TcpStream;

/// Understood by whoever forgot the `s` of https, which is nearly always what it is.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: application/json\r\n\
    content-length: 85\r\n\
    connection: close\r\n\
    \r\n\
    {\"error\":{\"code\":\"bad_request\",\"message\":\"this port speaks TLS: use https or wss\"}}\r\n";

/// Says so, if it can be said at once.
pub fn answer(tcp: &TcpStream) {
    let _ = tcp.try_write(ANSWER);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let answer = std::str::from_utf8(ANSWER).expect("a text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
    }
}
