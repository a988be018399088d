//! Sockets as the measurements need them: no Nagle, and no pacing by the congestion control.

use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket, Type};
use std::fs;
use std::io;
use std::net::SocketAddr;

/// Paces even loopback traffic, so that a fan-out measures its timers and not the server.
const PACING: &[u8] = b"bbr";
const WITHOUT_PACING: &[u8] = b"reno";

/// The kernel's default congestion control.
pub fn congestion_control() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The setting that keeps a node's connections from being paced, where they would be.
pub fn without_pacing() -> Option<&'static str> {
    congestion_control()
        .starts_with("bbr")
        .then_some("tcp_congestion=reno")
}

/// Sets a socket up; accepted sockets inherit the congestion control of their listener.
pub fn tune(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if socket.tcp_congestion().is_ok_and(|name| name.starts_with(PACING)) {
        socket.set_tcp_congestion(WITHOUT_PACING)?;
    }
    Ok(())
}

/// Starts to connect; the socket becomes writable when it is, or has failed.
pub fn connect(address: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    tune(SockRef::from(&socket))?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::Error::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// A listener with a backlog for many clients at once.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = bound(address)?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

/// A socket that somebody may listen on.
pub fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    tune(SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}
