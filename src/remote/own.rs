//! Transactions and savepoints of this program's own: none outlives the request that it is for, whatever fails.

use super::machine::State;
use super::session::Session;
use crate::error::Result;

impl Session {
    /// Does `work` in a transaction that is committed if it succeeds. Whatever fails, its commit too, nothing of it stays and no
    /// transaction is open.
    pub fn in_own_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.promise("BEGIN IMMEDIATE", false);
        let outcome = work(self).and_then(|value| self.run_own("COMMIT").map(|_| value));
        self.end_own();
        outcome
    }

    /// Ends what a request has begun and nobody has ended; no cursor of the client's is in it.
    pub fn end_own(&mut self) {
        if self.in_transaction() {
            self.send_rollback();
            self.forget();
        }
    }

    /// Does `work` in a savepoint of the open transaction, which is released if it succeeds. Whatever fails, its release too,
    /// nothing of it stays: what cannot be undone loses the transaction.
    pub fn in_own_savepoint<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.run_own(&format!("SAVEPOINT {name}"))?;
        let outcome = work(self);
        self.end_own_savepoint(name, outcome)
    }

    /// Releases a savepoint that was set for what has come to `outcome`, or undoes that.
    pub fn end_own_savepoint<T>(&mut self, name: &str, outcome: Result<T>) -> Result<T> {
        let outcome = outcome.and_then(|value| self.release_own(name).map(|()| value));
        if outcome.is_err() && matches!(self.machine.state(), State::Open { .. }) {
            let undo = format!("ROLLBACK TO {name}");
            if let Err(error) = self.run_own(&undo).and_then(|_| self.release_own(name)) {
                tracing::debug!("a statement could not be undone: {error}");
                if matches!(self.machine.state(), State::Open { .. }) {
                    self.lose("a statement in it failed, and could not be undone by itself");
                }
            }
        }
        outcome
    }

    fn release_own(&mut self, name: &str) -> Result<()> {
        self.run_own(&format!("RELEASE {name}")).map(|_| ())
    }
}
