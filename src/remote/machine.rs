//! What state a connection is in on its server, and what each thing that can happen to a request means. Pure: whoever sends
//! the requests asks here what has become of them.
//!
//! ```text
//! Closed ── statement ──▶ Closed        by itself, in one request, on a stream that is kept for a while or not
//! Closed ── begin ─────▶ Promised       the server hears of it with the first statement
//! Promised ─ statement ─▶ Open          BEGIN goes along; if that fails, Lost: its client was told that it had begun
//! Open ──── statement ──▶ Open          each under the condition that a transaction is open, or it would run by itself
//! Open ──── commit ─────▶ Closed        done · the engine's no: Open · not run: Lost · no answer: Closed, and unknown
//! Open ──── release ────▶ Closed        of the savepoint that began it · no answer: Lost, and unknown · else as a statement
//! Open ──── statement ──▶ Closed        the engine has rolled back with it, of which its error tells
//! Open ──── whatever else ends it ────▶ Lost
//! Lost ──── rollback ───▶ Closed        everything else is answered with the loss
//! ```
//!
//! Rules behind it, each of the server's: a statement of a transaction that is gone runs by itself unless it is guarded; a
//! baton is good for one request; a token that is refused is refused before the stream is touched; a stream whose socket
//! closes while it works is rolled back.

/// What leads to a stream of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baton {
    /// Good for the next request.
    pub text: String,
    /// Where that goes, if not to the URL of the connection.
    pub base: Option<String>,
}

/// The state of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No transaction.
    Closed,
    /// A transaction is begun by this statement, with the first one in it.
    Promised(&'static str),
    /// A transaction is open.
    Open {
        /// On this stream.
        baton: Baton,
        /// It may have written.
        wrote: bool,
        /// It may have been begun by a savepoint, whose release commits it.
        savepoint: bool,
    },
    /// The server has ended the transaction.
    Lost {
        /// Why, for people.
        reason: String,
        /// The transaction status before it.
        status: u8,
        /// It may have been committed.
        in_doubt: bool,
    },
}

/// What a statement may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It writes nothing, by the engine's word.
    Reads,
    /// It may write.
    Writes,
}

/// What a request to the server is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// Statements outside of a transaction.
    Alone {
        /// What they may do.
        effect: Effect,
        /// On a stream that was kept from the last request.
        kept: bool,
        /// They may begin a transaction.
        opens: bool,
    },
    /// BEGIN, and the first statements after it.
    First {
        /// What they may do.
        effect: Effect,
        /// On a stream that was kept from the last request.
        kept: bool,
    },
    /// Statements of the open transaction.
    Inside {
        /// What they may do.
        effect: Effect,
        /// They may end it by rolling it back.
        may_end: bool,
    },
    /// What commits it.
    Commit,
    /// The release of a savepoint, which commits a transaction that was begun by it.
    Release,
    /// Statements of the client's that may commit the open transaction, roll it back and begin another one.
    Mixed {
        /// What they may do.
        effect: Effect,
    },
    /// Its end.
    Rollback,
}

/// What became of the statements of a request, all in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// They have run.
    Done,
    /// BEGIN has failed; nothing else has run.
    NotBegun,
    /// The server has refused one of them before it ran any.
    NotRun,
    /// One has failed.
    Failed,
    /// One has failed, because the server had given the transaction's lock to another writer.
    TimedOut,
    /// The condition of one did not hold: no transaction is open.
    Skipped,
}

/// What the server says instead of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// There is no such database, by the words of a server that looks for it first.
    NotFound,
    /// The baton is no good, by the words of a server: the stream has expired, or is of another process.
    StreamGone,
    /// The baton was used before. This program uses each once, so somebody has sent the request again, and the first one may have
    /// run.
    BatonUsed,
    /// 404, which may say anything.
    Missing,
    /// 429: come again later.
    Busy,
    /// 502, 503, 504: what stands before the server cannot reach it.
    Gateway,
    /// Any other 5xx.
    Server,
    /// A status that says that the request was not taken: see `stream::refusal`.
    Declined,
    /// Any other status, which says nothing of the request.
    Other,
}

/// Why there is no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The socket broke.
    Broken,
    /// The request had to stop.
    Stopped,
    /// The answer cannot be read.
    Garbage,
    /// The answer is too long.
    TooLong,
}

/// What happened to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was answered.
    Answered {
        /// What became of the statements.
        ran: Ran,
        /// Whether no transaction is open now, if the server could say.
        autocommit: Option<bool>,
        /// The stream's next baton.
        baton: Option<Baton>,
    },
    /// It was refused as a whole.
    Refused(Refusal),
    /// Nothing was sent.
    NotSent,
    /// It was sent, perhaps, and there is no whole answer.
    Cut(Cut),
}

/// What may still be tried for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// It may be sent once more where nothing can have come of it.
    pub again: bool,
    /// Another token can be had.
    pub token: bool,
}

/// What that means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The results, or the errors in them, are the answer.
    Answer,
    /// Send it again, on a new stream.
    Again,
    /// Send it again on the same stream, with another token.
    AnotherToken,
    /// It has failed.
    Fault(Fault),
}

/// Why a request has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The transaction is lost; the state says why.
    Lost,
    /// What was written may have been committed or not.
    Unknown,
    /// The token is not accepted.
    Unauthorized,
    /// The token does not allow it.
    Forbidden,
    /// There is no such database.
    NotFound,
    /// The server is not there, and nothing came of it.
    Unavailable,
    /// The server does not speak this protocol, and nothing came of it.
    Protocol,
    /// The request had to stop, and nothing came of it.
    Stopped,
    /// The result of what only reads is too long.
    TooLong,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    state: State,
}

impl Machine {
    /// Closed.
    pub fn new() -> Self {
        Machine { state: State::Closed }
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The transaction status of the protocol. A transaction that is lost keeps the one it had: its client has to end it.
    pub fn status(&self) -> u8 {
        match &self.state {
            State::Closed => 0,
            State::Promised(_) => 1,
            State::Open { wrote: false, .. } => 2,
            State::Open { wrote: true, .. } => 3,
            State::Lost { status, .. } => *status,
        }
    }

    /// The open transaction was begun by BEGIN, so that no release commits it.
    pub fn begun_by_begin(&mut self) {
        if let State::Open { savepoint, .. } = &mut self.state {
            *savepoint = false;
        }
    }

    /// A transaction is to be begun by `sql`.
    pub fn promise(&mut self, sql: &'static str) {
        self.state = State::Promised(sql);
    }

    /// The transaction is over, without a word to the server. Its stream is left to the caller.
    #[must_use = "a server keeps a stream that nobody ends for 10 seconds, and the locks on it"]
    pub fn forget(&mut self) -> Option<Baton> {
        self.leave_for(State::Closed)
    }

    /// The open transaction is gone. Its stream is left to the caller.
    #[must_use = "a server keeps a stream that nobody ends for 10 seconds, and the locks on it"]
    pub fn lose(&mut self, reason: impl Into<String>) -> Option<Baton> {
        let status = self.status().max(1);
        self.leave_for(State::Lost { reason: reason.into(), status, in_doubt: false })
    }

    /// True if `baton` leads to the stream of the open transaction.
    pub fn holds(&self, held: &Baton) -> bool {
        matches!(&self.state, State::Open { baton, .. } if baton == held)
    }

    fn leave_for(&mut self, state: State) -> Option<Baton> {
        match std::mem::replace(&mut self.state, state) {
            State::Open { baton, .. } => Some(baton),
            _ => None,
        }
    }

    /// The open transaction's stream goes on with another baton.
    pub fn rebaton(&mut self, next: Option<Baton>) {
        match (&mut self.state, next) {
            (State::Open { baton, .. }, Some(next)) => *baton = next,
            // The one that it had is used.
            (State::Open { .. }, None) => drop(self.lose("the server has ended its stream")),
            _ => {}
        }
    }

    /// The open transaction is about to write.
    pub fn writes(&mut self) {
        if let State::Open { wrote, .. } = &mut self.state {
            *wrote = true;
        }
    }

    /// What `event` means for `exchange`. A stream that is left without a transaction is the caller's to keep.
    pub fn settle(&mut self, exchange: Exchange, event: &Event, tries: Tries) -> Verdict {
        if let Event::Refused(Refusal::Unauthorized) = event {
            return self.unauthorized(exchange, tries);
        }
        match exchange {
            Exchange::Alone { effect, kept, opens } => self.settle_alone(effect, kept, opens, event, tries),
            Exchange::First { effect, kept } => self.settle_first(effect, kept, event, tries),
            Exchange::Inside { effect, may_end } => self.settle_inside(effect, may_end, event),
            Exchange::Commit => self.settle_commit(event),
            Exchange::Release if !self.is_by_savepoint() => self.settle_inside(Effect::Reads, false, event),
            Exchange::Release => self.settle_mixed(Effect::Reads, event),
            Exchange::Mixed { effect } => self.settle_mixed(effect, event),
            Exchange::Rollback => {
                // Nobody has the baton any more, so nothing of it can be committed.
                self.state = State::Closed;
                Verdict::Answer
            }
        }
    }

    /// The stream has not been touched, and its baton is still good.
    fn unauthorized(&mut self, exchange: Exchange, tries: Tries) -> Verdict {
        if tries.token {
            return Verdict::AnotherToken;
        }
        if exchange == Exchange::Rollback {
            self.state = State::Closed;
            return Verdict::Answer;
        }
        Verdict::Fault(Fault::Unauthorized)
    }

    fn is_by_savepoint(&self) -> bool {
        matches!(self.state, State::Open { savepoint: true, .. })
    }

    fn settle_alone(
        &mut self,
        effect: Effect,
        kept: bool,
        opens: bool,
        event: &Event,
        tries: Tries,
    ) -> Verdict {
        let reads = effect == Effect::Reads;
        match event {
            Event::Answered { autocommit: Some(false), baton: Some(baton), .. } => {
                // BEGIN or SAVEPOINT as a statement.
                self.state = State::Open { baton: baton.clone(), wrote: !reads, savepoint: true };
                Verdict::Answer
            }
            // What comes next would run by itself.
            Event::Answered { ran: Ran::Done, autocommit: Some(false) | None, .. } if opens => {
                self.lost("the server has not kept the stream on which it was begun", Fault::Lost)
            }
            Event::Answered { .. } => Verdict::Answer,
            Event::NotSent => Verdict::Fault(Fault::Unavailable),
            // Nothing has run: what was kept is gone.
            Event::Refused(Refusal::StreamGone | Refusal::NotFound) if kept && tries.again => Verdict::Again,
            Event::Refused(Refusal::NotFound) => Verdict::Fault(Fault::NotFound),
            Event::Refused(Refusal::Forbidden) => Verdict::Fault(Fault::Forbidden),
            Event::Refused(Refusal::Busy) => Verdict::Fault(Fault::Unavailable),
            Event::Refused(Refusal::StreamGone | Refusal::Declined) => Verdict::Fault(Fault::Protocol),
            Event::Refused(_) | Event::Cut(_) if !reads => Verdict::Fault(Fault::Unknown),
            Event::Refused(Refusal::Missing | Refusal::BatonUsed) if kept && tries.again => Verdict::Again,
            Event::Refused(Refusal::Missing) => Verdict::Fault(Fault::NotFound),
            Event::Refused(Refusal::Gateway) | Event::Cut(Cut::Broken) if tries.again => Verdict::Again,
            Event::Refused(Refusal::Gateway) | Event::Cut(Cut::Broken) => Verdict::Fault(Fault::Unavailable),
            Event::Refused(_) | Event::Cut(Cut::Garbage) => Verdict::Fault(Fault::Protocol),
            Event::Cut(Cut::Stopped) => Verdict::Fault(Fault::Stopped),
            Event::Cut(Cut::TooLong) => Verdict::Fault(Fault::TooLong),
        }
    }

    fn settle_first(&mut self, effect: Effect, kept: bool, event: &Event, tries: Tries) -> Verdict {
        match event {
            // Its client was told that a transaction had begun, and is to end it.
            Event::Answered { ran: Ran::NotBegun, .. } => {
                drop(self.lose("it has not begun, of which the error of its first statement tells"));
                Verdict::Answer
            }
            // Neither has BEGIN, which comes with the next one.
            Event::Answered { ran: Ran::NotRun, .. } => Verdict::Answer,
            Event::Refused(Refusal::StreamGone | Refusal::NotFound) if kept && tries.again => Verdict::Again,
            Event::Refused(Refusal::NotFound | Refusal::Missing) => {
                self.lost("the server does not know the database", Fault::NotFound)
            }
            other => self.settle_inside(effect, false, other),
        }
    }

    fn settle_inside(&mut self, effect: Effect, may_end: bool, event: &Event) -> Verdict {
        match event {
            Event::Answered { ran, autocommit, baton } => {
                self.answered_inside(effect, may_end, ran, *autocommit, baton.as_ref())
            }
            Event::NotSent | Event::Refused(Refusal::Busy) => Verdict::Fault(Fault::Unavailable),
            Event::Refused(Refusal::Forbidden) => self.lost(
                "the token does not allow what was asked, upon which the server rolls back",
                Fault::Forbidden,
            ),
            Event::Refused(Refusal::StreamGone | Refusal::NotFound | Refusal::Missing) => self.lost(
                "the server does not know it any more: it was restarted, or nothing was asked for 10 seconds",
                Fault::Lost,
            ),
            Event::Refused(Refusal::BatonUsed) => self.lost(
                "a request in it has reached the server twice, and the answer to the first one is missing",
                Fault::Lost,
            ),
            Event::Refused(_) => self.lost("the server has failed", Fault::Lost),
            Event::Cut(Cut::Stopped) => {
                self.lost("a request in it was stopped, upon which the server rolls back", Fault::Stopped)
            }
            Event::Cut(Cut::Broken) => {
                self.lost("the connection to the server broke, upon which it rolls back", Fault::Lost)
            }
            Event::Cut(Cut::Garbage) => self.lost("the server's answer cannot be read", Fault::Lost),
            Event::Cut(Cut::TooLong) => self.lost("the server's answer is too long", Fault::TooLong),
        }
    }

    fn answered_inside(
        &mut self,
        effect: Effect,
        may_end: bool,
        ran: &Ran,
        autocommit: Option<bool>,
        baton: Option<&Baton>,
    ) -> Verdict {
        const STOLEN: &str = "the server has given its lock to another writer, which it does after 5 seconds";
        const GONE: &str = "the server has ended it";
        match (ran, autocommit, baton) {
            (Ran::TimedOut, _, _) => self.lost(STOLEN, Fault::Lost),
            (Ran::Skipped | Ran::NotBegun, _, _) => self.lost(GONE, Fault::Lost),
            (Ran::Done | Ran::Failed | Ran::NotRun, Some(false), Some(baton)) => {
                let writes = effect == Effect::Writes && *ran != Ran::NotRun;
                let wrote = matches!(self.state, State::Open { wrote: true, .. }) || writes;
                let savepoint = self.is_by_savepoint();
                self.state = State::Open { baton: baton.clone(), wrote, savepoint };
                Verdict::Answer
            }
            (Ran::Done, Some(true), _) if may_end => {
                self.state = State::Closed;
                Verdict::Answer
            }
            // The statement's own doing, of which its error tells, and the status beside it.
            (Ran::Failed, Some(true), _) => {
                self.state = State::Closed;
                Verdict::Answer
            }
            (Ran::Failed, _, _) => {
                drop(self.lose("the server does not say whether it is still there"));
                Verdict::Answer
            }
            (Ran::Done | Ran::NotRun, _, _) => self.lost(GONE, Fault::Lost),
        }
    }

    fn settle_commit(&mut self, event: &Event) -> Verdict {
        let wrote = matches!(self.state, State::Open { wrote: true, .. });
        match event {
            Event::Answered { ran: Ran::Done, autocommit: Some(true) | None, .. } => {
                self.state = State::Closed;
                Verdict::Answer
            }
            // Open after its end: the server contradicts itself.
            Event::Answered { ran: Ran::Done, autocommit: Some(false), .. } => self.in_doubt(),
            _ => match without_answer(wrote, event) {
                Some(fault) => {
                    self.state = State::Closed;
                    Verdict::Fault(fault)
                }
                // The others say that it did not run, or what became of it.
                None => self.settle_inside(Effect::Reads, false, event),
            },
        }
    }

    /// Of what may commit the transaction and what may not nobody knows which, unless the server answers.
    fn settle_mixed(&mut self, effect: Effect, event: &Event) -> Verdict {
        let wrote = effect == Effect::Writes || matches!(self.state, State::Open { wrote: true, .. });
        match event {
            Event::Answered { ran: Ran::Done | Ran::Failed, autocommit: Some(true), .. } => {
                self.state = State::Closed;
                Verdict::Answer
            }
            Event::Answered { ran: Ran::Done | Ran::Failed, autocommit: Some(false), baton: Some(baton) } => {
                // The open one may be another one.
                self.state = State::Open { baton: baton.clone(), wrote, savepoint: true };
                Verdict::Answer
            }
            Event::Answered { ran: Ran::Done | Ran::Failed, .. } => self.in_doubt(),
            _ => match without_answer(wrote, event) {
                Some(Fault::Unknown) => self.in_doubt(),
                Some(fault) => self.lost("the end of it has no answer", fault),
                None => self.settle_inside(effect, false, event),
            },
        }
    }

    /// The transaction is over, and may have been committed.
    fn in_doubt(&mut self) -> Verdict {
        drop(self.lose("its end has no answer"));
        if let State::Lost { in_doubt, .. } = &mut self.state {
            *in_doubt = true;
        }
        Verdict::Fault(Fault::Unknown)
    }

    /// The request has used the baton up, or nobody knows: whoever sent it ends the stream.
    fn lost(&mut self, reason: &str, fault: Fault) -> Verdict {
        drop(self.lose(reason));
        Verdict::Fault(fault)
    }
}

/// What is said of a request that may have committed, if `event` does not say what became of it. Of a transaction that has
/// written nothing, nothing is unknown.
fn without_answer(wrote: bool, event: &Event) -> Option<Fault> {
    let fault = match event {
        Event::Cut(Cut::Stopped) => Fault::Stopped,
        Event::Cut(Cut::Broken) | Event::Refused(Refusal::Gateway) => Fault::Unavailable,
        Event::Cut(Cut::Garbage | Cut::TooLong)
        | Event::Refused(Refusal::Server | Refusal::Missing | Refusal::BatonUsed | Refusal::Other) => {
            Fault::Protocol
        }
        Event::Answered { .. }
        | Event::NotSent
        | Event::Refused(
            Refusal::Unauthorized
            | Refusal::Forbidden
            | Refusal::NotFound
            | Refusal::StreamGone
            | Refusal::Busy
            | Refusal::Declined,
        ) => return None,
    };
    Some(if wrote { Fault::Unknown } else { fault })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn baton(text: &str) -> Option<Baton> {
        Some(Baton { text: text.to_owned(), base: None })
    }

    fn answered(ran: Ran, autocommit: Option<bool>, text: Option<&str>) -> Event {
        Event::Answered { ran, autocommit, baton: text.and_then(baton) }
    }

    fn open(wrote: bool) -> State {
        State::Open { baton: Baton { text: "b0".to_owned(), base: None }, wrote, savepoint: false }
    }

    const ALL: Tries = Tries { again: true, token: true };
    const NONE: Tries = Tries { again: false, token: false };
    const READ: Exchange = Exchange::Alone { effect: Effect::Reads, kept: false, opens: false };
    const WRITE: Exchange = Exchange::Alone { effect: Effect::Writes, kept: false, opens: false };
    const KEPT: Exchange = Exchange::Alone { effect: Effect::Writes, kept: true, opens: false };
    const OPENS: Exchange = Exchange::Alone { effect: Effect::Reads, kept: false, opens: true };
    const INSIDE: Exchange = Exchange::Inside { effect: Effect::Writes, may_end: false };
    const READ_INSIDE: Exchange = Exchange::Inside { effect: Effect::Reads, may_end: false };
    const ENDS: Exchange = Exchange::Inside { effect: Effect::Reads, may_end: true };
    const FIRST: Exchange = Exchange::First { effect: Effect::Reads, kept: false };
    const FIRST_KEPT: Exchange = Exchange::First { effect: Effect::Writes, kept: true };

    /// What a row of the table says: the verdict, and the state's name afterwards.
    fn settled(state: State, exchange: Exchange, event: &Event, tries: Tries) -> (Verdict, &'static str) {
        let mut machine = Machine { state };
        let verdict = machine.settle(exchange, event, tries);
        let name = match machine.state {
            State::Closed => "closed",
            State::Promised(_) => "promised",
            State::Open { wrote: true, .. } => "wrote",
            State::Open { .. } => "open",
            State::Lost { .. } => "lost",
        };
        (verdict, name)
    }

    fn fault(fault: Fault) -> Verdict {
        Verdict::Fault(fault)
    }

    #[test]
    fn statements_by_themselves() {
        let row = |exchange, event: &Event, tries| settled(State::Closed, exchange, event, tries);
        let done = answered(Ran::Done, Some(true), Some("b"));
        assert_eq!(row(WRITE, &done, NONE), (Verdict::Answer, "closed"));
        assert_eq!(row(READ, &answered(Ran::Done, Some(false), Some("b")), NONE), (Verdict::Answer, "open"));
        assert_eq!(row(WRITE, &answered(Ran::Failed, None, None), NONE), (Verdict::Answer, "closed"));
        // Nothing was sent, or what was sent has not run: no doubt, for writes either.
        assert_eq!(row(WRITE, &Event::NotSent, ALL), (fault(Fault::Unavailable), "closed"));
        assert_eq!(row(KEPT, &Event::Refused(Refusal::StreamGone), ALL), (Verdict::Again, "closed"));
        assert_eq!(row(KEPT, &Event::Refused(Refusal::NotFound), ALL), (Verdict::Again, "closed"));
        assert_eq!(row(KEPT, &Event::Refused(Refusal::StreamGone), NONE), (fault(Fault::Protocol), "closed"));
        assert_eq!(row(WRITE, &Event::Refused(Refusal::StreamGone), ALL), (fault(Fault::Protocol), "closed"));
        assert_eq!(
            row(WRITE, &Event::Refused(Refusal::Unauthorized), ALL),
            (Verdict::AnotherToken, "closed")
        );
        assert_eq!(
            row(WRITE, &Event::Refused(Refusal::Unauthorized), NONE),
            (fault(Fault::Unauthorized), "closed")
        );
        assert_eq!(row(WRITE, &Event::Refused(Refusal::Forbidden), ALL), (fault(Fault::Forbidden), "closed"));
        assert_eq!(row(WRITE, &Event::Refused(Refusal::NotFound), ALL), (fault(Fault::NotFound), "closed"));
        assert_eq!(row(WRITE, &Event::Refused(Refusal::Busy), ALL), (fault(Fault::Unavailable), "closed"));
        assert_eq!(row(WRITE, &Event::Refused(Refusal::Declined), ALL), (fault(Fault::Protocol), "closed"));
        // What says nothing of the request.
        for refusal in [Refusal::Other, Refusal::Missing, Refusal::BatonUsed] {
            assert_eq!(row(WRITE, &Event::Refused(refusal), ALL), (fault(Fault::Unknown), "closed"));
            assert_eq!(row(KEPT, &Event::Refused(refusal), ALL), (fault(Fault::Unknown), "closed"));
        }
        assert_eq!(row(READ, &Event::Refused(Refusal::Missing), ALL), (fault(Fault::NotFound), "closed"));
        assert_eq!(row(READ, &Event::Refused(Refusal::Other), ALL), (fault(Fault::Protocol), "closed"));
        // A begin whose stream is not kept is none.
        for autocommit in [Some(false), None] {
            let event = answered(Ran::Done, autocommit, None);
            assert_eq!(row(OPENS, &event, NONE), (fault(Fault::Lost), "lost"));
            assert_eq!(row(WRITE, &event, NONE), (Verdict::Answer, "closed"));
        }
        assert_eq!(row(OPENS, &answered(Ran::Failed, None, None), NONE), (Verdict::Answer, "closed"));
    }

    #[test]
    fn a_read_is_repeated_once_and_a_write_never() {
        let row = |exchange, event: &Event, tries| settled(State::Closed, exchange, event, tries).0;
        let broken = Event::Cut(Cut::Broken);
        let gateway = Event::Refused(Refusal::Gateway);
        for event in [&broken, &gateway] {
            assert_eq!(row(READ, event, ALL), Verdict::Again);
            assert_eq!(row(READ, event, NONE), fault(Fault::Unavailable));
        }
        assert_eq!(row(READ, &Event::Cut(Cut::Stopped), ALL), fault(Fault::Stopped));
        assert_eq!(row(READ, &Event::Cut(Cut::Garbage), ALL), fault(Fault::Protocol));
        assert_eq!(row(READ, &Event::Cut(Cut::TooLong), ALL), fault(Fault::TooLong));
        assert_eq!(row(READ, &Event::Refused(Refusal::Server), ALL), fault(Fault::Protocol));
        for event in [Cut::Broken, Cut::Stopped, Cut::Garbage, Cut::TooLong].map(Event::Cut) {
            assert_eq!(row(WRITE, &event, ALL), fault(Fault::Unknown));
        }
        for event in [Refusal::Server, Refusal::Gateway].map(Event::Refused) {
            assert_eq!(row(WRITE, &event, ALL), fault(Fault::Unknown));
        }
    }

    #[test]
    fn the_first_statement_of_a_transaction() {
        let row = |exchange, event: &Event, tries| settled(State::Promised("BEGIN"), exchange, event, tries);
        assert_eq!(row(FIRST, &answered(Ran::Done, Some(false), Some("b")), ALL), (Verdict::Answer, "open"));
        assert_eq!(
            row(FIRST_KEPT, &answered(Ran::Failed, Some(false), Some("b")), ALL),
            (Verdict::Answer, "wrote")
        );
        assert_eq!(
            row(FIRST, &answered(Ran::NotBegun, Some(true), Some("b")), ALL),
            (Verdict::Answer, "lost")
        );
        assert_eq!(
            row(FIRST, &answered(Ran::NotRun, Some(true), Some("b")), ALL),
            (Verdict::Answer, "promised")
        );
        assert_eq!(row(FIRST_KEPT, &Event::Refused(Refusal::StreamGone), ALL), (Verdict::Again, "promised"));
        assert_eq!(row(FIRST, &Event::NotSent, ALL), (fault(Fault::Unavailable), "promised"));
        assert_eq!(
            row(FIRST, &Event::Refused(Refusal::Unauthorized), ALL),
            (Verdict::AnotherToken, "promised")
        );
        assert_eq!(row(FIRST, &Event::Refused(Refusal::NotFound), ALL), (fault(Fault::NotFound), "lost"));
        assert_eq!(row(FIRST, &Event::Cut(Cut::Broken), ALL), (fault(Fault::Lost), "lost"));
        assert_eq!(row(FIRST, &Event::Cut(Cut::Stopped), ALL), (fault(Fault::Stopped), "lost"));
    }

    #[test]
    fn statements_of_a_transaction() {
        let row = |exchange, event: &Event| settled(open(false), exchange, event, NONE);
        let done = |autocommit| answered(Ran::Done, autocommit, Some("b"));
        assert_eq!(row(INSIDE, &done(Some(false))), (Verdict::Answer, "wrote"));
        assert_eq!(row(READ_INSIDE, &done(Some(false))), (Verdict::Answer, "open"));
        assert_eq!(settled(open(true), READ_INSIDE, &done(Some(false)), NONE), (Verdict::Answer, "wrote"));
        assert_eq!(row(INSIDE, &answered(Ran::Failed, Some(false), Some("b"))), (Verdict::Answer, "wrote"));
        // It is gone without having been asked to.
        assert_eq!(row(INSIDE, &done(Some(true))), (fault(Fault::Lost), "lost"));
        assert_eq!(row(ENDS, &done(Some(true))), (Verdict::Answer, "closed"));
        assert_eq!(row(ENDS, &done(Some(false))), (Verdict::Answer, "open"));
        assert_eq!(row(INSIDE, &done(None)), (fault(Fault::Lost), "lost"));
        assert_eq!(row(INSIDE, &answered(Ran::Done, Some(false), None)), (fault(Fault::Lost), "lost"));
        // The engine has rolled back with the statement that failed, which its error tells.
        assert_eq!(row(INSIDE, &answered(Ran::Failed, Some(true), Some("b"))), (Verdict::Answer, "closed"));
        assert_eq!(row(INSIDE, &answered(Ran::Failed, None, Some("b"))), (Verdict::Answer, "lost"));
        assert_eq!(
            row(READ_INSIDE, &answered(Ran::NotRun, Some(false), Some("b"))),
            (Verdict::Answer, "open")
        );
        assert_eq!(row(INSIDE, &answered(Ran::NotRun, Some(true), Some("b"))), (fault(Fault::Lost), "lost"));
        for ran in [Ran::TimedOut, Ran::Skipped] {
            assert_eq!(row(INSIDE, &answered(ran, Some(true), Some("b"))), (fault(Fault::Lost), "lost"));
        }
        for refusal in [
            Refusal::StreamGone,
            Refusal::NotFound,
            Refusal::Gateway,
            Refusal::Server,
            Refusal::Other,
            Refusal::BatonUsed,
        ] {
            assert_eq!(row(READ_INSIDE, &Event::Refused(refusal)), (fault(Fault::Lost), "lost"));
        }
        assert_eq!(row(INSIDE, &Event::Refused(Refusal::Forbidden)), (fault(Fault::Forbidden), "lost"));
        assert_eq!(row(INSIDE, &Event::Refused(Refusal::Busy)), (fault(Fault::Unavailable), "open"));
        assert_eq!(row(INSIDE, &Event::Refused(Refusal::Unauthorized)), (fault(Fault::Unauthorized), "open"));
        assert_eq!(
            settled(open(true), INSIDE, &Event::Refused(Refusal::Unauthorized), ALL),
            (Verdict::AnotherToken, "wrote")
        );
        assert_eq!(row(INSIDE, &Event::NotSent), (fault(Fault::Unavailable), "open"));
        assert_eq!(row(INSIDE, &Event::Cut(Cut::Broken)), (fault(Fault::Lost), "lost"));
        assert_eq!(row(INSIDE, &Event::Cut(Cut::Stopped)), (fault(Fault::Stopped), "lost"));
        assert_eq!(row(INSIDE, &Event::Cut(Cut::Garbage)), (fault(Fault::Lost), "lost"));
    }

    #[test]
    fn commits() {
        let row = |wrote, event: &Event| settled(open(wrote), Exchange::Commit, event, NONE);
        assert_eq!(row(true, &answered(Ran::Done, Some(true), Some("b"))), (Verdict::Answer, "closed"));
        assert_eq!(row(true, &answered(Ran::Done, Some(true), None)), (Verdict::Answer, "closed"));
        assert_eq!(row(true, &answered(Ran::Done, Some(false), Some("b"))), (fault(Fault::Unknown), "lost"));
        assert_eq!(row(true, &answered(Ran::Failed, Some(false), Some("b"))), (Verdict::Answer, "wrote"));
        assert_eq!(row(true, &answered(Ran::Failed, Some(true), Some("b"))), (Verdict::Answer, "closed"));
        for ran in [Ran::Skipped, Ran::TimedOut] {
            assert_eq!(row(true, &answered(ran, Some(true), Some("b"))), (fault(Fault::Lost), "lost"));
        }
        for event in [
            Event::Cut(Cut::Broken),
            Event::Cut(Cut::Stopped),
            Event::Cut(Cut::Garbage),
            Event::Cut(Cut::TooLong),
            Event::Refused(Refusal::Server),
            Event::Refused(Refusal::Gateway),
            Event::Refused(Refusal::Other),
            Event::Refused(Refusal::Missing),
            Event::Refused(Refusal::BatonUsed),
        ] {
            assert_eq!(row(true, &event), (fault(Fault::Unknown), "closed"), "{event:?}");
        }
        assert_eq!(row(false, &Event::Cut(Cut::Broken)), (fault(Fault::Unavailable), "closed"));
        assert_eq!(row(false, &Event::Cut(Cut::Stopped)), (fault(Fault::Stopped), "closed"));
        for refusal in [Refusal::StreamGone, Refusal::NotFound, Refusal::Declined] {
            assert_eq!(row(true, &Event::Refused(refusal)), (fault(Fault::Lost), "lost"));
        }
        assert_eq!(row(true, &Event::Refused(Refusal::Unauthorized)), (fault(Fault::Unauthorized), "wrote"));
        assert_eq!(row(true, &Event::NotSent), (fault(Fault::Unavailable), "wrote"));
    }

    #[test]
    fn what_may_commit_and_may_not_is_in_doubt_without_an_answer() {
        let by_savepoint = |wrote| State::Open {
            baton: Baton { text: "b0".to_owned(), base: None },
            wrote,
            savepoint: true,
        };
        let mixed = |effect| Exchange::Mixed { effect };
        let cut = Event::Cut(Cut::Broken);
        let row = |state, exchange, event: &Event| settled(state, exchange, event, NONE);
        // The release of a savepoint within the transaction commits nothing.
        assert_eq!(row(open(true), Exchange::Release, &cut), (fault(Fault::Lost), "lost"));
        assert_eq!(row(by_savepoint(true), Exchange::Release, &cut), (fault(Fault::Unknown), "lost"));
        assert_eq!(row(by_savepoint(false), Exchange::Release, &cut), (fault(Fault::Unavailable), "lost"));
        let done = |autocommit| answered(Ran::Done, autocommit, Some("b"));
        assert_eq!(
            row(by_savepoint(true), Exchange::Release, &done(Some(true))),
            (Verdict::Answer, "closed")
        );
        assert_eq!(
            row(by_savepoint(true), Exchange::Release, &done(Some(false))),
            (Verdict::Answer, "wrote")
        );
        assert_eq!(row(by_savepoint(true), Exchange::Release, &done(None)), (fault(Fault::Unknown), "lost"));
        assert_eq!(row(open(true), Exchange::Release, &done(Some(true))), (fault(Fault::Lost), "lost"));
        // A write beside it is as much in doubt as one before it.
        assert_eq!(row(open(false), mixed(Effect::Writes), &cut), (fault(Fault::Unknown), "lost"));
        assert_eq!(row(open(true), mixed(Effect::Reads), &cut), (fault(Fault::Unknown), "lost"));
        assert_eq!(row(open(false), mixed(Effect::Reads), &cut), (fault(Fault::Unavailable), "lost"));
        assert_eq!(row(open(true), mixed(Effect::Writes), &done(Some(true))), (Verdict::Answer, "closed"));
        let gone = Event::Refused(Refusal::StreamGone);
        assert_eq!(row(open(true), mixed(Effect::Writes), &gone), (fault(Fault::Lost), "lost"));
        let mut machine = Machine { state: by_savepoint(true) };
        machine.begun_by_begin();
        assert_eq!(machine.settle(Exchange::Release, &cut, NONE), fault(Fault::Lost));
    }

    #[test]
    fn a_rollback_ends_it_whatever_becomes_of_the_request() {
        for event in [
            answered(Ran::Done, Some(true), Some("b")),
            answered(Ran::Skipped, Some(true), None),
            Event::NotSent,
            Event::Cut(Cut::Stopped),
            Event::Refused(Refusal::Unauthorized),
        ] {
            assert_eq!(settled(open(true), Exchange::Rollback, &event, NONE), (Verdict::Answer, "closed"));
        }
    }

    #[test]
    fn a_lost_transaction_keeps_its_status_until_it_is_ended() {
        let mut machine = Machine { state: open(true) };
        assert_eq!(machine.lose("a test"), baton("b0"), "its stream is left to be ended");
        assert_eq!(machine.status(), 3);
        assert_eq!(machine.forget(), None);
        assert_eq!(machine.status(), 0);
        machine.promise("BEGIN");
        assert_eq!(machine.status(), 1);
        machine.rebaton(None);
        assert_eq!(machine.state(), &State::Promised("BEGIN"));
        machine.state = open(false);
        machine.rebaton(baton("next"));
        assert_eq!(machine.status(), 2);
        machine.rebaton(None);
        assert!(matches!(machine.state(), State::Lost { status: 2, .. }));
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let ran = prop::sample::select(vec![
            Ran::Done,
            Ran::NotBegun,
            Ran::NotRun,
            Ran::Failed,
            Ran::TimedOut,
            Ran::Skipped,
        ]);
        let refusal = prop::sample::select(vec![
            Refusal::Unauthorized,
            Refusal::Forbidden,
            Refusal::NotFound,
            Refusal::StreamGone,
            Refusal::Busy,
            Refusal::Gateway,
            Refusal::Server,
            Refusal::Other,
            Refusal::Missing,
            Refusal::BatonUsed,
            Refusal::Declined,
        ]);
        let cut = prop::sample::select(vec![Cut::Broken, Cut::Stopped, Cut::Garbage, Cut::TooLong]);
        prop_oneof![
            3 => (ran, any::<Option<bool>>(), any::<bool>()).prop_map(|(ran, autocommit, stream)| {
                answered(ran, autocommit, stream.then_some("b"))
            }),
            1 => refusal.prop_map(Event::Refused),
            1 => Just(Event::NotSent),
            1 => cut.prop_map(Event::Cut),
        ]
    }

    proptest! {
        /// Whatever happens: a commit is answered as done only by the server's word, a transaction that is not known to
        /// be open takes no statement, and a write whose answer is missing is never called harmless.
        #[test]
        fn no_history_tells_a_lie(
            events in prop::collection::vec((any_event(), 0..8u8, any::<bool>(), any::<bool>()), 1..40)
        ) {
            let mut machine = Machine::new();
            for (event, kind, writes, again) in events {
                let effect = if writes { Effect::Writes } else { Effect::Reads };
                let before = machine.state().clone();
                let exchange = match (&before, kind) {
                    (State::Lost { .. }, _) => {
                        prop_assert_eq!(machine.forget(), None);
                        continue;
                    }
                    (State::Closed, 0) => {
                        machine.promise("BEGIN");
                        continue;
                    }
                    (State::Closed, _) => Exchange::Alone { effect, kept: again, opens: kind % 2 == 0 },
                    (State::Promised(_), _) => Exchange::First { effect, kept: again },
                    (State::Open { .. }, 0 | 1) => Exchange::Commit,
                    (State::Open { .. }, 2) => Exchange::Rollback,
                    (State::Open { .. }, 3) => Exchange::Release,
                    (State::Open { .. }, 4) => Exchange::Mixed { effect },
                    (State::Open { .. }, _) => Exchange::Inside { effect, may_end: false },
                };
                let verdict = machine.settle(exchange, &event, Tries { again, token: false });
                let says_nothing = matches!(
                    event,
                    Event::Refused(
                        Refusal::Other | Refusal::Missing | Refusal::BatonUsed | Refusal::Server | Refusal::Gateway
                    )
                );
                let sent_in_vain = matches!(event, Event::Cut(_)) || says_nothing;
                let wrote = matches!(before, State::Open { wrote: true, .. });
                match exchange {
                    Exchange::Commit => {
                        if machine.state() == &State::Closed && verdict == Verdict::Answer {
                            // The answer of one that has failed is its error.
                            let answered =
                                matches!(event, Event::Answered { ran: Ran::Done | Ran::Failed, .. });
                            prop_assert!(answered);
                        }
                        if sent_in_vain && wrote {
                            prop_assert_eq!(verdict, Verdict::Fault(Fault::Unknown));
                        }
                        let is_open = matches!(machine.state(), State::Open { .. });
                        let still_open = is_open && matches!(event, Event::Answered { ran: Ran::Done, .. });
                        prop_assert!(!still_open);
                    }
                    Exchange::Mixed { effect } => {
                        if sent_in_vain && (wrote || effect == Effect::Writes) {
                            prop_assert_eq!(verdict, Verdict::Fault(Fault::Unknown));
                        }
                        if sent_in_vain {
                            let is_lost = matches!(machine.state(), State::Lost { .. });
                            prop_assert!(is_lost);
                        }
                    }
                    Exchange::Release if sent_in_vain => {
                        let is_lost = matches!(machine.state(), State::Lost { .. });
                        prop_assert!(is_lost);
                        let by_savepoint = matches!(before, State::Open { savepoint: true, .. });
                        prop_assert_eq!(verdict == Verdict::Fault(Fault::Unknown), wrote && by_savepoint);
                    }
                    // A begin that is answered as done has begun.
                    Exchange::Alone { opens: true, .. } if verdict == Verdict::Answer => {
                        let open = matches!(
                            event,
                            Event::Answered { ran: Ran::Done, autocommit: Some(false) | None, .. }
                        );
                        if open {
                            let is_open = matches!(machine.state(), State::Open { .. });
                            prop_assert!(is_open);
                        }
                    }
                    Exchange::Alone { effect: Effect::Writes, .. } if sent_in_vain => {
                        prop_assert_eq!(verdict, Verdict::Fault(Fault::Unknown));
                    }
                    Exchange::Inside { .. } | Exchange::First { .. } => {
                        let ended = matches!(event, Event::Answered { autocommit: Some(true), .. });
                        // What has not run has not begun it either.
                        let not_run = matches!(event, Event::Answered { ran: Ran::NotRun, .. });
                        if ended && !not_run || sent_in_vain {
                            let goes_on = matches!(machine.state(), State::Open { .. } | State::Promised(_));
                            prop_assert!(!goes_on);
                        }
                        // What ran inside and is kept was inside to its end.
                        if verdict == Verdict::Answer && matches!(event, Event::Answered { ran: Ran::Done, .. }) {
                            let is_open = matches!(machine.state(), State::Open { .. });
                            prop_assert!(is_open);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
