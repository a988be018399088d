//! The stock Socket.IO clients, unchanged, in a Node.js process of their own.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::{LIMIT, Process};

/// A release of the stock client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The current one.
    Newest,
    /// The first one that recovers.
    Oldest,
}

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By WebSocket from the start.
    WebSocket,
    /// By polling, without an upgrade.
    Polling,
    /// As the stock client does by default: by polling, then upgraded.
    Upgrade,
}

/// Every kind of client.
pub const KINDS: [(Version, Transport); 6] = [
    (Version::Newest, Transport::WebSocket),
    (Version::Newest, Transport::Polling),
    (Version::Newest, Transport::Upgrade),
    (Version::Oldest, Transport::WebSocket),
    (Version::Oldest, Transport::Polling),
    (Version::Oldest, Transport::Upgrade),
];

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::Newest => "4.8",
            Self::Oldest => "4.6",
        }
    }
}

impl Transport {
    /// What a client connects with: the transport, and a way back that does not make tests wait.
    pub fn options(self) -> Value {
        let transports = match self {
            Self::WebSocket => json!(["websocket"]),
            Self::Polling => json!(["polling"]),
            Self::Upgrade => json!(["polling", "websocket"]),
        };
        // A stock client whose connection ends between the upgrade and the first packet notices by this timeout alone.
        json!({"transports": transports, "reconnectionDelay": 10, "reconnectionDelayMax": 50, "timeout": 1_000})
    }

    /// What carries packets in the end.
    pub fn settled(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket | Self::Upgrade => "websocket",
        }
    }
}

/// A process with stock clients. Dropping it ends them all.
pub struct Stock {
    child: Child,
    driver: Arc<Driver>,
}

struct Driver {
    /// None when the process is to end.
    commands: Mutex<Option<ChildStdin>>,
    routes: Mutex<HashMap<String, UnboundedSender<Value>>>,
}

/// One client.
pub struct StockClient {
    name: String,
    driver: Arc<Driver>,
    reports: UnboundedReceiver<Value>,
    /// Reports that came while another was awaited.
    early: VecDeque<Value>,
    next_ref: u64,
}

/// An event that a client heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What listeners got; with recovery on, the last one is the offset.
    pub args: Vec<Value>,
}

/// The stock server on a free port, with recovery on; `options` are its command line's.
pub fn stock_server(options: &[&str]) -> Process {
    let mut command = node("stock-server.mjs");
    command.args(options);
    Process::from(command)
}

/// A Node.js program of the test kit.
fn node(program: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/socketio/js");
    let modules: PathBuf = folder.join("node_modules");
    assert!(
        modules.is_dir(),
        "{} is missing: run scripts/prepare-tests.sh",
        modules.display()
    );
    let mut command = Command::new("node");
    command.arg(folder.join(program));
    command
}

impl Stock {
    /// Starts the process.
    pub fn start() -> Self {
        Self::from(node("client.mjs"))
    }

    /// Starts it with one more authority to trust, by its certificate's file.
    pub fn start_trusting(root: &Path) -> Self {
        let mut command = node("client.mjs");
        command.env("NODE_EXTRA_CA_CERTS", root);
        Self::from(command)
    }

    /// Starts a headless browser, whose page comes from this host as far as the page knows. [`StockClient::cut`] is
    /// not to be had.
    pub fn start_browser(origin: &str) -> Self {
        let mut command = node("browser.mjs");
        command.args(["--origin", origin]);
        Self::from(command)
    }

    fn from(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let driver = Arc::new(Driver {
            commands: Mutex::new(child.stdin.take()),
            routes: Mutex::default(),
        });
        let (reports, routes) = (child.stdout.take().unwrap(), driver.clone());
        thread::spawn(move || routes.distribute(reports));
        Self { child, driver }
    }

    /// A client of the main namespace, which begins to connect.
    pub fn client(&self, address: SocketAddr, (version, transport): (Version, Transport)) -> StockClient {
        self.client_of(&format!("http://{address}"), version, transport.options())
    }

    /// A client of any namespace with any options of the stock client.
    pub fn client_of(&self, url: &str, version: Version, options: Value) -> StockClient {
        let (route, reports) = unbounded_channel();
        let mut routes = self.driver.routes.lock().unwrap();
        let name = format!("client {}", routes.len());
        routes.insert(name.clone(), route);
        drop(routes);
        let client = StockClient {
            name,
            driver: self.driver.clone(),
            reports,
            early: VecDeque::new(),
            next_ref: 0,
        };
        client.tell(json!({"op": "connect", "url": url, "version": version.name(), "options": options}));
        client
    }

    /// A client that has connected, and upgraded if that is its kind.
    pub async fn connected(&self, address: SocketAddr, kind: (Version, Transport)) -> StockClient {
        let mut client = self.client(address, kind);
        client.connect().await;
        if kind.1 == Transport::Upgrade {
            client.upgraded().await;
        }
        client
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        // At the end of its input it ends, and a browser with it.
        drop(self.driver.commands.lock().unwrap().take());
        let _ = self.child.wait();
    }
}

impl Driver {
    fn distribute(&self, reports: ChildStdout) {
        for line in BufReader::new(reports).lines().map_while(Result::ok) {
            let report: Value = serde_json::from_str(&line).unwrap();
            let routes = self.routes.lock().unwrap();
            if let Some(route) = report["name"].as_str().and_then(|name| routes.get(name)) {
                // A test may be done with a client that goes on.
                let _ = route.send(report);
            }
        }
        self.routes.lock().unwrap().clear();
    }
}

impl StockClient {
    fn tell(&self, mut command: Value) {
        command["name"] = self.name.clone().into();
        let mut commands = self.driver.commands.lock().unwrap();
        // Nobody is left to hear it when the process has been dropped.
        if let Some(commands) = commands.as_mut() {
            writeln!(commands, "{command}").unwrap();
        }
    }

    /// The next report. Alone of all that waits here it has no limit.
    pub async fn next(&mut self) -> Value {
        match self.early.pop_front() {
            Some(report) => report,
            None => self.receive().await,
        }
    }

    /// The next report, if there is one already.
    pub fn try_next(&mut self) -> Option<Value> {
        self.early.pop_front().or_else(|| self.reports.try_recv().ok())
    }

    async fn receive(&mut self) -> Value {
        let report = self.reports.recv().await;
        report.expect("the process of the stock clients has ended")
    }

    /// The next report that is so; others are kept for later, in order.
    async fn next_that(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.early.iter().position(&is_so) {
            return self.early.remove(at).unwrap();
        }
        let since = Instant::now();
        loop {
            let Ok(report) = timeout_at(since + LIMIT, self.receive()).await else {
                panic!(
                    "waited {LIMIT:?} for {what} of a stock client, and had {:?}",
                    self.early
                );
            };
            if is_so(&report) {
                return report;
            }
            self.early.push_back(report);
        }
    }

    async fn next_on(&mut self, on: &str) -> Value {
        self.next_that(on, |report| report["on"] == on).await
    }

    /// Awaits a connection: `id`, `recovered` and `transport`.
    pub async fn connect(&mut self) -> Value {
        self.next_on("connect").await
    }

    /// Awaits that it was upgraded.
    pub async fn upgraded(&mut self) {
        let report = self.next_on("transport").await;
        assert_eq!(report["transport"], "websocket");
    }

    /// Awaits the end of a connection: the reason that the stock client gives.
    pub async fn disconnected(&mut self) -> String {
        let report = self.next_on("disconnect").await;
        report["reason"].as_str().unwrap().to_owned()
    }

    /// Awaits a refusal: its message and data.
    pub async fn refused(&mut self) -> (String, Value) {
        let report = self.next_on("connect_error").await;
        (
            report["message"].as_str().unwrap().to_owned(),
            report["data"].clone(),
        )
    }

    /// Awaits an event.
    pub async fn event(&mut self) -> Event {
        Event::from(&self.next_on("event").await)
    }

    /// Awaits events.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// Sends an event that wants no answer.
    pub fn emit(&self, event: &str, args: Value) {
        self.tell(json!({"op": "emit", "event": event, "args": args}));
    }

    /// Sends an event that is to be answered; the number of its ack.
    pub fn ask_later(&mut self, event: &str, args: Value) -> u64 {
        self.next_ref += 1;
        let reference = self.next_ref;
        self.tell(json!({"op": "emit", "event": event, "args": args, "ref": reference}));
        reference
    }

    /// Sends an event and awaits its ack: all that the ack carries, or why there is none.
    pub async fn ask_for_all(&mut self, event: &str, args: Value) -> Result<Vec<Value>, String> {
        let reference = self.ask_later(event, args);
        self.answer_to(reference).await
    }

    /// Awaits the ack of what [`Self::ask_later`] has sent.
    pub async fn answer_to(&mut self, reference: u64) -> Result<Vec<Value>, String> {
        let mut report = self
            .next_that("an ack", |report| {
                report["on"] == "ack" && report["ref"] == reference
            })
            .await;
        match report["args"].take() {
            Value::Array(args) => Ok(args),
            _ => Err(report["error"].as_str().unwrap().to_owned()),
        }
    }

    /// Sends an event whose ack has to carry one object.
    pub async fn ask(&mut self, event: &str, args: Value) -> Value {
        let mut answers = self.ask_for_all(event, args).await.unwrap();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// Sends an event that has to be accepted.
    pub async fn ask_ok(&mut self, event: &str, args: Value) -> Value {
        let answer = self.ask(event, args).await;
        assert_eq!(answer["ok"], true, "{event}: {answer}");
        answer
    }

    /// Sends an event that has to be refused: the code of the error.
    pub async fn ask_refused(&mut self, event: &str, args: Value) -> String {
        let answer = self.ask(event, args).await;
        assert_eq!(answer["ok"], false, "{event}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty(), "{answer}");
        answer["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Joins a room.
    pub async fn join(&mut self, room: &str) -> Value {
        let answer = self.ask_ok("join", json!([room])).await;
        assert_eq!(answer["room"], room, "{answer}");
        answer
    }

    /// Asserts that no event has come before the answer to a question that is asked now.
    pub async fn hears_nothing(&mut self) {
        self.ask_ok("presence", json!(["lobby"])).await;
        let heard = self.early.iter().find(|report| report["on"] == "event");
        assert_eq!(heard, None);
    }

    /// What it sends with its next connect.
    pub fn set_auth(&self, auth: Value) {
        self.tell(json!({"op": "auth", "auth": auth}));
    }

    /// Ends the connection in an orderly way.
    pub fn disconnect(&self) {
        self.tell(json!({"op": "disconnect"}));
    }

    /// Connects again after [`Self::disconnect`], or after the server has ended it.
    pub fn open(&self) {
        self.tell(json!({"op": "open"}));
    }

    /// Destroys its TCP connections: closed, or reset.
    pub fn cut(&self, reset: bool) {
        self.tell(json!({"op": "cut", "reset": reset}));
    }

    /// What the client says of itself: `id`, `connected`, `active`, `recovered`, `transport`.
    pub async fn status(&mut self) -> Value {
        self.next_ref += 1;
        let reference = self.next_ref;
        self.tell(json!({"op": "status", "ref": reference}));
        self.next_that("a status", |report| {
            report["on"] == "status" && report["ref"] == reference
        })
        .await
    }
}

impl From<&Value> for Event {
    fn from(report: &Value) -> Self {
        Self {
            name: report["event"].as_str().unwrap().to_owned(),
            args: report["args"].as_array().unwrap().clone(),
        }
    }
}

impl Event {
    /// The first argument.
    pub fn data(&self) -> &Value {
        &self.args[0]
    }
}
