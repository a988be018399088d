//! A redis-server of the test's own: on a free port, in a folder of its own, ended with it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::LIMIT;

/// How long between two looks whether it answers.
const LOOK: Duration = Duration::from_millis(5);

/// A running redis-server. Dropping it kills it.
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    arguments: Vec<String>,
    config: Option<PathBuf>,
    child: Option<Child>,
}

impl Redis {
    /// A server that writes down what it is told, as one should that is to come back with it.
    pub fn start() -> Self {
        // By default it may keep back what it writes for two seconds, while its disk is slow.
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server with these arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let mut redis = Self::unstarted(arguments);
        redis.begin();
        redis
    }

    fn unstarted(arguments: &[&str]) -> Self {
        let port = Self::free_port();
        Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            folder: TempDir::new().unwrap(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            config: None,
            child: None,
        }
    }

    /// A port that was free a moment ago: whoever takes it meanwhile makes the test fail, and not silently.
    pub fn free_port() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    /// A server that is to be one of a cluster.
    pub fn of_cluster() -> Self {
        // The cluster's own port is 10,000 higher.
        let fits = |redis: &Self| redis.address.port() < 55_000;
        let arguments = ["--cluster-enabled", "yes"];
        let mut redis = Self::unstarted(&arguments);
        while !fits(&redis) {
            redis = Self::unstarted(&arguments);
        }
        redis.begin();
        redis
    }

    /// A Sentinel that watches a server, which it calls `main`, and promotes its replica within a second.
    pub fn sentinel(watched: &Self) -> Self {
        let port = watched.address.port();
        let config = format!(
            "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 2000\n"
        );
        let mut redis = Self::unstarted(&["--sentinel"]);
        let path = redis.path("sentinel.conf");
        fs::write(&path, config).unwrap();
        redis.config = Some(path);
        redis.begin();
        redis
    }

    /// Its address as the configuration has it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it, after [`Self::kill`], with what it has written down.
    pub fn begin(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(&self.config);
        let saving: &[&str] = if self.config.is_some() {
            &[]
        } else {
            &["--save", ""]
        };
        let child = command
            .args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1"])
            .args(saving)
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server, which scripts/prepare-tests.sh installs");
        self.child = Some(child);
        let began = Instant::now();
        while !self.answers() {
            assert!(began.elapsed() < LIMIT, "redis-server does not answer");
            std::thread::sleep(LOOK);
        }
    }

    /// Whether it answers, with whatever.
    fn answers(&self) -> bool {
        let answer = self.cli(&["ping"]);
        answer.contains("PONG") || answer.contains("NOAUTH")
    }

    /// What redis-cli says to a command.
    pub fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.address.port().to_string()])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Kills it as it stands.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Forgets what it has written down, while it does not run.
    pub fn forget(&self) {
        let _ = fs::remove_dir_all(self.path("appendonlydir"));
    }

    /// Keeps a copy of what it has written down so far, which [`Self::go_back`] gives to it.
    pub fn keep(&self) {
        fs::create_dir(self.path("kept")).unwrap();
        for file in fs::read_dir(self.path("appendonlydir")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), self.path("kept").join(file.file_name())).unwrap();
        }
    }

    /// While it does not run: what it has written down since [`Self::keep`] is lost, as on a replica that lagged behind.
    pub fn go_back(&self) {
        self.forget();
        fs::rename(self.path("kept"), self.path("appendonlydir")).unwrap();
    }

    /// It takes what comes, and neither does nor says anything, until [`Self::go_on`].
    pub fn stall(&self) {
        self.signal("-STOP");
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().map(Child::id).unwrap_or_default();
        let status = Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
