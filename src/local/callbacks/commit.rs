//! The client decides whether a transaction is committed.
//!
//! It is asked in the engine's commit hook, in the writer turn, about what the log of the connection holds: its hook is one
//! that listens to changes as subscriptions do, and is told before the commit instead of after it. A transaction of which it
//! wants to know nothing is not asked about. Only a yes commits.

use super::asking::Asking;
use crate::client_hooks::{ClientHook, Hooks};
use crate::engine::function::FunctionError;
use crate::feed::Subscription;
use crate::local::feed::body::{self, Origin, Resync};
use crate::local::feed::log::Gap;
use crate::local::feed::recorder::Recorder;
use crate::local::watch::CommitGate;
use parking_lot::Mutex;
use port_driver::answer;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_empty_list, put_list};
use port_driver::refusal::RequestError;
use port_driver::value::Value;
use std::sync::Arc;

/// The commit hooks of one connection: the program's, then its own. All have to say yes.
pub struct CommitHooks {
    connection: u32,
    asking: Arc<Asking>,
    recorder: Arc<Recorder>,
    hooks: Mutex<Vec<CommitHook>>,
}

/// A hook, and what it wants to know.
#[derive(Clone)]
struct CommitHook {
    hook: Arc<ClientHook>,
    wants: Arc<Subscription>,
}

/// What the client has said.
enum Decision {
    Commit,
    Veto(Option<String>),
}

impl CommitHooks {
    /// None yet.
    pub fn new(connection: u32, asking: Arc<Asking>, recorder: Arc<Recorder>) -> Self {
        CommitHooks { connection, asking, recorder, hooks: Mutex::default() }
    }

    /// These decide from now on.
    pub fn set(&self, shared: &Hooks, own: &Hooks) {
        let those = (0..).zip([shared, own]).filter_map(|(number, hooks)| {
            let hook = Arc::clone(hooks.commit.as_ref()?);
            let wants = Arc::new(Subscription::of_hook(number, hook.filter.clone()));
            Some(CommitHook { hook, wants })
        });
        *self.hooks.lock() = those.collect();
    }

    /// What they want to know.
    pub fn wants(&self) -> Vec<Arc<Subscription>> {
        self.hooks.lock().iter().map(|hook| Arc::clone(&hook.wants)).collect()
    }

    fn allows(&self, CommitHook { hook, wants }: &CommitHook) -> bool {
        let told = self.told(wants);
        if told.is_empty() {
            return true;
        }
        let outcome = self.asking.ask(
            &**hook,
            "commit",
            |out| {
                put_list(out, u32::try_from(told.len()).unwrap_or(0));
                // Without the version that starts an External Term.
                told.iter().for_each(|body| out.extend_from_slice(body.get(1..).unwrap_or_default()));
                put_empty_list(out);
            },
            decision,
        );
        match outcome {
            Ok(Decision::Commit) => true,
            Ok(Decision::Veto(reason)) => {
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let message =
                    format!("the commit hook has refused the transaction, which was rolled back{reason}");
                self.asking.fail(ErrorCode::CommitVetoed, message);
                false
            }
            // The work has to stop, which is told instead.
            Err(FunctionError::Stopped) => false,
            Err(error) => {
                let message = format!("{error}; the transaction was rolled back");
                self.asking.fail(ErrorCode::CommitHookFailed, message);
                false
            }
        }
    }

    /// What a hook is told: a term for each database in which something has changed that it wants to know of.
    fn told(&self, wants: &Subscription) -> Vec<Vec<u8>> {
        let state = self.recorder.state();
        let tell = |gap: Option<Gap>| -> Vec<Vec<u8>> {
            let bodies = state.databases().iter().map(|database| {
                let origin = Origin {
                    database: &database.name,
                    schema: &database.schema,
                    index: database.index,
                    connection: self.connection,
                    // It has none before it is committed.
                    sequence: 0,
                };
                if state.hooks_joined {
                    return Some(body::resync(origin, Resync::Joined));
                }
                match gap {
                    Some(gap) => Some(body::resync(origin, Resync::Gap(gap))),
                    None => body::changes(origin, &state.log, &state.plans, wants),
                }
            });
            bodies.flatten().collect()
        };
        let told = tell(state.log.gap());
        if told.iter().map(Vec::len).sum::<usize>() > self.asking.argument_bytes_max() {
            return tell(Some(Gap::TooLarge));
        }
        told
    }
}

impl CommitGate for CommitHooks {
    fn allows_commit(&self) -> bool {
        // Without the lock: whoever is asked may take a while.
        let hooks = self.hooks.lock().clone();
        hooks.iter().all(|hook| self.allows(hook))
    }
}

fn decision(term: &[u8]) -> Result<Decision, RequestError> {
    match answer::value(term)? {
        Value::Integer(1) => Ok(Decision::Commit),
        Value::Integer(0) => Ok(Decision::Veto(None)),
        Value::Text(reason) => Ok(Decision::Veto(Some(reason.to_owned()))),
        _ => Err(RequestError {
            code: ErrorCode::CommitHookFailed,
            message: "the answer is neither true nor false, nor a text that says why not".to_owned(),
        }),
    }
}
