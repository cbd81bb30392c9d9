//! Which requests may leave a connection's queue while a transaction is held.

use super::job::Job;
use crate::held::{Held, ANY};
use port_driver::request::tag;

/// True if a request may run now.
#[inline]
pub fn admits(held: &Held, job: &Job) -> bool {
    match held.exclusive() {
        None => true,
        Some(held) => is_admitted(held, job),
    }
}

fn is_admitted(held: u32, job: &Job) -> bool {
    match job.transaction {
        Some(transaction) if transaction == held => true,
        // Of a transaction that has ended: the answer is an error, for which nobody has to wait.
        Some(transaction) if transaction != ANY => job.tag != tag::BEGIN,
        // What touches no transaction, and what is there to end the one of somebody else.
        _ => {
            matches!(job.tag, tag::CONNECTION_STATUS | tag::CLOSE_CURSOR | tag::CLOSE_STATEMENT | tag::RESET)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn job(tag: u8, transaction: Option<u32>) -> Job {
        let mut job = Job::new(300, tag, Bytes::new(), 1, 2);
        job.transaction = transaction;
        job
    }

    #[test]
    fn only_its_own_requests_run_while_a_transaction_is_held() {
        let held = Held::default();
        assert!(admits(&held, &job(tag::EXECUTE, None)));
        held.set(7);
        assert!(admits(&held, &job(tag::EXECUTE, Some(7))));
        assert!(!admits(&held, &job(tag::EXECUTE, None)));
        assert!(!admits(&held, &job(tag::EXECUTE, Some(ANY))), "any is not this one");
        assert!(admits(&held, &job(tag::EXECUTE, Some(6))), "it is refused at once");
        assert!(!admits(&held, &job(tag::BEGIN, Some(6))), "the next one waits");
        assert!(admits(&held, &job(tag::RESET, None)));
        held.set((1 << 31) + 7);
        assert!(admits(&held, &job(tag::EXECUTE, None)));
    }
}
