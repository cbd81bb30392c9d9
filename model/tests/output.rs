//! Standard output: what one thread posts while another has the pipe is written without anybody's further help.

use libsql_port_model::explore;
use libsql_port_model::server::output::Output;
use loom::thread;
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::sync::Arc;

fn output() -> Arc<Output> {
    let nowhere = OpenOptions::new().write(true).open("/dev/null").unwrap();
    Arc::new(Output::new(OwnedFd::from(nowhere)).unwrap())
}

#[test]
fn what_is_posted_is_written_by_whoever_has_the_pipe() {
    explore("two senders and a post", 3, || {
        let output = output();
        let senders = [1, 2].map(|bytes| {
            let output = Arc::clone(&output);
            thread::spawn(move || output.send(&mut vec![0; bytes]))
        });
        output.post(&mut vec![0; 4]);
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(output.bytes(), 7);
    });
}

#[test]
fn what_is_posted_behind_another_post_is_written_too() {
    explore("a sender and two posts", 4, || {
        let output = output();
        let others = {
            let output = Arc::clone(&output);
            thread::spawn(move || output.send(&mut vec![0; 1]))
        };
        output.post(&mut vec![0; 2]);
        output.post(&mut vec![0; 4]);
        others.join().unwrap();
        assert_eq!(output.bytes(), 7);
    });
}
