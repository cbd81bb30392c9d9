//! The tags of every message (protocol, sections 3 to 5).

macro_rules! tags {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: u8 = $number;)+

        /// The protocol's name of a tag, for logs and messages.
        pub const fn name(tag: u8) -> Option<&'static str> {
            match tag {
                $($number => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

tags! {
    /// Request: the same term comes back.
    PING = 1;
    /// Request: the program's counters.
    STATUS = 2;
    /// Request: a connection's counters.
    CONNECTION_STATUS = 3;
    /// Request: open a database.
    OPEN = 4;
    /// Request: close a connection.
    CLOSE = 5;
    /// Request: run a statement.
    EXECUTE = 6;
    /// Request: run a statement that yields one row.
    QUERY_ONE = 7;
    /// Request: prepare a statement.
    PREPARE = 8;
    /// Request: columns and parameters of a statement.
    DESCRIBE = 9;
    /// Request: run a prepared statement.
    EXECUTE_PREPARED = 10;
    /// Request: close a prepared statement.
    CLOSE_STATEMENT = 11;
    /// Request: open a cursor.
    DECLARE = 12;
    /// Request: rows of a cursor.
    FETCH = 13;
    /// Request: close a cursor.
    CLOSE_CURSOR = 14;
    /// Request: begin a transaction.
    BEGIN = 15;
    /// Request: commit.
    COMMIT = 16;
    /// Request: roll back.
    ROLLBACK = 17;
    /// Request: set a savepoint.
    SAVEPOINT = 18;
    /// Request: release a savepoint.
    RELEASE = 19;
    /// Request: roll back to a savepoint.
    ROLLBACK_TO = 20;
    /// Request: many statements in one round trip. (Its reply is [`BATCH_REPLY`].)
    BATCH = 21;
    /// Request: a text of many statements.
    SCRIPT = 22;
    /// Request: a connection as if just opened.
    RESET = 23;
    /// Request: stop another request.
    CANCEL = 24;
    /// Request: more chunks for a streaming execute. Not answered.
    CREDIT = 25;
    /// Request: checkpoint the WAL.
    CHECKPOINT = 26;
    /// Request: the answer to a call of a callback. Not answered.
    ANSWER = 27;
    /// Request: be told of what commits change.
    SUBSCRIBE = 28;
    /// Request: end a subscription.
    UNSUBSCRIBE = 29;
    /// Request: events of a subscription were taken. Not answered.
    CHANGES_CREDIT = 30;
    /// Request: a SQL function, table function or collation that the client answers.
    CREATE_FUNCTION = 32;
    /// Request: one less.
    DROP_FUNCTION = 33;
    /// Request: the client decides about commits.
    SET_HOOK = 37;
    /// Request: it does so no more.
    REMOVE_HOOK = 38;
    /// Request: what SQL may do on a connection.
    SET_POLICY = 36;
    /// Request: bring a replica up to its server.
    SYNC = 40;
    /// Request: where a replica is.
    REPLICATION_STATUS = 41;
    /// Request: copy a replica into a database of its own.
    FREEZE = 42;
    /// Request: have a replica hold nothing back.
    FLUSH = 43;

    /// Reply: what was asked for.
    OK = 64;
    /// Reply: an error.
    ERROR = 65;
    /// Reply: the end, or the whole, of a statement's result.
    RESULT = 66;
    /// Reply: a chunk of rows. The only one that does not close its request, besides the parts of it.
    ROWS = 67;
    /// Reply: the last rows of a cursor.
    LAST_ROWS = 68;
    /// Reply: the results of a batch.
    BATCH_REPLY = 69;
    /// Reply: a piece of a reply that is too long for one frame.
    PART = 70;
    /// Reply: rows of a cursor that may have more.
    MORE_ROWS = 71;

    /// Event: the first frame of all.
    HELLO = 96;
    /// Event: a bug ended a connection.
    CONNECTION_LOST = 97;
    /// Event: a line of the program's log.
    LOG = 98;
    /// Event: a callback is to be called.
    CALL = 99;
    /// Event: nobody waits for that any more.
    ABANDONED = 100;
    /// Event: what a transaction has changed.
    CHANGES = 101;
    /// Event: transactions that a subscriber was not told of.
    LAGGED = 102;
    /// Event: a commit, a rollback, or pages in the WAL.
    HOOK = 103;
    /// Event: a lock of another program is waited for, or was.
    BUSY = 105;
    /// Event: how far a statement has come.
    PROGRESS = 106;
    /// Event: a policy has denied something.
    POLICY_DENIED = 104;
    /// Event: how far a replica's sync has come.
    SYNC_EVENT = 107;
    /// Event: requests to a server fail at once from now on, or are sent again.
    BREAKER = 108;
    /// Event: how far the copy of a replica has come.
    FREEZE_EVENT = 109;
    /// Event: a replica is not synced any more, or is again.
    REPLICA = 110;
}

/// Whether a reply of this tag ends its request. Parts say so themselves.
pub const fn closes(tag: u8) -> bool {
    matches!(tag, OK | ERROR | RESULT | LAST_ROWS | BATCH_REPLY | MORE_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_events_close_nothing() {
        let closing: Vec<u8> = (0..=u8::MAX).filter(|tag| closes(*tag)).collect();
        assert_eq!(closing, [64, 65, 66, 68, 69, 71]);
    }

    #[test]
    fn names_are_known_for_known_tags_alone() {
        assert_eq!(name(ROLLBACK_TO), Some("ROLLBACK_TO"));
        assert_eq!((0..=u8::MAX).filter(|tag| name(*tag).is_some()).count(), 39 + 8 + 15);
    }
}
