//! Threads as the system knows them, and whether one moves on. Only Linux tells (`/proc`); elsewhere nothing is known.

use std::cell::Cell;
use std::fs;

/// No thread has this id.
const UNKNOWN: u32 = 0;

thread_local! {
    static CURRENT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The calling thread's id, to be given to [`progress`]; 0 if the system does not tell.
#[inline]
pub fn current() -> u32 {
    CURRENT.get().unwrap_or_else(|| {
        let link = fs::read_link("/proc/thread-self").ok();
        let id = link.and_then(|path| path.file_name()?.to_str()?.parse().ok()).unwrap_or(UNKNOWN);
        CURRENT.set(Some(id));
        id
    })
}

/// What a thread has done so far, to be compared with what it had done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that it has given to the system to write.
    pub written_bytes: u64,
    /// It waits for a disk now.
    pub waits_for_disk: bool,
}

impl Progress {
    /// It has written since, or waits for a disk.
    pub fn moves_on_since(&self, before: &Progress) -> bool {
        self.waits_for_disk || self.written_bytes > before.written_bytes
    }
}

/// What the thread has done; `None` if that is not known.
pub fn progress(thread: u32) -> Option<Progress> {
    let read = |name| fs::read_to_string(format!("/proc/self/task/{thread}/{name}")).ok();
    // https://docs.kernel.org/filesystems/proc.html, sections 1.1 and 3.3
    let written_bytes = read("io")?.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()?;
    // The state stands behind the name, in which a parenthesis may stand.
    let state = read("stat")?.rsplit_once(')')?.1.trim_start().chars().next()?;
    Some(Progress { written_bytes, waits_for_disk: state == 'D' })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_thread_that_writes_moves_on_and_one_that_computes_does_not() {
        let here = current();
        assert_ne!(here, UNKNOWN);
        assert_ne!(std::thread::spawn(current).join().unwrap(), here);
        let before = progress(here).unwrap();
        let still = Progress { waits_for_disk: false, ..progress(here).unwrap() };
        assert!(!still.moves_on_since(&before));
        tempfile::tempfile().unwrap().write_all(b"x").unwrap();
        assert!(progress(here).unwrap().moves_on_since(&before));
        assert_eq!(progress(UNKNOWN), None);
    }
}
