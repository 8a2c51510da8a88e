//! How a future is given up at one point after the other.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use velodrome::{Instant, timeout};

/// More points than any future here has: what waits longer waits for ever.
const MOST: usize = 200;

/// Longer than any row takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Descriptors are counted, so one row runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// When a future is given up: after it has said so many times that it waits.
#[derive(Copy, Clone, Debug)]
struct Point {
    waits: usize,
    /// Not at once, but when it has been woken.
    woken: bool,
}

/// The chance to give up one future. A row uses it once.
pub(crate) struct Chance {
    point: Point,
    waited: Cell<usize>,
    finished: Cell<bool>,
    used: Cell<bool>,
}

impl Chance {
    fn at(point: Point) -> Self {
        Self { point, waited: Cell::new(0), finished: Cell::new(false), used: Cell::new(false) }
    }

    /// Whether what the future waited for had come when it was given up.
    pub(crate) fn was_woken(&self) -> bool {
        self.point.woken && self.point.waits > 0 && !self.finished.get()
    }

    /// The output of `future`, or none if it was given up; it is dropped when this returns.
    pub(crate) async fn take<F: Future>(&self, future: F) -> Option<F::Output> {
        assert!(!self.used.replace(true), "a row gives up one future");
        let mut future = pin!(future);
        poll_fn(|cx| {
            if self.waited.get() == self.point.waits {
                return Poll::Ready(None);
            }
            let poll = future.as_mut().poll(cx).map(Some);
            self.finished.set(poll.is_ready());
            self.waited.set(self.waited.get() + usize::from(poll.is_pending()));
            match poll {
                Poll::Pending if self.waited.get() == self.point.waits && !self.point.woken => {
                    Poll::Ready(None)
                }
                poll => poll,
            }
        })
        .await
    }
}

/// A future that waits for nothing and has no point but the one before it.
pub(crate) fn never_waits(row: impl AsyncFn(&Chance)) {
    assert_eq!(each_point(row), 0, "it waits by now: say give_up");
}

/// Runs `row` once for each point, and once to the end.
pub(crate) fn give_up(row: impl AsyncFn(&Chance)) {
    // More than once: the thread of a look-up may have its answer before it is first asked for it.
    let waited = (0..5).any(|_| each_point(&row) != 0);
    assert!(waited, "it never waited, so nothing was given up but what had not begun");
}

/// How often the future waited when it was left in peace.
fn each_point(row: impl AsyncFn(&Chance)) -> usize {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What a process keeps once it has it (the bells of signals) is there when descriptors are first counted.
    run_once(Point { waits: MOST, woken: false }, &row);
    for waits in 0..MOST {
        let points = [false, true].map(|woken| Point { waits, woken });
        let chances = points.map(|point| run(point, &row));
        if chances.iter().all(|chance| chance.finished.get()) {
            return chances[0].waited.get();
        }
    }
    panic!("it was never done");
}

fn run(point: Point, row: &impl AsyncFn(&Chance)) -> Chance {
    let before = descriptors();
    let chance = run_once(point, row);
    assert_eq!(descriptors(), before, "given up at {point:?}, it left descriptors");
    chance
}

fn run_once(point: Point, row: &impl AsyncFn(&Chance)) -> Chance {
    let chance = Chance::at(point);
    let told: Pin<Box<dyn Future<Output = _>>> = Box::pin(timeout(PATIENCE, row(&chance)));
    let ended = velodrome::run(told).unwrap();
    assert!(ended.is_ok(), "given up at {point:?}, it stood still");
    assert!(chance.used.get(), "the row has not given its future");
    chance
}

/// What is open once the loop's threads have ended: a lookup that is given up goes on, and holds the loop's door meanwhile.
fn descriptors() -> Vec<String> {
    let begin = Instant::now();
    while threads().any(|name| name.starts_with("velodrome")) {
        assert!(begin.elapsed() < PATIENCE, "a thread of the loop does not end");
        std::thread::yield_now();
    }
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let mut names: Vec<_> = open.filter_map(|entry| entry.path().read_link().ok()).collect();
    names.retain(|name| !name.ends_with("fd"));
    names.iter().map(|name| name.to_string_lossy().split(':').next().unwrap_or_default().to_owned()).collect()
}

fn threads() -> impl Iterator<Item = String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
}
