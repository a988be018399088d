//! How a connection becomes a WebSocket.

use anyhow::{Result, bail};
use std::net::SocketAddr;

use crate::protocol::Protocol;

/// The handshake's example key, so that the answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that begins a WebSocket.
pub fn upgrade_request(protocol: Protocol, address: SocketAddr) -> Vec<u8> {
    let sub_protocol = protocol.sub_protocol().map_or(String::new(), |name| {
        format!("Sec-WebSocket-Protocol: {name}\r\n")
    });
    format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{sub_protocol}\r\n",
        protocol.path(),
    )
    .into_bytes()
}

/// Whether this is the answer that grants the upgrade.
pub fn check_upgrade(head: &[u8]) -> Result<()> {
    let head = String::from_utf8_lossy(head);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        bail!("the upgrade was answered with {status:?}");
    }
    if !head.contains(ACCEPT) {
        bail!("the upgrade was accepted with a wrong key");
    }
    Ok(())
}
