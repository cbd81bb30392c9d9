//! File descriptors and signals, one system call each.
//!
//! The protocol lives on private duplicates of stdin and stdout; descriptor 0 becomes /dev/null and 1 becomes stderr,
//! so that no library's stray print can reach the VM, which would take it for a frame's length.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Bytes, or the end.
    Read,
    /// Room, or a broken pipe.
    Write,
}

/// Waits until `descriptor` is ready or `time` has passed; true if it is ready.
pub fn poll(descriptor: &impl AsRawFd, readiness: Readiness, time: Duration) -> bool {
    let events = match readiness {
        Readiness::Read => libc::POLLIN,
        Readiness::Write => libc::POLLOUT,
    };
    poll_events(descriptor, events, time) != 0
}

/// True if nobody holds the other end of the pipe `descriptor` any more, whether or not all has been read from it.
pub fn is_hung_up(descriptor: &impl AsRawFd) -> bool {
    poll_events(descriptor, 0, Duration::ZERO) & libc::POLLHUP != 0
}

fn poll_events(descriptor: &impl AsRawFd, events: libc::c_short, time: Duration) -> libc::c_short {
    let mut entry = libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 };
    let ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one entry, which lives through the call; the descriptor is open since it is borrowed.
    match unsafe { libc::poll(&mut entry, 1, ms) } {
        1.. => entry.revents,
        _ => 0,
    }
}

/// Takes stdin and stdout for the protocol and puts harmless ones in their place.
pub fn take_standard_streams() -> io::Result<(OwnedFd, OwnedFd)> {
    let input = io::stdin();
    let output = io::stdout();
    let (private_in, private_out) = (duplicate(&input)?, duplicate(&output)?);
    let null = OpenOptions::new().read(true).open("/dev/null")?;
    replace(libc::STDIN_FILENO, &null)?;
    replace(libc::STDOUT_FILENO, &io::stderr())?;
    Ok((private_in, private_out))
}

fn duplicate(stream: &impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    let borrowed: BorrowedFd<'_> = stream.as_fd();
    borrowed.try_clone_to_owned()
}

fn replace(number: libc::c_int, by: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: both are open descriptors; what `number` meant is not used after this.
    match unsafe { libc::dup2(by.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes writes to `descriptor` return instead of wait. The flag belongs to this end of the pipe alone.
pub fn set_non_blocking(descriptor: &impl AsRawFd) -> io::Result<()> {
    let fd = descriptor.as_raw_fd();
    // SAFETY: the descriptor is open since it is borrowed; F_GETFL and F_SETFL take and give plain integers.
    let code = unsafe {
        match libc::fcntl(fd, libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    match code {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Enlarges the pipe behind `descriptor`, where the system can; it is only a matter of speed.
pub fn enlarge_pipe(descriptor: &impl AsRawFd, bytes: libc::c_int) {
    #[cfg(target_os = "linux")]
    // SAFETY: the descriptor is open since it is borrowed; a refusal changes nothing.
    unsafe {
        libc::fcntl(descriptor.as_raw_fd(), libc::F_SETPIPE_SZ, bytes);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (descriptor, bytes);
}

/// Sets the dispositions of signals, whatever was inherited: the end of stdin is what ends this program. A SIGTERM to
/// the whole process tree must not come before the client has had its answers, and a broken pipe is an error of write.
pub fn set_signals() {
    // SIGXFSZ: a file that may not grow is an error of its write, which the engine reports as a full disk.
    let ignored = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGPIPE,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGXFSZ,
        // A log line to a terminal with `stty tostop` would stop the program for good.
        libc::SIGTTOU,
    ];
    let default = [libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGCHLD];
    // SAFETY: SIG_IGN and SIG_DFL are dispositions for each of these; no handler is installed.
    unsafe {
        for signal in ignored {
            libc::signal(signal, libc::SIG_IGN);
        }
        for signal in default {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Keeps the C allocator from setting up an arena for each of many threads, which would never shrink.
pub fn bound_allocator_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: called before other threads exist; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}

/// Bytes of a page of memory.
pub fn page_bytes() -> u64 {
    // SAFETY: takes and gives plain integers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The process that started this one; it changes when that one ends.
pub fn parent() -> u32 {
    std::os::unix::process::parent_id()
}
