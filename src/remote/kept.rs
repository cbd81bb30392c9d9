//! A stream that is kept on the server for the next statement of a busy caller, and closed when that does not come.

use super::machine::Baton;
use crate::network::slots::Slot;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// So many streams are kept on one server by all connections of this program; further ones end with their statements. A server has
/// room for 128 streams of all its clients (sqld's default). No option: `stream_idle_ms` is one, and 0 keeps none.
pub const KEPT_MAX: usize = 32;

/// The kept stream of one connection.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    baton: Option<(Baton, Slot)>,
    until: Option<Instant>,
    /// A task looks after it.
    watched: bool,
}

impl Kept {
    /// Takes it, for a request.
    pub fn take(&self) -> Option<Baton> {
        self.0.lock().baton.take().map(|(baton, _)| baton)
    }

    /// Keeps `baton` for `time`, after which `close` ends its stream. Gives back the one that was kept before, of which only
    /// one can be.
    #[must_use = "a server keeps a stream that nobody ends for 10 seconds"]
    pub fn put<F>(
        &self,
        runtime: &Runtime,
        (baton, slot): (Baton, Slot),
        time: Duration,
        close: impl FnOnce(Baton) -> F + Send + 'static,
    ) -> Option<Baton>
    where
        F: Future<Output = ()> + Send,
    {
        let mut inner = self.0.lock();
        let displaced = inner.baton.replace((baton, slot)).map(|(baton, _)| baton);
        inner.until = Some(Instant::now() + time);
        if std::mem::replace(&mut inner.watched, true) {
            return displaced;
        }
        drop(inner);
        let kept = self.clone();
        runtime.spawn(async move {
            if let Some(baton) = kept.outlived().await {
                close(baton).await;
            }
        });
        displaced
    }

    /// Waits until the stream has not been used for its time, and takes it; `None` if it is in use then: whoever keeps it
    /// again has it looked after again.
    async fn outlived(&self) -> Option<Baton> {
        loop {
            let until = {
                let mut inner = self.0.lock();
                match inner.until {
                    Some(until) if until > Instant::now() => until,
                    _ => {
                        inner.watched = false;
                        return inner.baton.take().map(|(baton, _)| baton);
                    }
                }
            };
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::slots::Slots;
    use std::sync::mpsc;

    fn baton(text: &str) -> Baton {
        Baton { text: text.to_owned(), base: None }
    }

    #[test]
    fn what_is_not_used_again_is_closed_and_what_is_used_is_not() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let kept = Kept::default();
        let slots = Slots::default();
        let (closed, heard) = mpsc::channel();
        let put = |text: &str| {
            let closed = closed.clone();
            kept.put(
                &runtime,
                (baton(text), slots.take(2).unwrap()),
                Duration::from_millis(20),
                move |baton| async move {
                    closed.send(baton.text).unwrap();
                },
            )
        };
        assert_eq!(put("a"), None);
        assert_eq!(kept.take(), Some(baton("a")));
        assert_eq!(kept.take(), None);
        assert_eq!(put("b"), None);
        assert_eq!(heard.recv_timeout(Duration::from_secs(60)).as_deref(), Ok("b"));
        assert_eq!(kept.take(), None);
        assert_eq!(put("c"), None);
        assert_eq!(put("d"), Some(baton("c")), "there is room for one");
        assert_eq!(
            heard.recv_timeout(Duration::from_secs(60)).as_deref(),
            Ok("d"),
            "it is looked after again"
        );
    }
}
