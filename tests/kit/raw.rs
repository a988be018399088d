//! A client that writes whatever it likes.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::within;

/// A continuation frame.
pub const CONTINUATION: u8 = 0;
/// A text frame.
pub const TEXT: u8 = 1;
/// A binary frame.
pub const BINARY: u8 = 2;
/// A close frame.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// A handshake for the plain WebSocket.
pub const HANDSHAKE: &str = "GET /v1/ws HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A TCP connection with what was read and not yet used.
pub struct Raw {
    /// The connection.
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Connects with a receive buffer of a few kilobytes, so that little is under way while nothing is read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.set_nonblocking(true).unwrap();
        let connecting = TcpSocket::from_std_stream(socket.into()).connect(address);
        let stream = within("a connection", connecting).await.unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Connects and completes the WebSocket handshake.
    pub async fn websocket(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address).await;
        raw.shake_hands().await;
        raw
    }

    /// The same at another door.
    pub async fn websocket_at(address: SocketAddr, path: &str) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(HANDSHAKE.replace("/v1/ws", path).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Completes the WebSocket handshake.
    pub async fn shake_hands(&mut self) {
        self.send(HANDSHAKE.as_bytes()).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// Writes.
    pub async fn send(&mut self, bytes: &[u8]) {
        within("bytes to be sent", self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// Writes as long as the other end takes it; false once it does not.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within("bytes to be sent", self.stream.write_all(bytes))
            .await
            .is_ok()
    }

    /// Reads once; false at the end.
    pub async fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        // A reset is an end too.
        let bytes = within("bytes", self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..bytes]);
        bytes > 0
    }

    /// Reads the head of a response.
    pub async fn head(&mut self) -> String {
        let end = loop {
            match self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(self.read_more().await, "the end came before the head's"),
            }
        };
        String::from_utf8(self.read.drain(..end).collect()).unwrap()
    }

    /// Reads exactly as many bytes, `None` if there are not as many.
    pub async fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.read.len() < bytes {
            if !self.read_more().await {
                // What is less than was to be read belongs to nothing.
                self.read.clear();
                return None;
            }
        }
        Some(self.read.drain(..bytes).collect())
    }

    /// Reads a line, without its end; `None` at the end.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// The next frame: opcode and payload; `None` at the end.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.take(2).await?;
        assert_eq!(head[0] & 0xf0, 0x80, "the node does not fragment");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.take(2).await?.try_into().unwrap())),
            127 => u64::from_be_bytes(self.take(8).await?.try_into().unwrap()),
            length => length.into(),
        };
        Some((head[0] & 0x0f, self.take(length as usize).await?))
    }

    /// The next text frame.
    pub async fn json(&mut self) -> serde_json::Value {
        let (opcode, payload) = self.frame().await.unwrap();
        assert_eq!(opcode, TEXT, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// Reads up to the close frame; returns its code, if there was one.
    pub async fn close_code_frame(&mut self) -> Option<u16> {
        loop {
            let (opcode, payload) = self.frame().await?;
            if opcode == CLOSE {
                return Some(match payload[..] {
                    [high, low, ..] => u16::from_be_bytes([high, low]),
                    _ => 1005,
                });
            }
        }
    }

    /// Reads to the end; returns the code of the close frame, if there was one.
    pub async fn close_code(&mut self) -> Option<u16> {
        let code = self.close_code_frame().await;
        assert!(self.frame().await.is_none(), "nothing follows a close frame");
        code
    }

    /// Reads to the end.
    pub async fn read_to_the_end(&mut self) -> Vec<u8> {
        while self.read_more().await {}
        std::mem::take(&mut self.read)
    }

    /// Ends the sending side.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Cuts the connection by a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

/// A text frame as a client sends it.
pub fn text(payload: &str) -> Vec<u8> {
    frame(true, TEXT, payload.as_bytes())
}

/// A frame as a client sends it, masked.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = head(fin, opcode, payload.len() as u64, Some(mask));
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// What stands before a payload of that length.
pub fn head(fin: bool, opcode: u8, length: u64, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut head = vec![u8::from(fin) << 7 | opcode];
    let masked = u8::from(mask.is_some()) << 7;
    match length {
        0..126 => head.push(masked | length as u8),
        126..65_536 => {
            head.push(masked | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend(mask.into_iter().flatten());
    head
}
