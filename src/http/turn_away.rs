//! The answer to a connection that is one too many, before anything is read from it.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use actix_web::ResponseError as _;
use actix_web::http::StatusCode;
use greenroom_actors::callers::Refused;
use greenroom_actors::logic::fault::{Code, Fault};
use serde_json::json;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ApiError;

/// How many of a thread may be told at once; of more each is just ended.
const AT_ONCE: u32 = 64;
/// How long one may take to hear it.
const WITHIN: Duration = Duration::from_secs(1);
/// Bytes of its request that are read, so that the answer is not lost with them by a reset.
const REQUEST_BYTES: usize = 64 << 10;

/// Who is being told in a thread.
#[derive(Default)]
pub struct TurnAway(Cell<u32>);

/// The fault that a limit of an address, or of all together, means to a client.
pub fn fault(refused: Refused) -> Fault {
    let code = match refused {
        Refused::Full(_) => Code::Overloaded,
        _ => Code::RateLimited,
    };
    Fault::new(code, refused.to_string())
}

impl TurnAway {
    /// Tells a client of HTTP why it is refused, and ends the connection.
    pub async fn tell(&self, mut tcp: TcpStream, refused: Refused) {
        if self.0.get() >= AT_ONCE {
            return;
        }
        self.0.set(self.0.get() + 1);
        let heard = async {
            tcp.write_all(answer(fault(refused)).as_bytes()).await?;
            SockRef::from(&tcp).shutdown(Shutdown::Write)?;
            let (mut read, mut buffer) = (0, [0; 4_096]);
            while let Ok(bytes @ 1..) = tcp.read(&mut buffer).await
                && read < REQUEST_BYTES
            {
                read += bytes;
            }
            io::Result::Ok(())
        };
        let _ = timeout(WITHIN, heard).await;
        self.0.set(self.0.get() - 1);
    }
}

fn answer(fault: Fault) -> String {
    let body = json!({"error": {"code": fault.code.row().name, "message": fault.message}}).to_string();
    let status: StatusCode = ApiError(fault).status_code();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}
