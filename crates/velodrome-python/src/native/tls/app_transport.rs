//! `_core.SSLTransport`: asyncio's `_SSLProtocolTransport` with native methods for what happens in every message.

use std::ffi::CStr;

use super::protocol::{Protocol, SslProtocol};
use super::writing;
use crate::kit::attributes::{Attribute, Attributes};
use crate::kit::buffer::is_data;
use crate::kit::methods::Method;
use crate::kit::names::Imported;
use crate::kit::object::{Obj, Ref, Result, boolean, none, type_error};
use crate::kit::types::{Layout, Native, This, Visit, make_overlay};

static ASYNCIO_TRANSPORT: Imported = Imported::new("asyncio.sslproto", "_SSLProtocolTransport");
static INHERITED_WRITE: Imported = Imported::new("velodrome._tls", "transport_write");
static INHERITED_WRITELINES: Imported = Imported::new("velodrome._tls", "transport_writelines");
static SSL_PROTOCOL: Attribute = Attribute::new(&ASYNCIO_TRANSPORT, "_ssl_protocol");
static CLOSED: Attribute = Attribute::new(&ASYNCIO_TRANSPORT, "_closed");

/// asyncio's class with native methods; it adds no storage.
pub(crate) struct SslTransport;

pub(crate) fn make_type() -> Result<Ref> {
    make_overlay::<SslTransport>(ASYNCIO_TRANSPORT.get()?)
}

type Transport<'a> = This<'a, SslTransport>;

/// The attributes of a transport of this very class.
pub(crate) fn exactly(object: &Obj) -> Result<Option<Attributes<'_>>> {
    if object.type_ptr() == SslTransport::layout().type_ptr() {
        Attributes::of(object).map(Some)
    } else {
        Ok(None)
    }
}

pub(crate) fn write(this: &Attributes<'_>, data: &Obj) -> Result<Ref> {
    if !is_data(data) {
        let kind = data.type_name();
        return Err(type_error(&format!("data: expecting a bytes-like instance, got {kind}")));
    }
    if !data.is_true()? {
        return Ok(none());
    }
    let protocol = this.get(&SSL_PROTOCOL)?;
    match Protocol::of(&protocol) {
        Some(protocol) => writing::write(protocol, data).map(|()| none()),
        // Closed twice: asyncio has its own answer.
        None => INHERITED_WRITE.get()?.call(&[this.object(), data]),
    }
}

fn writelines(this: Transport<'_>, lines: &Obj) -> Result<Ref> {
    let protocol = this.object().getattr(SSL_PROTOCOL.name()?)?;
    match This::<SslProtocol>::of(&protocol) {
        Some(protocol) => writing::write_lines(protocol, lines).map(|()| none()),
        None => INHERITED_WRITELINES.get()?.call(&[this.object(), lines]),
    }
}

/// Closing, too, when the transport below is: what is written would not arrive.
pub(crate) fn is_closing(this: &Attributes<'_>) -> Result<bool> {
    if this.is_true(&CLOSED)? {
        return Ok(true);
    }
    let protocol = this.get(&SSL_PROTOCOL)?;
    match Protocol::of(&protocol) {
        Some(protocol) => protocol.transport_is_closing(),
        None => Ok(false),
    }
}

impl Native for SslTransport {
    const NAME: &'static CStr = c"velodrome._core.SSLTransport";
    const DOC: &'static CStr = c"The transport of a TLS connection; see asyncio.Transport.";

    fn layout() -> &'static Layout {
        static LAYOUT: Layout = Layout::new();
        &LAYOUT
    }

    fn methods() -> Vec<Method> {
        type T = SslTransport;
        vec![
            Method::named::<T, _, _>(
                c"write",
                |this, data| write(&Attributes::of(this.object())?, data),
                |args| args.sole("write", "data"),
                c"write($self, data)\n--\n\nEncrypt and send data.",
            ),
            Method::named::<T, _, _>(
                c"writelines",
                writelines,
                |args| args.sole("writelines", "list_of_data"),
                c"writelines($self, list_of_data)\n--\n\nEncrypt and send all of an iterable of data.",
            ),
            Method::noargs::<T, _>(
                c"is_closing",
                |this| is_closing(&Attributes::of(this.object())?).map(boolean),
                c"Whether the transport is closing or closed.",
            ),
        ]
    }

    fn traverse(&self, _visit: &mut Visit) {}

    fn clear(&self) {}
}
