//! A real server, for tests of what goes over the network: started on a free port, killed with its test. Where there is
//! none, the tests that need it say so and pass.

use crate::support::{eventually, send_signal, BOUND};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The server's program: `SQLD_EXECUTABLE`, else where `scripts/sqld` installs it.
fn executable() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let installed = || {
        let target = PathBuf::from(env!("CARGO_BIN_EXE_libsql_port"));
        Some(target.parent()?.parent()?.join("sqld/sqld"))
    };
    let named = std::env::var_os("SQLD_EXECUTABLE").map(PathBuf::from);
    let found = named.or_else(installed).filter(|path| path.is_file());
    if found.is_none() {
        SAID.call_once(|| {
            eprintln!(
                "Left out: tests against a real server; there is no sqld (scripts/sqld, SQLD_EXECUTABLE)"
            );
        });
    }
    found
}

/// A running server.
pub struct Sqld {
    executable: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Sqld {
    /// None where there is no server to start.
    pub fn start() -> Option<Sqld> {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Option<Sqld> {
        let executable = executable()?;
        // Bound and given back: nobody else takes a port that was free a moment ago, as long as there are many.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut server = Sqld {
            executable,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            folder: tempfile::tempdir().unwrap(),
            address,
            child: None,
        };
        server.go();
        Some(server)
    }

    /// Starts it, again after a kill.
    pub fn go(&mut self) {
        let mut command = Command::new(&self.executable);
        command.arg("--no-welcome").arg("-d").arg(self.folder.path().join("data"));
        command.arg("--http-listen-addr").arg(self.address.to_string()).args(&self.arguments);
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let late = Instant::now() + BOUND;
        while !self.is_healthy() {
            assert!(Instant::now() < late, "sqld does not answer");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(self.address) else { return false };
        let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
        let asked = socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = [0; 12];
        asked.is_ok() && socket.read_exact(&mut answer).is_ok() && answer.ends_with(b"200")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// As a machine that loses its power.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As a machine that hangs: returns once all of its threads stand.
    pub fn stop(&self) {
        send_signal(self.pid(), libc::SIGSTOP);
        let threads = format!("/proc/{}/task", self.pid());
        eventually("the server stands", || {
            std::fs::read_dir(&threads).unwrap().flatten().all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
            })
        });
    }

    pub fn go_on(&self) {
        send_signal(self.pid(), libc::SIGCONT);
    }

    /// With nothing, at its next start.
    pub fn empty(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.folder = tempfile::tempdir().unwrap();
    }

    /// Runs statements on the server, past the sidecar, on one stream of it. Panics if one fails.
    #[track_caller]
    pub fn execute(&self, statements: &[&str]) {
        let statement = |sql: &&str| serde_json::json!({"type": "execute", "stmt": {"sql": sql}});
        let close = serde_json::json!({"type": "close"});
        let requests: Vec<_> = statements.iter().map(statement).chain([close]).collect();
        let body = serde_json::json!({"baton": null, "requests": requests}).to_string();
        let mut socket = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "POST /v2/pipeline HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("200 OK") && !answer.contains("\"type\":\"error\""), "{answer}");
    }
}

impl Drop for Sqld {
    fn drop(&mut self) {
        self.kill();
    }
}
