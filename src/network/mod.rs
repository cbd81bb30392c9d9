//! HTTP to servers: name resolution, TCP, proxies, TLS, pools of sockets. Knows neither Hrana nor SQL.
//!
//! What waits for a server runs on two threads of its own, which start with the first connection to one. A connection's own
//! thread drives its request, beside the reasons to stop (`control`); the timekeeper waits for nobody's server.

pub mod breaker;
pub mod client;
pub mod connector;
pub mod gate;
pub mod proxy;
pub mod slots;
mod tls;
pub mod transport;

use client::HttpClient;
use connector::Connector;
use gate::Listener;
use parking_lot::Mutex;
use proxy::Proxies;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use tokio::runtime::{Builder, Runtime};
use transport::{ConnectError, Transport};

/// Threads that read and write sockets. No option: they copy bytes, and one of them does that for more connections than there may be.
const WORKERS: usize = 2;

/// The program's sockets.
#[derive(Default)]
pub struct Network {
    runtime: OnceLock<Runtime>,
    clients: Mutex<HashMap<Transport, Weak<HttpClient>>>,
    listener: Arc<OnceLock<Listener>>,
}

impl Network {
    /// Has `listener` told of every breaker that changes; the first one stays.
    pub fn listen(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    /// What waits for servers.
    pub fn runtime(&self) -> io::Result<&Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(WORKERS).thread_name("libsql-net").enable_io().enable_time().build()?;
        // Of two that are made at a time one goes again, and it has no work yet.
        if let Err(unused) = self.runtime.set(runtime) {
            unused.shutdown_background();
        }
        self.runtime.get().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// The client for a transport; reads its files if nobody uses it yet.
    pub fn client(&self, transport: &Transport) -> Result<Arc<HttpClient>, ConnectError> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(transport).and_then(Weak::upgrade) {
            return Ok(client);
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let client = Arc::new(HttpClient::new(
            Connector::new(transport, Proxies::from_environment())?,
            transport,
            Arc::clone(&self.listener),
        ));
        clients.insert(transport.clone(), Arc::downgrade(&client));
        Ok(client)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The program ends: nobody waits for a server any more.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn transport(connect_timeout: Duration) -> Transport {
        Transport { connect_timeout, ..Transport::of_a_test() }
    }

    #[test]
    fn those_that_say_the_same_share_a_client_while_one_of_them_is_there() {
        let network = Network::default();
        let first = network.client(&transport(Duration::ZERO)).unwrap();
        let same = network.client(&transport(Duration::ZERO)).unwrap();
        let other = network.client(&transport(Duration::from_secs(1))).unwrap();
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
        assert_eq!(network.clients.lock().len(), 2);
        drop((first, same));
        network.client(&transport(Duration::from_secs(2))).unwrap();
        assert_eq!(network.clients.lock().len(), 2, "the unused one is gone");
    }
}
