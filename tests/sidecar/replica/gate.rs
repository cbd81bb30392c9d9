//! A proxy between sidecar and server, which keeps replication out while SQL goes through, and cuts what it carries.

use crate::support::lock;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The name of the service that replicates, in the path of its requests.
const REPLICATION: &[u8] = b"ReplicationLog";

pub struct Gate {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: SocketAddr,
    shut: AtomicBool,
    over: AtomicBool,
    /// Bytes that may still pass, in both directions together.
    budget: AtomicI64,
    carried: Mutex<Vec<Carried>>,
}

struct Carried {
    replicates: bool,
    ends: [TcpStream; 2],
}

impl Gate {
    pub fn before(target: SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target,
            shut: AtomicBool::new(false),
            over: AtomicBool::new(false),
            budget: AtomicI64::new(i64::MAX),
            carried: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&accepting);
                thread::spawn(move || state.carry(socket));
            }
        });
        Gate { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nothing is replicated from here on.
    pub fn shut(&self) {
        self.state.shut.store(true, Ordering::SeqCst);
        self.state.cut(true);
    }

    pub fn open(&self) {
        self.state.shut.store(false, Ordering::SeqCst);
    }

    /// All that is open is cut when so many bytes more have passed.
    pub fn cut_after(&self, bytes: i64) {
        self.state.budget.store(bytes, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.state.cut(false);
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn carry(&self, mut client: TcpStream) {
        let mut first = [0; 4096];
        let Ok(length @ 1..) = client.read(&mut first) else { return };
        let replicates = first[..length].windows(REPLICATION.len()).any(|window| window == REPLICATION);
        let Ok(mut server) = TcpStream::connect(self.target) else { return };
        let ends = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        lock(&self.carried).push(Carried { replicates, ends });
        // Shut since it was looked at, or before: one of the two sees it.
        if replicates && self.shut.load(Ordering::SeqCst) {
            self.cut(true);
            return;
        }
        if server.write_all(&first[..length]).is_err() || !self.may_pass(length) {
            return;
        }
        let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| self.copy(back_from, back_to));
            self.copy(client, server);
        });
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if !self.may_pass(length) || to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn may_pass(&self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap();
        let left = self.budget.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if left < 0 {
            self.budget.store(i64::MAX, Ordering::SeqCst);
            self.cut(false);
        }
        left >= 0
    }

    fn cut(&self, replication_alone: bool) {
        lock(&self.carried).retain(|carried| {
            let cut = carried.replicates || !replication_alone;
            if cut {
                carried.ends.iter().for_each(|end| {
                    let _ = end.shutdown(Shutdown::Both);
                });
            }
            !cut
        });
    }
}
