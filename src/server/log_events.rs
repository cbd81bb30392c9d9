//! Sends the program's log to the client, as events. A thread of its own may wait for a full pipe; nobody waits for it.

use super::output::Output;
use crate::logging::forward::Forward;
use port_driver::event;
use std::io;
use std::sync::Arc;
use std::thread;

/// Starts the thread. It ends with the process, or when the client is gone.
pub fn start(forward: Arc<Forward>, output: Arc<Output>) -> io::Result<()> {
    thread::Builder::new().name("libsql-log".to_owned()).spawn(move || {
        forward.open();
        let mut out = Vec::new();
        while !output.is_broken() {
            for (severity, line) in forward.take() {
                event::log(&mut out, severity, &line);
            }
            output.send(&mut out);
        }
        forward.close();
    })?;
    Ok(())
}
