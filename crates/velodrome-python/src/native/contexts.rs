//! Copies of contexts that are made only when somebody could tell the difference.
//!
//! Each callback runs in a copy of the context it was scheduled in. Nearly always nothing was set since the last copy,
//! and the callback sets nothing either, so 100,000 callbacks would have 100,000 equal copies: 64 bytes each, and work
//! for the collector. So what is handed out is one *snapshot*, for as long as the current context has the same
//! variables, and nobody runs in it. Who runs does it in a context *made from* the snapshot, which is used again if it
//! came out as it went in and nobody has kept it.

use std::cell::Cell;

use crate::kit::context::{copy, copy_current, current_variables, variables};
use crate::kit::object::{Ref, Result, Slot};
use crate::kit::types::Visit;

/// A context, or a snapshot from which one is to be made before anyone runs in it or sees it.
pub(crate) enum Copied {
    Own(Ref),
    Snapshot(Ref),
}

/// What a loop shares between the callbacks it is given.
#[derive(Default)]
pub(crate) struct Contexts {
    snapshot: Slot,
    /// The snapshot's, which nobody changes.
    variables: Cell<usize>,
    /// Made from the snapshot, to run in.
    runner: Slot,
}

/// A context that callbacks of one object run in. It is the object's own from the first of them on.
#[derive(Default)]
pub(crate) struct ContextSlot {
    pub(crate) slot: Slot,
    snapshot: Cell<bool>,
}

impl ContextSlot {
    pub(crate) fn set(&self, copied: Copied) {
        self.snapshot.set(matches!(copied, Copied::Snapshot(_)));
        let (Copied::Own(context) | Copied::Snapshot(context)) = copied;
        self.slot.set(context);
    }

    /// Make it the object's own.
    pub(crate) fn settle(&self, contexts: &Contexts) -> Result<()> {
        contexts.settle(&self.slot, &self.snapshot)
    }

    /// Whether [`Self::settle`] has been called, or is not needed.
    pub(crate) fn is_settled(&self) -> bool {
        !self.snapshot.get()
    }
}

impl Contexts {
    /// Put a context to run in where a snapshot is.
    #[inline]
    pub(crate) fn settle(&self, slot: &Slot, snapshot: &Cell<bool>) -> Result<()> {
        if !snapshot.get() {
            return Ok(());
        }
        if let Some(runner) = self.runner_for(slot.as_ptr()) {
            snapshot.set(false);
            slot.set(runner);
            return Ok(());
        }
        self.settle_anew(slot, snapshot)
    }

    /// A context to run in, for a snapshot that the caller gives up.
    #[inline]
    pub(crate) fn to_run_in(&self, snapshot: Ref) -> Result<Ref> {
        match self.runner_for(snapshot.as_ptr()) {
            Some(runner) => Ok(runner),
            None => self.make(snapshot),
        }
    }

    fn settle_anew(&self, slot: &Slot, snapshot: &Cell<bool>) -> Result<()> {
        if let Some(taken) = slot.take() {
            snapshot.set(false);
            slot.set(self.make(taken)?);
        }
        Ok(())
    }

    /// The current context, copied.
    #[inline]
    pub(crate) fn copy_current(&self) -> Result<Copied> {
        // Nearly always, and then not even a copy to compare with is made.
        if let Some(now) = current_variables()
            && let Some(snapshot) = self.snapshot.get()
            && self.variables.get() == now
        {
            return Ok(Copied::Snapshot(snapshot));
        }
        self.take_snapshot()
    }

    fn take_snapshot(&self) -> Result<Copied> {
        let made = copy_current()?;
        let Some(now) = variables(&made) else { return Ok(Copied::Own(made)) };
        if let Some(snapshot) = self.snapshot.get()
            && self.variables.get() == now
        {
            return Ok(Copied::Snapshot(snapshot));
        }
        self.variables.set(now);
        drop((self.runner.take(), self.snapshot.replace(Some(made.clone()))));
        Ok(Copied::Snapshot(made))
    }

    /// The context that is used again, if this snapshot is the one it was made from.
    #[inline]
    fn runner_for(&self, snapshot: *mut pyo3::ffi::PyObject) -> Option<Ref> {
        let runner = self.runner.get().filter(|_| self.snapshot.as_ptr() == snapshot)?;
        // Two counts: ours, and the one just taken.
        (runner.count() == 2 && variables(&runner) == Some(self.variables.get())).then_some(runner)
    }

    /// A context with a snapshot's variables that nobody else runs in, or will. The caller gives its own reference up.
    fn make(&self, snapshot: Ref) -> Result<Ref> {
        if self.snapshot.as_ptr() != snapshot.as_ptr() {
            // The last one who has it may run in it.
            return if snapshot.count() == 1 { Ok(snapshot) } else { copy(&snapshot) };
        }
        let made = copy(&snapshot)?;
        drop(self.runner.replace(Some(made.clone())));
        Ok(made)
    }

    /// Forget what nobody waits to run in: an idle loop must not keep the values of somebody's variables alive.
    pub(crate) fn let_go(&self) {
        for slot in [&self.runner, &self.snapshot] {
            if slot.get().is_some_and(|context| context.count() == 2) {
                drop(slot.take());
            }
        }
    }

    pub(crate) fn traverse(&self, visit: &mut Visit) {
        visit.slot(&self.snapshot);
        visit.slot(&self.runner);
    }

    pub(crate) fn clear(&self) {
        drop((self.snapshot.take(), self.runner.take()));
    }
}
