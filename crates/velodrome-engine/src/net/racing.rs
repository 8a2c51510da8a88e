//! Which address to try when, and which attempt wins: "happy eyeballs", RFC 8305, section 5.
//!
//! A pure state machine with neither sockets nor clock, since the interesting cases are all matters of order. It
//! behaves as asyncio's `staggered_race`: the next attempt starts when the delay has passed since the last one
//! started, or as soon as that last one fails. An older attempt that fails later hurries nobody.

/// What the owner of the attempts is to do now.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Start the attempt on this candidate, and ask again.
    Start(usize),
    /// Wait for an attempt to end, or for this time if there is one, and ask again.
    Wait(Option<u64>),
    /// This candidate has won. The other attempts are to be given up.
    Won(usize),
    /// Every candidate has failed, or there was none.
    Lost,
}

/// When the next candidate starts.
#[derive(Copy, Clone, Debug)]
enum Next {
    AtOnce,
    At(u64),
    /// When the latest attempt has failed.
    AfterFailure,
}

/// A race between candidates, which are known by their number. Times are in nanoseconds.
#[derive(Debug)]
pub struct Race<E> {
    /// How each attempt failed, as far as it has; one place for each that was started.
    failures: Vec<Option<E>>,
    candidates: usize,
    delay: Option<u64>,
    next: Next,
    winner: Option<usize>,
}

impl<E> Race<E> {
    /// A race of `candidates`, of which one starts every `delay`; without a delay, one after the failure of the other.
    pub fn new(candidates: usize, delay: Option<u64>) -> Self {
        Self { failures: Vec::new(), candidates, delay, next: Next::AtOnce, winner: None }
    }

    /// What to do at the time `now`. To be asked until it is neither [`Step::Start`] nor a wait that has passed.
    pub fn step(&mut self, now: u64) -> Step {
        if let Some(winner) = self.winner {
            return Step::Won(winner);
        }
        let exhausted = self.failures.len() == self.candidates;
        match self.next {
            _ if exhausted && self.failures.iter().all(Option::is_some) => Step::Lost,
            _ if exhausted => Step::Wait(None),
            Next::AfterFailure => Step::Wait(None),
            Next::At(time) if time > now => Step::Wait(Some(time)),
            Next::At(_) | Next::AtOnce => Step::Start(self.start(now)),
        }
    }

    /// Records that a candidate has connected. False if another was first, or if it had not been started: then it
    /// is to be given up like the others.
    #[must_use]
    pub fn succeeded(&mut self, candidate: usize) -> bool {
        let wins = self.winner.is_none() && candidate < self.failures.len();
        if wins {
            self.winner = Some(candidate);
        }
        wins
    }

    /// Records that a candidate has failed.
    pub fn failed(&mut self, candidate: usize, error: E) {
        if candidate + 1 == self.failures.len() {
            self.next = Next::AtOnce;
        }
        if let Some(failure) = self.failures.get_mut(candidate) {
            *failure = Some(error);
        }
    }

    /// All failures, in the order of the candidates.
    pub fn into_errors(self) -> Vec<E> {
        self.failures.into_iter().flatten().collect()
    }

    fn start(&mut self, now: u64) -> usize {
        self.failures.push(None);
        self.next = self.delay.map_or(Next::AfterFailure, |delay| Next::At(now.saturating_add(delay)));
        self.failures.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn steps(race: &mut Race<&str>, now: u64, expected: &[Step]) {
        for step in expected {
            assert_eq!(race.step(now), *step);
        }
    }

    #[test]
    fn candidates_start_one_delay_apart() {
        let mut race = Race::new(3, Some(250));
        steps(&mut race, 1000, &[Step::Start(0), Step::Wait(Some(1250)), Step::Wait(Some(1250))]);
        steps(&mut race, 1249, &[Step::Wait(Some(1250))]);
        steps(&mut race, 1260, &[Step::Start(1), Step::Wait(Some(1510))]);
        steps(&mut race, 1510, &[Step::Start(2), Step::Wait(None)]);
    }

    #[test]
    fn the_failure_of_the_latest_starts_the_next_at_once() {
        let mut race = Race::new(3, Some(250));
        steps(&mut race, 0, &[Step::Start(0), Step::Wait(Some(250))]);
        race.failed(0, "refused");
        steps(&mut race, 10, &[Step::Start(1), Step::Wait(Some(260))]);
        steps(&mut race, 260, &[Step::Start(2), Step::Wait(None)]);
    }

    #[test]
    fn the_failure_of_an_older_one_hurries_nobody() {
        let mut race = Race::new(3, Some(250));
        steps(&mut race, 0, &[Step::Start(0)]);
        steps(&mut race, 250, &[Step::Start(1)]);
        race.failed(0, "late");
        steps(&mut race, 260, &[Step::Wait(Some(500))]);
    }

    #[test]
    fn without_a_delay_they_run_one_after_the_other() {
        let mut race = Race::new(2, None);
        steps(&mut race, 0, &[Step::Start(0), Step::Wait(None)]);
        race.failed(0, "a");
        steps(&mut race, 9, &[Step::Start(1), Step::Wait(None)]);
        race.failed(1, "b");
        steps(&mut race, 9, &[Step::Lost]);
        assert_eq!(race.into_errors(), ["a", "b"]);
    }

    #[test]
    fn the_first_success_wins() {
        let mut race = Race::new(3, Some(0));
        steps(&mut race, 0, &[Step::Start(0), Step::Start(1), Step::Start(2), Step::Wait(None)]);
        race.failed(2, "unreachable");
        assert!(race.succeeded(1));
        assert!(!race.succeeded(0));
        race.failed(0, "too late");
        steps(&mut race, 5, &[Step::Won(1)]);
        assert_eq!(race.into_errors(), ["too late", "unreachable"]);
    }

    #[test]
    fn a_race_of_nobody_is_lost_and_one_not_started_cannot_win() {
        steps(&mut Race::new(0, Some(1)), 0, &[Step::Lost]);
        assert!(!Race::<&str>::new(1, None).succeeded(0));
    }
}
