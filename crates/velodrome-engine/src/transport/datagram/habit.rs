//! Whether it pays to receive several datagrams by one call: guessed from what came before.
//!
//! Pure. A call for several costs a lone datagram a third more than a plain receive, and saves half of all system calls
//! (each wait and each receive but one in a batch) where several wait; nothing tells beforehand which it will be. So a
//! socket that had several goes on with such calls for as long as they bring several, and any other tries one now and
//! then.

/// Plain receives between two tries when the last ones found a lone datagram: so many that trying is lost in the noise.
const LONGEST: u8 = 64;

/// What the socket did lately.
#[derive(Copy, Clone, Debug)]
pub(super) struct Habit {
    /// Plain receives until the next try.
    wait: u8,
    /// How many to wait after a try in vain; doubles with each.
    patience: u8,
    /// Its datagrams may be larger than the room that a batch has for each.
    never: bool,
}

impl Habit {
    /// Whether the next receive should ask for several. Counts the plain ones.
    pub(super) fn expects_several(&mut self) -> bool {
        if self.wait == 0 {
            return !self.never;
        }
        self.wait -= 1;
        false
    }

    /// Datagrams of this socket may be of any size.
    pub(super) fn never(&mut self) {
        self.never = true;
    }

    /// A receive of several brought so many.
    pub(super) fn note(&mut self, count: usize) {
        if count > 1 {
            (self.wait, self.patience) = (0, 1);
        } else {
            self.wait = self.patience;
            self.patience = (self.patience * 2).min(LONGEST);
        }
    }
}

impl Default for Habit {
    /// The first datagram of a socket is as a rule alone; and who sent it tells of which kind the socket is.
    fn default() -> Self {
        Self { wait: 1, patience: 2, never: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the next `receives` ask for several, of which each brings `count`.
    fn tries(habit: &mut Habit, receives: usize, count: usize) -> usize {
        let mut tried = 0;
        for _ in 0..receives {
            if habit.expects_several() {
                habit.note(count);
                tried += 1;
            }
        }
        tried
    }

    #[test]
    fn who_has_several_is_asked_for_several() {
        let mut habit = Habit::default();
        assert!(!habit.expects_several(), "not the very first");
        assert_eq!(tries(&mut habit, 10, 2), 10);
    }

    #[test]
    fn lone_datagrams_are_rarely_asked_for_more() {
        let mut habit = Habit::default();
        assert!(tries(&mut habit, 130, 1) <= 8);
        assert_eq!(tries(&mut habit, 65 * 10, 1), 10);
        assert_eq!(tries(&mut habit, 65 * 10, 0), 10, "nothing is no more than one");
        assert!(tries(&mut habit, 80, 3) > 10, "and found out when there are more");
    }
}
