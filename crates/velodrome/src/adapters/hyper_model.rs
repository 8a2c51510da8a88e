//! A nap that a thread keeps, under loom, which runs every interleaving: `make loom`.

use std::task::Wake;

use super::*;
use crate::atomics::Condvar;

/// Somebody who waits to be woken; loom reports who waits for ever.
#[derive(Default)]
struct Sleeper {
    woken: Mutex<bool>,
    told: Condvar,
}

impl Sleeper {
    fn wait(&self) {
        let woken = self.woken.lock().unwrap();
        drop(self.told.wait_timeout_while(woken, Duration::MAX, |woken| !*woken));
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.told.notify_all();
    }
}

/// The end may come before a second look, during it, or afterwards: then it is told to who looked last.
#[test]
fn the_end_of_a_nap_is_found_or_wakes_who_looked_last() {
    loom::model(|| {
        let [first, last] = [(); 2].map(|()| Arc::new(Sleeper::default()));
        let mut nap = Nap::new(Duration::ZERO);
        let mut poll = |sleeper: &Arc<Sleeper>| {
            let waker = Waker::from(Arc::clone(sleeper));
            Pin::new(&mut nap).poll(&mut Context::from_waker(&waker))
        };
        assert!(poll(&first).is_pending(), "it has only begun");
        if poll(&last).is_pending() {
            last.wait();
            assert!(poll(&last).is_ready());
        }
    });
}
