//! How the program ends.

/// Why the program ends; its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The client closed standard input, or is gone.
    EndOfInput = 0,
    /// A bug outside of any connection.
    Bug = 70,
    /// The system refused something at start.
    System = 71,
    /// Standard output failed while requests still came.
    OutputFailed = 74,
    /// A request that nothing can stop ran on for longer than `stuck_limit`, whether or not anybody waited for it.
    Stuck = 75,
    /// The client sent what is not a frame.
    BrokenFrame = 76,
}
