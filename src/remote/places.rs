//! Which server a read by itself goes to, and which ones are next if that one is not there. Pure.

use port_driver::request::ReadFrom;

/// A server of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that is written to.
    Primary,
    /// The one of this number among those that follow it.
    Replica(usize),
}

/// A server, and what may be read there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub place: Place,
    /// What it has is taken as it is, since the primary is not there. Else it has to have what this program has written.
    pub stale: bool,
}

/// What is known of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Requests are sent to it.
    pub is_asked: bool,
    /// How far away it is, if that was measured.
    pub latency_ns: Option<u64>,
}

/// What a connection has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where reads go.
    pub read_from: ReadFrom,
    /// Which of those that follow are read while the primary is not there.
    pub fallback: Vec<bool>,
}

impl Choice {
    /// True if there is anything but the primary.
    pub fn is_one(&self) -> bool {
        self.read_from != ReadFrom::Primary || self.fallback.iter().any(|&allowed| allowed)
    }

    /// The servers for a read, the best one first. `turn` shares the reads out among those that are as good.
    pub fn candidates(
        &self,
        read_from: ReadFrom,
        primary: Known,
        replicas: &[Known],
        turn: usize,
    ) -> Vec<Candidate> {
        let fresh = |place| Candidate { place, stale: false };
        let asked = |which: &dyn Fn(usize) -> bool| -> Vec<usize> {
            let mut asked: Vec<_> =
                (0..replicas.len()).filter(|&index| replicas[index].is_asked && which(index)).collect();
            if !asked.is_empty() {
                let by = turn % asked.len();
                asked.rotate_left(by);
            }
            asked
        };
        let mut candidates: Vec<Candidate> = match read_from {
            ReadFrom::Primary => vec![fresh(Place::Primary)],
            ReadFrom::Replica => {
                let replicas = asked(&|_| true).into_iter().map(|index| fresh(Place::Replica(index)));
                replicas.chain([fresh(Place::Primary)]).collect()
            }
            ReadFrom::Nearest => {
                let latency = |known: &Known| known.latency_ns.unwrap_or(u64::MAX);
                let mut all: Vec<_> = asked(&|_| true)
                    .into_iter()
                    .map(|index| (latency(&replicas[index]), fresh(Place::Replica(index))))
                    .collect();
                // In front of those that are as far away; the last one if it is not there.
                let first = if primary.is_asked { latency(&primary) } else { u64::MAX };
                all.insert(if primary.is_asked { 0 } else { all.len() }, (first, fresh(Place::Primary)));
                all.sort_by_key(|(latency, _)| *latency);
                all.into_iter().map(|(_, candidate)| candidate).collect()
            }
        };
        let allowed = |index: usize| self.fallback.get(index).copied().unwrap_or(false);
        candidates.extend(
            asked(&allowed).into_iter().map(|index| Candidate { place: Place::Replica(index), stale: true }),
        );
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use Place::{Primary, Replica};

    fn known(is_asked: bool, latency_ns: Option<u64>) -> Known {
        Known { is_asked, latency_ns }
    }

    fn places(
        read_from: ReadFrom,
        fallback: &[bool],
        primary: Known,
        replicas: &[Known],
        turn: usize,
    ) -> Vec<(Place, bool)> {
        let choice = Choice { read_from, fallback: fallback.to_vec() };
        let candidates = choice.candidates(read_from, primary, replicas, turn);
        candidates.into_iter().map(|candidate| (candidate.place, candidate.stale)).collect()
    }

    #[test]
    fn where_reads_go() {
        let there = known(true, None);
        let gone = known(false, None);
        let two = [there, there];
        let none = [false, false];
        assert_eq!(places(ReadFrom::Primary, &none, there, &two, 0), [(Primary, false)]);
        assert_eq!(
            places(ReadFrom::Primary, &[true, false], gone, &two, 0),
            [(Primary, false), (Replica(0), true)]
        );
        let turns: Vec<_> =
            (0..3).map(|turn| places(ReadFrom::Replica, &none, there, &two, turn)[0].0).collect();
        assert_eq!(turns, [Replica(0), Replica(1), Replica(0)]);
        assert_eq!(
            places(ReadFrom::Replica, &[true, true], there, &[gone, there], 0),
            [(Replica(1), false), (Primary, false), (Replica(1), true)]
        );
        let near = known(true, Some(1));
        let far = known(true, Some(9));
        let order = |primary, replicas: &[Known]| -> Vec<Place> {
            places(ReadFrom::Nearest, &none, primary, replicas, 0)
                .into_iter()
                .map(|(place, _)| place)
                .collect()
        };
        assert_eq!(order(near, &[far, there]), [Primary, Replica(0), Replica(1)]);
        assert_eq!(order(far, &[there, near]), [Replica(1), Primary, Replica(0)]);
        assert_eq!(order(known(false, Some(1)), &[far, near]), [Replica(1), Replica(0), Primary]);
        assert_eq!(order(there, &[there]), [Primary, Replica(0)], "nothing is measured yet");
    }

    proptest! {
        /// The primary is always among them, and what is not asked, or not allowed, never is.
        #[test]
        fn nobody_is_read_who_may_not_be(
            read_from in prop::sample::select(vec![ReadFrom::Primary, ReadFrom::Replica, ReadFrom::Nearest]),
            primary in (any::<bool>(), any::<Option<u64>>()),
            replicas in prop::collection::vec((any::<bool>(), any::<Option<u64>>(), any::<bool>()), 0..5),
            turn in any::<usize>()
        ) {
            let of: Vec<_> = replicas.iter().map(|&(asked, latency, _)| known(asked, latency)).collect();
            let fallback: Vec<_> = replicas.iter().map(|&(_, _, allowed)| allowed).collect();
            let places = places(read_from, &fallback, known(primary.0, primary.1), &of, turn);
            prop_assert_eq!(places.iter().filter(|place| **place == (Primary, false)).count(), 1);
            for &(place, stale) in &places {
                match place {
                    Primary => prop_assert!(!stale),
                    Replica(index) => {
                        prop_assert!(of[index].is_asked);
                        let may = if stale { fallback[index] } else { read_from != ReadFrom::Primary };
                        prop_assert!(may);
                    }
                }
            }
            let mut each = places.clone();
            each.dedup();
            prop_assert_eq!(each.len(), places.len());
        }
    }
}
