//! Sends the program's log to the client, as events. A thread of its own may wait for a full pipe; nobody waits for it.

use super::output::Output;
use crate::logging::forward::Forward;
use port_driver::event;
use std::io;
use std::sync::Arc;
use std::thread;

/// Starts the thread. It ends with the process, or when the client is gone. The hello has been sent: lines are for the
/// client from now on, whenever the thread gets to run.
pub fn start(forward: Arc<Forward>, output: Arc<Output>) -> io::Result<()> {
    forward.open();
    let unsent = Arc::clone(&forward);
    let thread = thread::Builder::new().name("libsql-log".to_owned()).spawn(move || {
        let mut out = Vec::new();
        while !output.is_broken() {
            for (severity, line) in forward.take() {
                event::log(&mut out, severity, &line);
            }
            output.send(&mut out);
        }
        forward.close();
    });
    if thread.is_err() {
        unsent.close();
    }
    thread.map(drop)
}
