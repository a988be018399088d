//! A JavaScript server as a process, and what it is told to do.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::kit::{eventually, within};

/// Who waits for the answer to which command.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A running server. Dropping it ends it.
pub struct Server {
    child: Child,
    /// None when it is to end.
    commands: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    heard: UnboundedReceiver<Value>,
    next: AtomicU64,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts one on this Redis.
    pub async fn start(redis: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/socketio/js");
        let mut command = Command::new("node");
        command.arg(folder.join("cluster-server.mjs")).arg(redis);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (waiting, (hears, heard)) = (Waiting::default(), unbounded_channel());
        let (told, address) = oneshot::channel();
        let (reports, routes) = (child.stdout.take().unwrap(), waiting.clone());
        thread::spawn(move || distribute(reports, told, &routes, &hears));
        Self {
            commands: Mutex::new(child.stdin.take()),
            child,
            waiting,
            heard,
            next: AtomicU64::new(1),
            address: within("a JavaScript server to listen", address).await.unwrap(),
        }
    }

    /// Has it do something: what that comes to.
    pub async fn try_do(&self, op: &str, mut command: Value) -> Result<Value, String> {
        let reference = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap().insert(reference, answer);
        command["op"] = op.into();
        command["ref"] = reference.into();
        self.tell(&command);
        let mut report = within(op, answered).await.unwrap();
        match report["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(report["value"].take()),
        }
    }

    fn tell(&self, command: &Value) {
        let mut commands = self.commands.lock().unwrap();
        writeln!(commands.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Has it do something that has to succeed.
    pub async fn run(&self, op: &str, command: Value) -> Value {
        self.try_do(op, command)
            .await
            .unwrap_or_else(|error| panic!("{op}: {error}"))
    }

    /// Has it send an event to rooms.
    pub async fn emit(&self, rooms: &[&str], event: &str, args: Value) {
        self.run("emit", json!({"rooms": rooms, "event": event, "args": args}))
            .await;
    }

    /// What it knows of all sockets in these rooms, by their ids; of all, if there are none.
    pub async fn fetch(&self, rooms: &[&str]) -> HashMap<String, Value> {
        let sockets = self.run("fetch", json!({"rooms": rooms})).await;
        let sockets = sockets.as_array().unwrap().clone();
        let by_id = |socket: Value| (socket["id"].as_str().unwrap().to_owned(), socket);
        let count = sockets.len();
        let by_id: HashMap<_, _> = sockets.into_iter().map(by_id).collect();
        assert_eq!(by_id.len(), count, "a socket twice");
        by_id
    }

    /// Awaits that it counts so many servers, itself among them.
    pub async fn until_servers(&self, count: usize) {
        eventually("the servers to count each other", || async {
            self.run("servers", json!({})).await == count
        })
        .await;
    }

    /// What another server says to it.
    pub async fn heard(&mut self) -> Value {
        let report = within("a word of another server", self.heard.recv())
            .await
            .unwrap();
        report["args"].clone()
    }
}

fn distribute(
    reports: ChildStdout,
    told: oneshot::Sender<SocketAddr>,
    waiting: &Waiting,
    hears: &UnboundedSender<Value>,
) {
    let mut lines = BufReader::new(reports).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let address = first.strip_prefix("listens on http://").unwrap_or_default();
    told.send(address.parse().expect("an address")).unwrap();
    for line in lines {
        let report: Value = serde_json::from_str(&line).unwrap();
        match report["ref"].as_u64() {
            Some(reference) => {
                let answer = waiting.lock().unwrap().remove(&reference).unwrap();
                // A test may be done with it.
                let _ = answer.send(report);
            }
            None => drop(hears.send(report)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At the end of its input it ends.
        drop(self.commands.lock().unwrap().take());
        let _ = self.child.wait();
    }
}
