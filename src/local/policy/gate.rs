//! Between the engine and a policy: what of a statement is the client's and what the engine adds, and what was denied.
//!
//! The engine asks while a statement is compiled, and again while one runs: when it compiles it anew, when a virtual table uses
//! its own tables, and for every step of a VACUUM.

use super::memo::{Memo, Question};
use super::{rule, Policy};
use crate::denial::{By, Denial};
use crate::engine::action::{pragma_of_table, Action, Ask, Decision, Key};
use parking_lot::Mutex;
use port_driver::reply;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Decides about what the policy allows.
pub trait Authorizer: Send + Sync {
    /// What it says of this.
    fn decide(&self, what: &reply::Denial<'_>) -> Verdict;
}

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This.
    Decided(Decision),
    /// Nothing, for this reason.
    Failed(String),
    /// Nothing, because the work has to stop.
    Stopped,
}

/// What it has said is kept about so many things,
const DECISIONS_KEPT: usize = 10_000;

/// whose names have so many bytes together.
const DECISIONS_KEPT_BYTES: usize = 1 << 20;

/// Denials of one request that are told one by one; those beyond are counted.
const DENIALS_KEPT: usize = 16;

/// The policy of one connection, and what has come of it.
#[derive(Default)]
pub struct Gate {
    is_active: AtomicBool,
    state: Mutex<State>,
}

/// A table and its database.
type Named = (Box<[u8]>, Box<[u8]>);

/// Databases by their names, each with the names that its file had before.
pub type SameFiles = Vec<(Box<[u8]>, Vec<Box<[u8]>>)>;

/// Something that is decided about: action, names, database, view or trigger.
#[derive(PartialEq, Eq, Hash)]
struct Thing(Action, [Option<Box<[u8]>>; 4]);

impl Thing {
    /// The bytes of its names.
    fn bytes(&self) -> usize {
        self.1.iter().flatten().map(|name| name.len()).sum()
    }
}

/// What an authorizer has said, as long as there is room for it.
#[derive(Default)]
struct Known {
    decisions: FxHashMap<Thing, Decision>,
    bytes: usize,
}

impl Known {
    /// Keeps it, in place of all the rest if that is too much.
    fn insert(&mut self, thing: Thing, decision: Decision) {
        let bytes = thing.bytes();
        if bytes > DECISIONS_KEPT_BYTES {
            return;
        }
        if self.decisions.len() >= DECISIONS_KEPT || self.bytes + bytes > DECISIONS_KEPT_BYTES {
            *self = Known::default();
        }
        if self.decisions.insert(thing, decision).is_none() {
            self.bytes += bytes;
        }
    }
}

#[derive(Default)]
struct State {
    policy: Option<Arc<Policy>>,
    /// What it simply allows.
    allowed: Memo,
    /// Weak, because it knows the watch that has this gate.
    authorizer: Option<Weak<dyn Authorizer>>,
    /// What it has said.
    known: Known,
    /// Databases whose file has been attached by other names before, and those.
    same_files: SameFiles,
    /// The connection is not defensive now: SQL may write the text of the schema.
    undefended: bool,
    /// The table that the statement creates or drops, and its database.
    made: Option<Named>,
    /// What runs.
    running: Option<Running>,
    /// A value that became NULL as the statement was compiled, or as it runs.
    ignored: Option<Denial>,
    /// What was denied since the compilation or the run began.
    denied: Option<Denial>,
    to_tell: Vec<Denial>,
    left_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    writes: bool,
    vacuum: Option<Vacuum>,
}

/// A VACUUM on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vacuum {
    Asked,
    Allowed,
}

impl Gate {
    /// True if there is a policy, or an authorizer.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// Another policy, or none.
    pub fn set(&self, policy: Option<Arc<Policy>>) {
        let mut state = self.state.lock();
        state.policy = policy;
        state.allowed = Memo::default();
        self.is_active.store(state.decides(), Ordering::Relaxed);
    }

    /// Another authorizer, or none. What the one before has said is forgotten. One that is gone denies everything.
    pub fn set_authorizer(&self, authorizer: Option<Weak<dyn Authorizer>>) {
        let mut state = self.state.lock();
        state.authorizer = authorizer;
        state.known = Known::default();
        state.allowed = Memo::default();
        self.is_active.store(state.decides(), Ordering::Relaxed);
    }

    /// The policy.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.state.lock().policy.clone()
    }

    /// The names of databases whose file has other names, with those that it had before.
    pub fn set_same_files(&self, same_files: SameFiles) {
        let mut state = self.state.lock();
        // It may be another file by the name of one that is gone.
        state.allowed = Memo::default();
        state.same_files = same_files;
    }

    /// Whether SQL may write the text of the schema now.
    pub fn set_undefended(&self, undefended: bool) {
        self.state.lock().undefended = undefended;
    }

    /// A client's statement is about to be compiled.
    pub fn begin_compiling(&self) {
        if self.is_active() {
            let mut state = self.state.lock();
            (state.made, state.running, state.ignored, state.denied) = (None, None, None, None);
        }
    }

    /// One is about to run, or to go on.
    #[inline]
    pub fn begin_running(&self, writes: bool, is_vacuum: bool) {
        if self.is_active() {
            let mut state = self.state.lock();
            let vacuum = is_vacuum.then_some(Vacuum::Asked);
            (state.denied, state.made, state.ignored) = (None, None, None);
            state.running = Some(Running { writes, vacuum });
        }
    }

    /// A value of the statement that was compiled last, or that runs, is NULL by the policy.
    pub fn take_ignored(&self) -> Option<Denial> {
        if self.is_active() {
            self.state.lock().ignored.take()
        } else {
            None
        }
    }

    /// What was denied of the statement that has just failed.
    #[cold]
    pub fn take_denied(&self) -> Option<Denial> {
        self.state.lock().denied.take()
    }

    /// A statement that is refused for a value that the policy makes NULL.
    #[cold]
    pub fn refuse(&self, denial: &Denial) {
        self.state.lock().note(denial.clone());
    }

    /// What is to be told of the request that ends, and how much more there was.
    pub fn take_to_tell(&self) -> (Vec<Denial>, u64) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.to_tell), std::mem::take(&mut state.left_out))
    }

    /// What becomes of what the engine asks. `compiling`: no statement runs. `is_engines`: no client's SQL does it.
    pub fn decide(&self, ask: &Ask<'_>, is_engines: &dyn Fn() -> bool, compiling: bool) -> Decision {
        let mut state = self.state.lock();
        // The most frequent outcome, whoever does it.
        let question = Question::of(ask);
        if question.as_ref().is_some_and(|question| state.allowed.knows(question)) {
            return Decision::Allow;
        }
        if state.simply_allows(ask) {
            if let Some(question) = question {
                state.allowed.insert(question);
            }
            return Decision::Allow;
        }
        let running = state.running.filter(|_| !compiling);
        if let Some(Running { vacuum: Some(vacuum), .. }) = running {
            return state.decide_vacuum(ask, vacuum);
        }
        // What a statement does with a schema or a virtual table, it was asked about. How the engine or the module of the table
        // does it is not the client's.
        if state.is_engines_own(ask) || is_engines() {
            return Decision::Allow;
        }
        let Some(mut decided) = state.decided(ask) else { return Decision::Deny };
        let pragma = ask.names[0].filter(|_| ask.action == Action::Read).and_then(pragma_of_table);
        let mut ask = ask;
        let told =
            pragma.map(|pragma| Ask { action: Action::PragmaRead, names: [Some(pragma), None], ..*ask });
        if let Some(told) = told.as_ref().filter(|_| decided.decision == Decision::Allow) {
            ask = told;
            let Some(of_pragma) = state.decided(told) else { return Decision::Deny };
            decided = of_pragma;
        }
        let Decided { decision, by, failure } = decided;
        match decision {
            Decision::Allow => {
                state.allowed(ask);
                Decision::Allow
            }
            Decision::Deny => {
                state.deny(ask, by, failure);
                Decision::Deny
            }
            // The column stays as it is, which is what the rule is for.
            Decision::Ignore if ask.action == Action::Update => Decision::Ignore,
            Decision::Ignore => {
                let denial = Denial { ignored: true, ..denial(ask, by) };
                match running {
                    None | Some(Running { writes: false, .. }) => {
                        state.ignored.get_or_insert(denial);
                        Decision::Ignore
                    }
                    Some(_) => {
                        state.denied.get_or_insert(denial.clone());
                        state.note(denial);
                        Decision::Deny
                    }
                }
            }
        }
    }
}

/// What becomes of something, by whose word, and what went wrong.
struct Decided {
    decision: Decision,
    by: By,
    failure: Option<String>,
}

impl State {
    fn decides(&self) -> bool {
        self.policy.is_some() || self.authorizer.is_some()
    }

    /// True if the policy allows it, there is nobody else to be asked, and nothing has to be remembered of it.
    fn simply_allows(&self, ask: &Ask<'_>) -> bool {
        self.policy.is_some()
            && self.authorizer.is_none()
            && ask.action.is_of_rows()
            && self.policy_says(ask).0 == Decision::Allow
            && !(ask.action == Action::Read && ask.names[0].and_then(pragma_of_table).is_some())
    }

    /// What the policy says. What it does not allow of a file by one name is not allowed by a name that the file was given later.
    fn policy_says(&self, ask: &Ask<'_>) -> (Decision, By) {
        let Some(policy) = &self.policy else { return (Decision::Allow, By::Nothing) };
        let said = policy.decide(ask);
        let Some(before) = self.names_before(ask) else { return said };
        before.iter().fold(said, |said, database| match (said.0, policy.decide(&of(ask, database))) {
            (Decision::Deny, _) => said,
            (Decision::Ignore, (Decision::Allow, _)) => said,
            (_, other) => other,
        })
    }

    /// The names that the file of the database had before.
    fn names_before(&self, ask: &Ask<'_>) -> Option<&Vec<Box<[u8]>>> {
        if self.same_files.is_empty() {
            return None;
        }
        let database = ask.database?;
        let found = self.same_files.iter().find(|(name, _)| name.eq_ignore_ascii_case(database));
        found.map(|(_, before)| before)
    }

    /// What the policy says, and about what that does not deny, the authorizer. `None`: the work has to stop.
    fn decided(&mut self, ask: &Ask<'_>) -> Option<Decided> {
        let (decision, by) = self.policy_says(ask);
        if decision == Decision::Deny || self.authorizer.is_none() {
            return Some(Decided { decision, by, failure: None });
        }
        let mut verdict = self.authorized(ask);
        let before = self.names_before(ask).cloned().unwrap_or_default();
        for database in before {
            if verdict == Verdict::Decided(Decision::Allow) {
                verdict = self.authorized(&of(ask, &database));
            }
        }
        match verdict {
            Verdict::Stopped => None,
            Verdict::Failed(why) => {
                Some(Decided { decision: Decision::Deny, by: By::Authorizer, failure: Some(why) })
            }
            Verdict::Decided(Decision::Allow) => Some(Decided { decision, by, failure: None }),
            Verdict::Decided(decision) => Some(Decided { decision, by: By::Authorizer, failure: None }),
        }
    }

    /// The authorizer is asked with the lock held, which nobody else takes: all of the gate is for the thread that runs the
    /// connection.
    fn authorized(&mut self, ask: &Ask<'_>) -> Verdict {
        let kept = |name: Option<&[u8]>| name.map(Box::from);
        let [first, second] = ask.names;
        let thing = Thing(ask.action, [kept(first), kept(second), kept(ask.database), kept(ask.through)]);
        if let Some(decision) = self.known.decisions.get(&thing) {
            return Verdict::Decided(*decision);
        }
        let Some(authorizer) = self.authorizer.as_ref().and_then(Weak::upgrade) else {
            return Verdict::Failed("the authorizer of the connection is gone".to_owned());
        };
        let verdict = denial(ask, By::Authorizer).with_fields(|what| authorizer.decide(&what));
        match verdict {
            Verdict::Decided(Decision::Ignore) if !rule::is_ignorable(ask.action) => Verdict::Failed(
                format!("the authorizer has said ignore: {}", rule::not_ignorable(ask.action.name())),
            ),
            Verdict::Decided(decision) => {
                self.known.insert(thing, decision);
                verdict
            }
            other => other,
        }
    }

    /// The engine asks for each of the statements that a VACUUM is made of, the first of which attaches a file, without a name
    /// unless it is one with INTO.
    fn decide_vacuum(&mut self, ask: &Ask<'_>, vacuum: Vacuum) -> Decision {
        if vacuum == Vacuum::Allowed {
            return Decision::Allow;
        }
        let ask = match (ask.action, ask.names[0]) {
            (Action::Attach, None | Some(b"")) => Ask { action: Action::Vacuum, names: [None; 2], ..*ask },
            (Action::Attach, file) => Ask { action: Action::VacuumInto, names: [file, None], ..*ask },
            _ => *ask,
        };
        let Some(Decided { decision, by, failure }) = self.decided(&ask) else { return Decision::Deny };
        if decision != Decision::Allow {
            self.deny(&ask, by, failure);
            return Decision::Deny;
        }
        if matches!(ask.action, Action::Vacuum | Action::VacuumInto) {
            if let Some(running) = &mut self.running {
                running.vacuum = Some(Vacuum::Allowed);
            }
        }
        Decision::Allow
    }

    /// True for what no client's SQL can do, and the engine does without that SQL of its own says so: for something that is asked
    /// for by itself.
    fn is_engines_own(&self, ask: &Ask<'_>) -> bool {
        let table = ask.names[0].unwrap_or_default();
        match ask.action {
            // Noting an object that is created, altered or dropped. The engine asks before or after it asks for that.
            Action::Insert | Action::Update | Action::Delete
                if !self.undefended && (table == b"sqlite_master" || table == b"sqlite_temp_master") =>
            {
                true
            }
            // The columns of a new table are read for its constraints. One that is dropped is emptied, where rows of others
            // refer to its rows; what becomes of those is not a part of it.
            Action::Delete | Action::Update | Action::Read => {
                self.made.as_ref().is_some_and(|(made, of)| **made == *table && Some(&**of) == ask.database)
            }
            // Names that are the engine's alone: of AUTOINCREMENT, of ANALYZE, of UNIQUE.
            Action::CreateTable | Action::CreateIndex | Action::CreateTempTable | Action::CreateTempIndex => {
                table.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"sqlite_"))
            }
            _ => false,
        }
    }

    /// What has to be remembered of what is allowed.
    fn allowed(&mut self, ask: &Ask<'_>) {
        use Action as A;
        let makes = matches!(
            ask.action,
            A::CreateTable
                | A::CreateTempTable
                | A::DropTable
                | A::DropTempTable
                | A::DropVirtualTable
                | A::DropView
                | A::DropTempView
        );
        if let (true, [Some(table), _], Some(database)) = (makes, ask.names, ask.database) {
            self.made = Some((table.into(), database.into()));
        }
    }

    #[cold]
    fn deny(&mut self, ask: &Ask<'_>, by: By, failure: Option<String>) {
        let denial = Denial { failure: failure.map(String::into_boxed_str), ..denial(ask, by) };
        self.denied.get_or_insert(denial.clone());
        self.note(denial);
    }

    /// To be told, once if the statement is compiled again for another reason.
    fn note(&mut self, denial: Denial) {
        if self.to_tell.last() == Some(&denial) {
            return;
        }
        if self.to_tell.len() < DENIALS_KEPT {
            self.to_tell.push(denial);
        } else {
            self.left_out += 1;
        }
    }
}

/// The same in a database of another name.
fn of<'a>(ask: &Ask<'a>, database: &'a [u8]) -> Ask<'a> {
    Ask { database: Some(database), ..*ask }
}

fn denial(ask: &Ask<'_>, by: By) -> Denial {
    let text = |name: &[u8]| -> Box<str> { String::from_utf8_lossy(name).into() };
    let keys = ask.action.keys();
    let named = |place: usize| keys.get(place).and(ask.names[place]).map(text);
    // That of an index is its table, which is not asked about.
    let second = if keys.get(1) == Some(&Key::Column) { named(1) } else { None };
    Denial {
        action: ask.action,
        names: [named(0), second],
        database: ask.database.map(text),
        through: ask.through.map(text),
        by,
        ignored: false,
        failure: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(bytes: usize, number: u32) -> Thing {
        let name = "x".repeat(bytes - 5) + &format!("{number:05}");
        Thing(Action::Savepoint, [Some(name.into_bytes().into()), None, None, None])
    }

    #[test]
    fn what_an_authorizer_has_said_is_kept_within_a_number_and_a_number_of_bytes() {
        let mut known = Known::default();
        let mut most = (0, 0);
        for (bytes, times) in [(10, 3 * DECISIONS_KEPT), (100_000, 50), (DECISIONS_KEPT_BYTES, 3)] {
            for number in 0..u32::try_from(times).unwrap() {
                known.insert(thing(bytes, number), Decision::Deny);
                let sum: usize = known.decisions.keys().map(Thing::bytes).sum();
                assert_eq!(sum, known.bytes);
                assert_eq!(known.decisions.get(&thing(bytes, number)), Some(&Decision::Deny));
                most = (most.0.max(known.decisions.len()), most.1.max(sum));
            }
        }
        assert_eq!(most, (DECISIONS_KEPT, DECISIONS_KEPT_BYTES));
        known.insert(thing(DECISIONS_KEPT_BYTES + 1, 0), Decision::Allow);
        assert_eq!(known.decisions.len(), 1, "what is too long is not kept, and takes nothing away");
    }
}
