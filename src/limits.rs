//! Every limit of the program: its name, its default and its option are one and the same word.

use std::time::Duration;

/// The longest frame the program sends, whatever `frame_bytes_max` says: a longer one would keep other replies waiting.
pub const REPLY_FRAME_BYTES: u32 = 1 << 20;

/// The largest body of a row chunk that the VM's port driver reads in one piece (64 KiB with its length).
pub const CHUNK_BYTES: u32 = 65_532;

/// Subscriptions of a program.
pub const SUBSCRIPTIONS_MAX: usize = 1000;

/// The stack of a thread on which statements run. The engine recurses with what an SQL text or a pattern nests.
pub const STACK_BYTES: usize = 16 << 20;

/// What the program allows; set by its command line.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest frame accepted, in bytes of body.
    pub frame_bytes_max: u32,
    /// Open connections.
    pub connections_max: u32,
    /// Requests that wait on one connection.
    pub queue_requests_max: u32,
    /// Bytes of the requests that wait, on all connections together.
    pub queue_bytes_max: u64,
    /// Prepared statements of one connection.
    pub statements_max: u32,
    /// Bytes of the compiled statements of one connection: those prepared, and again as many in its cache; 0: no limit.
    pub statement_bytes_max: u64,
    /// Open cursors of one connection.
    pub cursors_max: u32,
    /// Rows of one result that is not streamed; 0: no limit.
    pub result_rows_max: u64,
    /// Bytes of rows of one result that is not streamed; 0: no limit.
    pub result_bytes_max: u64,
    /// Bytes that the engine may have allocated, for all connections together; 0: no limit.
    pub heap_bytes_max: u64,
    /// Bytes that all temporary files may hold together; 0: no limit.
    pub temp_bytes_max: u64,
    /// Bytes of the changes of one transaction that are kept for subscribers; of a larger one they are told no more than that.
    pub changes_bytes_max: u32,
    /// Denials of policies in a second that are told as events and log lines; those beyond are counted; 0: none.
    pub denials_per_second_max: u32,
    /// Time from a request's deadline, its cancellation or the end of its connection to the end of the program, if it still
    /// runs then; zero: no limit.
    pub stuck_limit: Duration,
    /// Time from the end of input to the end of the program.
    pub shutdown_grace: Duration,
    /// Microseconds that the reading thread looks for the next request of a client in a hurry before it sleeps; 0: none.
    pub spin_us_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes_max: port_driver::frame::FRAME_BYTES_MAX_DEFAULT,
            connections_max: 4096,
            queue_requests_max: 1024,
            queue_bytes_max: 256 << 20,
            statements_max: 1000,
            statement_bytes_max: 64 << 20,
            cursors_max: 100,
            result_rows_max: 10_000_000,
            result_bytes_max: 512 << 20,
            heap_bytes_max: 16 << 30,
            temp_bytes_max: 32 << 30,
            changes_bytes_max: 64 << 20,
            denials_per_second_max: 100,
            stuck_limit: Duration::from_secs(60),
            shutdown_grace: Duration::from_millis(1000),
            spin_us_max: 200,
        }
    }
}

impl Limits {
    /// The longest frame that the program sends.
    pub fn reply_bytes_max(&self) -> u32 {
        self.frame_bytes_max.min(REPLY_FRAME_BYTES)
    }

    /// `spin_us_max`, or zero where the client would need the only processor that this program may use.
    pub fn spin(&self) -> Duration {
        match std::thread::available_parallelism() {
            Ok(processors) if processors.get() > 1 => Duration::from_micros(self.spin_us_max),
            _ => Duration::ZERO,
        }
    }
}
