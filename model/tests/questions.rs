//! What a running request waits for from its client.

use libsql_port_model::clock::NEVER;
use libsql_port_model::control::{Control, Stop};
use libsql_port_model::explore;
use libsql_port_model::questions::Questions;
use loom::thread;
use std::sync::Arc;

#[test]
fn credits_are_neither_lost_nor_counted_twice() {
    explore("credits", 3, || {
        let control = Arc::new(Control::new());
        let questions = Arc::new(Questions::new(Arc::clone(&control)));
        control.begin(300, NEVER);
        let client = [1, 2].map(|credits| {
            let questions = Arc::clone(&questions);
            thread::spawn(move || questions.grant(300, credits))
        });
        for _ in 0..3 {
            assert_eq!(questions.wait_for_credit(), Ok(()));
        }
        for grant in client {
            grant.join().unwrap();
        }
        control.close();
        assert_eq!(questions.wait_for_credit(), Err(Stop::Closed), "there is no fourth one");
    });
}

#[test]
fn a_stop_ends_the_wait_for_a_client_that_does_not_answer() {
    explore("a stop instead of a credit", 4, || {
        let control = Arc::new(Control::new());
        let questions = Arc::new(Questions::new(Arc::clone(&control)));
        control.begin(300, NEVER);
        let client = {
            let (control, questions) = (Arc::clone(&control), Arc::clone(&questions));
            thread::spawn(move || {
                questions.grant(299, 1);
                assert!(control.cancel(300));
            })
        };
        assert_eq!(questions.wait_for_credit(), Err(Stop::Cancelled));
        client.join().unwrap();
    });
}
