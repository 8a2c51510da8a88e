//! What is known about a transport's connection: addresses, the socket object, `get_extra_info`, `repr`.

use std::rc::Rc;

use velodrome_engine::sys;
use velodrome_engine::transport::stream::Stream;

use super::addresses;
use super::transport::Transport;
use crate::kit::methods::Args;
use crate::kit::names::{Imported, Name};
use crate::kit::object::{Obj, Ref, Result, clear_raised, dict, dict_get, dict_set, long, none, text};
use crate::kit::types::This;

static MAKE_SOCKET: Imported = Imported::new("velodrome._support", "socket_over");
static TRANSPORT_SOCKET: Imported = Imported::new("asyncio.trsock", "TransportSocket");
static SOCKET: Name = Name::new("socket");
static PEERNAME: Name = Name::new("peername");
static SOCKNAME: Name = Name::new("sockname");
static CLOSE: Name = Name::new("close");
static DETACH: Name = Name::new("detach");

/// Learn the addresses while the connection is there: they are wanted after it is gone, too.
pub(super) fn learn_addresses(this: This<'_, Transport>) {
    let Some(stream) = this.stream.get() else { return };
    // The listener knows the peer of what it accepts, and lets it send at once.
    let accepted = this.peer.get().is_some();
    if let Ok(name) = sys::getsockname(stream.fd()) {
        if !accepted && name.as_socket_addr().is_some() {
            // Small writes must not wait for the peer's acknowledgement. Fails only on a socket that is gone.
            let _ = sys::set_nodelay(stream.fd(), true);
        }
        let _ = this.name.set(name);
    }
    if !accepted && let Ok(peer) = sys::getpeername(stream.fd()) {
        let _ = this.peer.set(peer);
    }
}

/// The Python socket, made if nobody brought one. It does not own the descriptor: see [`release_socket`].
fn socket(this: This<'_, Transport>) -> Result<Ref> {
    if let Some(socket) = this.socket.get() {
        return Ok(socket);
    }
    let stream = this.stream()?;
    if stream.is_closed() {
        return Ok(none());
    }
    let socket = MAKE_SOCKET.get()?.call(&[&*long(i64::from(stream.fd()))?])?;
    this.socket.set(socket.clone());
    Ok(socket)
}

/// Let go of the Python socket at the end: close the user's, which is shown to who asks later; detach ours. If someone closed
/// ours meanwhile, its number may name a stranger's file by now, so the engine must not close it again.
pub(super) fn release_socket(this: This<'_, Transport>) {
    let Some(socket) = this.socket.take() else { return };
    let released = if this.users_socket.get() {
        let closed = CLOSE.get().and_then(|close| socket.call_method(close, []));
        this.socket.set(socket);
        closed
    } else {
        detach(this, &socket)
    };
    if released.is_err() {
        clear_raised();
    }
}

fn detach(this: This<'_, Transport>, socket: &Obj) -> Result<Ref> {
    let number = socket.call_method(DETACH.get()?, [])?;
    if number.as_long()? < 0 {
        this.stream()?.forget_descriptor();
    }
    Ok(number)
}

/// The stream, for who is handed its descriptor, and may send by it, or shut it down: what was written before goes first.
fn handing_out<'a>(this: This<'a, Transport>) -> Result<&'a Rc<Stream>> {
    let stream = this.stream()?;
    stream.flush_gathered();
    Ok(stream)
}

/// `_sock`: None once closed, as asyncio has it.
pub(super) fn get_sock(this: This<'_, Transport>) -> Result<Ref> {
    if handing_out(this)?.is_closed() { Ok(none()) } else { socket(this) }
}

pub(super) fn get_sock_fd(this: This<'_, Transport>) -> Result<Ref> {
    long(i64::from(handing_out(this)?.fd()))
}

/// Nobody asked for the socket before it was closed: one that is closed, of the same kind.
fn closed_socket(this: This<'_, Transport>) -> Result<Ref> {
    static CLOSED_SOCKET: Imported = Imported::new("velodrome._support", "closed_socket");
    match this.name.get() {
        Some(name) => CLOSED_SOCKET.get()?.call(&[&*long(i64::from(name.family().as_raw()))?]),
        None => Ok(none()),
    }
}

fn public_socket(this: This<'_, Transport>) -> Result<Ref> {
    if let Some(found) = this.public_socket.get() {
        return Ok(found);
    }
    let mut socket = socket(this)?;
    if socket.is_none() {
        socket = closed_socket(this)?;
    }
    if socket.is_none() {
        return Ok(socket);
    }
    let made = TRANSPORT_SOCKET.get()?.call(&[&*socket])?;
    this.public_socket.set(made.clone());
    Ok(made)
}

/// A fact that is not in the dict (yet).
fn fact(this: This<'_, Transport>, name: &str) -> Result<Option<Ref>> {
    match name {
        "socket" => public_socket(this).map(Some),
        "peername" => addresses::shown(this.peer.get()).map(Some),
        "sockname" => addresses::shown(this.name.get()).map(Some),
        _ => Ok(None),
    }
}

pub(super) fn get_extra_info(this: This<'_, Transport>, args: Args<'_>) -> Result<Ref> {
    static NAME: Name = Name::new("name");
    static DEFAULT: Name = Name::new("default");
    let [name, default] = args.parse("get_extra_info", [NAME.get()?, DEFAULT.get()?])?;
    let Some(name) = name else { return args.required(0, "get_extra_info", "name").map(Obj::to_ref) };
    if text(name) == Some("socket") {
        handing_out(this)?;
    }
    if let Some(extra) = this.extra.get()
        && let Some(found) = dict_get(&extra, name)?
    {
        return Ok(found);
    }
    if text(name).is_none() {
        // Nothing has such a name, but an unhashable one is an error, as for any dict.
        dict_get(&*dict()?, name)?;
    }
    match text(name).map(|name| fact(this, name)).transpose()?.flatten() {
        Some(found) => Ok(found),
        None => Ok(default.map_or_else(none, Obj::to_ref)),
    }
}

/// `_extra`, complete: libraries read and write it.
pub(super) fn get_extra(this: This<'_, Transport>) -> Result<Ref> {
    handing_out(this)?;
    let extra = match this.extra.get() {
        Some(extra) => extra,
        None => dict()?,
    };
    for name in [SOCKET.get()?, PEERNAME.get()?, SOCKNAME.get()?] {
        if dict_get(&extra, name)?.is_none()
            && let Some(value) = fact(this, text(name).unwrap_or_default())?
        {
            dict_set(&extra, name, &value)?;
        }
    }
    this.extra.set(extra.clone());
    Ok(extra)
}

pub(super) fn set_extra(this: This<'_, Transport>, value: &Obj) -> Result<()> {
    this.extra.set(value.to_ref());
    Ok(())
}

/// `repr()`, with what asyncio's says.
pub(super) fn describe(this: This<'_, Transport>) -> Result<String> {
    let stream = this.stream()?;
    let state = match (stream.is_closed(), stream.is_closing()) {
        (true, _) => " closed",
        (_, true) => " closing",
        _ => "",
    };
    let mut text = format!("<StreamTransport{state} fd={}", stream.fd());
    if !stream.is_closed() {
        let read = if stream.polls_read() { "polling" } else { "idle" };
        let write = if stream.polls_write() { "polling" } else { "idle" };
        text += &format!(" read={read} write=<{write}, bufsize={}>", stream.buffered());
    }
    Ok(text + ">")
}
