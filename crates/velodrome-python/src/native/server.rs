//! How a transport tells the asyncio server that it came from of its beginning and its end.
//!
//! A server of Python 3.12.2 and later has a `WeakSet` of its transports, which is Python code: a third of what a short
//! connection costs a program. So for a server of asyncio's own class the set inside is changed here, in the way that
//! `_probe.py` has seen `Server` and `WeakSet` do it; any other server is called.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::transport::Transport;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Ref, Result, clear_raised};
use crate::kit::types::This;
use crate::kit::{sets, weak};

static ATTACH: Imported = Imported::new("velodrome._support", "attach");
pub(crate) static DETACH: Imported = Imported::new("velodrome._support", "detach");
static SERVER: Imported = Imported::new("velodrome._support", "Server");
static SERVER_ATTACH: Imported = Imported::new("velodrome._support", "SERVER_ATTACH");
static SERVER_DETACH: Imported = Imported::new("velodrome._support", "SERVER_DETACH");
static WEAK_SET: Imported = Imported::new("velodrome._support", "WeakSet");
static ATTACH_NAME: Name = Name::new("_attach");
static DETACH_NAME: Name = Name::new("_detach");
static FUNCTION: Name = Name::new("__func__");
static SOCKETS: Name = Name::new("_sockets");
static CLIENTS: Name = Name::new("_clients");
static DATA: Name = Name::new("data");
static REMOVE: Name = Name::new("_remove");
static PENDING: Name = Name::new("_pending_removals");
static WAKEUP: Name = Name::new("_wakeup");

/// Whether this asyncio's servers were seen to do what is done here.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// Whether servers of asyncio's own class may be served as described above.
pub(crate) fn learn(known: bool) {
    KNOWN.store(known, Ordering::Relaxed);
}

/// What is inside the weak set of a server. Nothing here leads back to the server, or keeps a transport alive.
pub(super) struct Clients {
    data: Ref,
    /// The callback of the set's weak references.
    remove: Ref,
    /// References that died while somebody looked through the set.
    pending: Ref,
}

/// None if the server, or its set, is not one of asyncio's own.
pub(super) fn clients_of(server: &Obj) -> Option<Rc<Clients>> {
    if !KNOWN.load(Ordering::Relaxed) {
        return None;
    }
    let found = find_clients(server);
    if found.is_err() {
        clear_raised();
    }
    found.ok().flatten().map(Rc::new)
}

fn find_clients(server: &Obj) -> Result<Option<Clients>> {
    let known = server.is_exactly(SERVER.get()?)
        && is_method(server, &ATTACH_NAME, &SERVER_ATTACH)?
        && is_method(server, &DETACH_NAME, &SERVER_DETACH)?;
    if !known {
        return Ok(None);
    }
    let set = server.getattr(CLIENTS.get()?)?;
    let data = set.getattr(DATA.get()?)?;
    if !set.is_exactly(WEAK_SET.get()?) || !sets::is_exact_set(&data) {
        return Ok(None);
    }
    let (remove, pending) = (set.getattr(REMOVE.get()?)?, set.getattr(PENDING.get()?)?);
    Ok(Some(Clients { data, remove, pending }))
}

/// Whether the instance's method is asyncio's.
fn is_method(server: &Obj, name: &Name, function: &Imported) -> Result<bool> {
    Ok(server.getattr(name.get()?)?.getattr(FUNCTION.get()?)?.is(function.get()?))
}

/// Tell a server of a connection.
pub(super) fn attach(
    server: &Obj,
    transport: This<'_, Transport>,
    clients: Option<&Rc<Clients>>,
) -> Result<()> {
    let Some(clients) = clients.filter(|clients| clients.pending.len().is_ok_and(|pending| pending == 0))
    else {
        return ATTACH.get()?.call(&[server, transport.object()]).map(drop);
    };
    if server.getattr(SOCKETS.get()?)?.is_none() {
        // Its assertion fails.
        return ATTACH.get()?.call(&[server, transport.object()]).map(drop);
    }
    let reference = weak::reference_with(transport.object(), &clients.remove)?;
    sets::add(&clients.data, &reference)?;
    transport.server_entry.set(reference);
    let _ = transport.server_clients.set(Rc::clone(clients));
    Ok(())
}

/// Tell a server that a connection is gone.
pub(super) fn detach(server: &Obj, transport: This<'_, Transport>) -> Result<()> {
    let (clients, entry) = (transport.server_clients.get(), transport.server_entry.take());
    let (Some(clients), Some(entry)) = (clients, entry) else {
        return DETACH.get()?.call(&[server, transport.object()]).map(drop);
    };
    if clients.pending.len()? > 0 {
        return DETACH.get()?.call(&[server, transport.object()]).map(drop);
    }
    sets::discard(&clients.data, &entry)?;
    if clients.data.len()? == 0 && server.getattr(SOCKETS.get()?)?.is_none() {
        server.call_method(WAKEUP.get()?, [])?;
    }
    Ok(())
}
