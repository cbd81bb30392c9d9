//! Servers of the test's own, for what a real one cannot be brought to do: one that answers as it is told, and a proxy that
//! cuts.

use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as the mock has read it.
pub struct Asked {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The kinds of the requests in a pipeline.
    pub fn kinds(&self) -> Vec<String> {
        let requests = self.body["requests"].as_array().cloned().unwrap_or_default();
        requests.iter().map(|request| request["type"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// What it does then.
pub enum Says {
    /// Status and JSON.
    Json(u16, Value),
    /// These very bytes, and the socket stays.
    Raw(Vec<u8>),
    /// These very bytes, and the socket closes.
    Cut(Vec<u8>),
    /// Nothing, as long as the other side waits.
    Nothing,
}

/// An answer to a pipeline that says of each request what is usual. `autocommit`: what get_autocommit says.
pub fn usual(asked: &Asked, autocommit: bool, baton: Option<&str>) -> Says {
    let done = || json!({"cols": [], "rows": [], "affected_row_count": 1, "last_insert_rowid": "1"});
    let results: Vec<_> = asked.body["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| {
            let kind = request["type"].as_str().unwrap();
            let response = match kind {
                "execute" => json!({"type": kind, "result": done()}),
                "batch" => {
                    let steps = request["batch"]["steps"].as_array().unwrap().len();
                    json!({"type": kind, "result": {"step_results": vec![done(); steps], "step_errors": vec![Value::Null; steps]}})
                }
                "describe" => {
                    let sql = request["sql"].as_str().unwrap().trim_start();
                    let reads = ["SELECT", "WITH", "PRAGMA", "VALUES"].iter().any(|word| sql.starts_with(word));
                    let columns = if reads { json!([{"name": "a", "decltype": null}]) } else { json!([]) };
                    json!({"type": kind, "result":
                        {"params": [], "cols": columns, "is_explain": false, "is_readonly": reads}})
                }
                "get_autocommit" => json!({"type": kind, "is_autocommit": autocommit}),
                _ => json!({"type": kind}),
            };
            json!({"type": "ok", "response": response})
        })
        .collect();
    Says::Json(200, json!({"baton": baton, "base_url": null, "results": results}))
}

/// A server that answers as `says` does. Ends with the test.
pub struct Mock {
    pub address: SocketAddr,
    pub asked: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

/// What is said to each request.
type Script = dyn FnMut(&Asked) -> Says + Send;

impl Mock {
    pub fn start(says: impl FnMut(&Asked) -> Says + Send + 'static) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let says: Arc<Mutex<Script>> = Arc::new(Mutex::new(says));
        {
            let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
            thread::spawn(move || {
                for socket in listener.incoming() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (says, asked) = (Arc::clone(&says), Arc::clone(&asked));
                    thread::spawn(move || serve(socket.unwrap(), &*says, &asked));
                }
            });
        }
        Mock { address, asked, over }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn count(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(socket: TcpStream, says: &Mutex<Script>, count: &AtomicU64) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut socket = socket;
    while let Some(asked) = read(&mut reader) {
        let said = (says.lock().unwrap())(&asked);
        // What only ends a stream that nobody wants any more is not waited for.
        if asked.kinds() != ["close"] {
            count.fetch_add(1, Ordering::SeqCst);
        }
        match said {
            Says::Json(status, value) => {
                let body = value.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                if socket.write_all((head + &body).as_bytes()).is_err() {
                    return;
                }
            }
            Says::Raw(bytes) => {
                if socket.write_all(&bytes).is_err() {
                    return;
                }
            }
            Says::Cut(bytes) => {
                let _ = socket.write_all(&bytes);
                let _ = socket.shutdown(Shutdown::Both);
                return;
            }
            Says::Nothing => {
                let _ = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(key, _)| key == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// A proxy before a server that passes bytes on, until it is told to cut.
pub struct Cutter {
    pub address: SocketAddr,
    /// Bytes that may still pass to the server, and from it; `u64::MAX`: any number.
    pub up: Arc<AtomicU64>,
    pub down: Arc<AtomicU64>,
}

impl Cutter {
    pub fn before(server: SocketAddr) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (up, down) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicU64::new(u64::MAX)));
        {
            let (up, down) = (Arc::clone(&up), Arc::clone(&down));
            thread::spawn(move || {
                for client in listener.incoming() {
                    let Ok(client) = client else { return };
                    let Ok(server) = TcpStream::connect(server) else { continue };
                    for (from, to, left) in [(&client, &server, &up), (&server, &client, &down)] {
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let left = Arc::clone(left);
                        thread::spawn(move || pass(from, to, &left));
                    }
                }
            });
        }
        Cutter { address, up, down }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Any number of bytes may pass again.
    pub fn heal(&self) {
        self.up.store(u64::MAX, Ordering::SeqCst);
        self.down.store(u64::MAX, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let allowed = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                u64::MAX => Some(left),
                left => Some(left.saturating_sub(count as u64)),
            })
            .unwrap();
        let count = count.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        if to.write_all(&buffer[..count]).is_err() || allowed <= count as u64 && allowed != u64::MAX {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// What a relay does with a request besides passing it on.
pub enum Mischief {
    /// The server never hears of it, and this is said.
    Before(Says),
    /// The server does it, and this is said.
    After(Says),
    /// The server hears of it twice, and its second answer is passed on.
    Twice,
}

/// A proxy before a server that passes requests on, but for what `step` says of them.
pub fn relay(server: SocketAddr, mut step: impl FnMut(&Asked) -> Option<Mischief> + Send + 'static) -> Mock {
    Mock::start(move |asked| match step(asked) {
        None => pass_on(server, asked),
        Some(Mischief::Before(says)) => says,
        Some(Mischief::After(says)) => {
            pass_on(server, asked);
            says
        }
        Some(Mischief::Twice) => {
            pass_on(server, asked);
            pass_on(server, asked)
        }
    })
}

/// The answer of a server to this request.
fn pass_on(server: SocketAddr, asked: &Asked) -> Says {
    let body = asked.body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        asked.path,
        body.len()
    );
    let mut socket = TcpStream::connect(server).unwrap();
    socket.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    Says::Json(status, serde_json::from_str(body).unwrap_or_else(|_| json!({"error": body})))
}
