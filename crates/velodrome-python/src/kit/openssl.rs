//! OpenSSL as the interpreter's own `_ssl` has loaded it, driven under a genuine `ssl.SSLObject`.
//!
//! Python's object stays the owner of the `SSL` structure: it made it from the user's context, shakes hands, shuts down
//! and answers every question about the connection. What is done here is the reading and writing of records, which
//! through Python costs a call, an object and often an exception each. No second OpenSSL is linked: the functions are
//! those that `_ssl` itself resolved to, found through its handle; where it has none to show (OpenSSL linked into it
//! with its names hidden), nothing here is used.
//!
//! The pointer is the only private thing: the second field of `_ssl._SSLSocket`, between an unused reference and the
//! context, both of which are compared before anything is followed; then libssl itself says what belongs to what.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::ptr;

use pyo3::ffi;

use super::names::Once;
use super::object::{Obj, Slot};

/// libssl's `SSL`.
enum Ssl {}
/// libcrypto's `BIO`.
enum Bio {}

/// Do not load what is not loaded.
#[cfg(target_os = "macos")]
const RTLD_NOLOAD: c_int = 0x10;
#[cfg(not(target_os = "macos"))]
const RTLD_NOLOAD: c_int = 0x4;
const RTLD_LAZY: c_int = 0x1;

/// What `SSL_want` says when the last call stopped for want of something to read.
const SSL_READING: c_int = 3;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The functions used, with the signatures of OpenSSL 1.1.1 to 3.x.
struct Functions {
    version: unsafe extern "C" fn() -> c_ulong,
    read: unsafe extern "C" fn(*mut Ssl, *mut c_void, c_int) -> c_int,
    write: unsafe extern "C" fn(*mut Ssl, *const c_void, c_int) -> c_int,
    want: unsafe extern "C" fn(*const Ssl) -> c_int,
    pending: unsafe extern "C" fn(*const Ssl) -> c_int,
    app_data: unsafe extern "C" fn(*const Ssl, c_int) -> *mut c_void,
    context: unsafe extern "C" fn(*const Ssl) -> *mut c_void,
    server_name: unsafe extern "C" fn(*const Ssl, c_int) -> *const c_char,
    read_bio: unsafe extern "C" fn(*const Ssl) -> *mut Bio,
    write_bio: unsafe extern "C" fn(*const Ssl) -> *mut Bio,
    bio_read: unsafe extern "C" fn(*mut Bio, *mut c_void, c_int) -> c_int,
    bio_write: unsafe extern "C" fn(*mut Bio, *const c_void, c_int) -> c_int,
    bio_pending: unsafe extern "C" fn(*mut Bio) -> usize,
}

static FUNCTIONS: Once<Functions> = Once::new();

/// A function pointer out of a library's table.
///
/// # Safety
/// `handle` is from dlopen, and F is the type of the function of this name.
unsafe fn symbol<F: Copy>(handle: *mut c_void, name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the caller's promise; a function pointer is as large as a data pointer here.
    unsafe {
        let found = dlsym(handle, name.as_ptr());
        (!found.is_null()).then(|| std::mem::transmute_copy(&found))
    }
}

impl Functions {
    /// The functions that the module at `path`, loaded already, has been linked to.
    fn of_module(path: &CStr) -> Option<Self> {
        // SAFETY: loads nothing; a handle of a loaded module stays valid, because `_ssl` is never unloaded. The types are
        // those of OpenSSL's documentation.
        unsafe {
            let handle = dlopen(path.as_ptr(), RTLD_LAZY | RTLD_NOLOAD);
            if handle.is_null() {
                return None;
            }
            Some(Self {
                version: symbol(handle, c"OpenSSL_version_num")?,
                read: symbol(handle, c"SSL_read")?,
                write: symbol(handle, c"SSL_write")?,
                want: symbol(handle, c"SSL_want")?,
                pending: symbol(handle, c"SSL_pending")?,
                app_data: symbol(handle, c"SSL_get_ex_data")?,
                context: symbol(handle, c"SSL_get_SSL_CTX")?,
                server_name: symbol(handle, c"SSL_get_servername")?,
                read_bio: symbol(handle, c"SSL_get_rbio")?,
                write_bio: symbol(handle, c"SSL_get_wbio")?,
                bio_read: symbol(handle, c"BIO_read")?,
                bio_write: symbol(handle, c"BIO_write")?,
                bio_pending: symbol(handle, c"BIO_ctrl_pending")?,
            })
        }
    }
}

/// The Python objects that a connection is made of.
#[derive(Copy, Clone)]
pub(crate) struct Parts<'a> {
    /// `SSLObject._sslobj`, an `_ssl._SSLSocket`.
    pub(crate) socket: &'a Obj,
    /// Its `context`.
    pub(crate) context: &'a Obj,
    pub(crate) incoming: &'a Obj,
    pub(crate) outgoing: &'a Obj,
}

/// Learn, from a sample made for this, whether all is as this file takes it to be. `version` is what Python says of its
/// OpenSSL, `name` the sample's server name.
pub(crate) fn learn(path: &CStr, version: c_ulong, sample: Parts<'_>, name: &CStr) -> bool {
    if FUNCTIONS.get().is_none() {
        let Some(functions) = Functions::of_module(path) else { return false };
        // SAFETY: takes nothing.
        if unsafe { (functions.version)() } != version {
            return false;
        }
        // SAFETY: as `Connection::of`; a found pointer has been through all its checks.
        let named = unsafe { connect(&functions, sample) }.is_some_and(|ssl| {
            // SAFETY: an SSL, as checked; 0 is TLSEXT_NAMETYPE_host_name; the name lives as long as the SSL.
            unsafe {
                let given = (functions.server_name)(ssl, 0);
                !given.is_null() && CStr::from_ptr(given) == name
            }
        });
        if !named {
            return false;
        }
        FUNCTIONS.set(functions);
    }
    true
}

/// A field of a private structure: the `index`-th word behind the head that every object has.
///
/// # Safety
/// `object` is an instance of a type whose structure has so many words.
unsafe fn field(object: &Obj, index: usize) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { *object.as_ptr().add(1).cast::<*mut c_void>().add(index) }
}

fn has_fields(object: &Obj, count: usize) -> bool {
    // SAFETY: alive; the size of a type is set once it is ready.
    let size = unsafe { (*object.type_ptr()).tp_basicsize }.cast_unsigned();
    size >= size_of::<ffi::PyObject>() + count * size_of::<*mut c_void>()
}

/// The `SSL` of a `_ssl._SSLSocket`, if everything about it is as it should be.
///
/// # Safety
/// `parts` are instances of `_ssl`'s own types.
unsafe fn connect(functions: &Functions, parts: Parts<'_>) -> Option<*mut Ssl> {
    let Parts { socket, context, incoming, outgoing } = parts;
    if !has_fields(socket, 3) || ![context, incoming, outgoing].into_iter().all(|part| has_fields(part, 1)) {
        return None;
    }
    // SAFETY: large enough, as just seen. The SSL is followed only between its two known neighbours: no socket, since
    // this one is over BIOs, and the context.
    unsafe {
        let ssl = field(socket, 1).cast::<Ssl>();
        let placed = field(socket, 0).is_null() && ptr::eq(field(socket, 2), context.as_ptr().cast());
        if !placed || ssl.is_null() || !ssl.cast::<usize>().is_aligned() {
            return None;
        }
        let right = ptr::eq((functions.app_data)(ssl, 0), socket.as_ptr().cast())
            && ptr::eq((functions.context)(ssl), field(context, 0))
            && ptr::eq((functions.read_bio)(ssl).cast(), field(incoming, 0))
            && ptr::eq((functions.write_bio)(ssl).cast(), field(outgoing, 0));
        right.then_some(ssl)
    }
}

/// What came of a call.
pub(crate) enum Done {
    /// So many bytes.
    Bytes(usize),
    /// More must come from the peer first.
    Again,
    /// The end, or an error: OpenSSL's error queue says which, and Python's own object is to be asked.
    Other,
}

/// An `SSL` between two memory BIOs, all of them Python's.
pub(crate) struct Connection {
    functions: &'static Functions,
    /// The `_ssl._SSLSocket`, which owns the SSL, which has counts of the BIOs.
    owner: Slot,
    ssl: *mut Ssl,
    incoming: *mut Bio,
    outgoing: *mut Bio,
}

impl Connection {
    /// None if [`learn`] was not successful, or this connection is in any way not what it learnt.
    pub(crate) fn of(parts: Parts<'_>) -> Option<Self> {
        let functions = FUNCTIONS.get()?;
        // SAFETY: the caller (native/tls/session.rs) has compared the types with `_ssl`'s.
        let ssl = unsafe { connect(functions, parts) }?;
        // SAFETY: an SSL, as checked.
        let (incoming, outgoing) = unsafe { ((functions.read_bio)(ssl), (functions.write_bio)(ssl)) };
        Some(Self { functions, owner: Slot::new(parts.socket.to_ref()), ssl, incoming, outgoing })
    }

    /// What a collector is shown, and what it may empty; the connection is not used afterwards.
    pub(crate) fn owner(&self) -> &Slot {
        &self.owner
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.owner.is_empty()
    }

    fn settle(&self, result: c_int) -> Done {
        if let Ok(count @ 1..) = usize::try_from(result) {
            return Done::Bytes(count);
        }
        // SAFETY: the owner lives. Asking for the error would mean to clear OpenSSL's queue before each call; what the
        // call wanted is set anew by each, and a failure wants nothing.
        if unsafe { (self.functions.want)(self.ssl) } == SSL_READING { Done::Again } else { Done::Other }
    }

    /// Decrypt into `buffer`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Done {
        if !self.is_alive() {
            return Done::Other;
        }
        // SAFETY: the owner lives; the length is the buffer's, or less.
        self.settle(unsafe { (self.functions.read)(self.ssl, buffer.as_mut_ptr().cast(), int(buffer.len())) })
    }

    /// Encrypt some or all of `data`, which is not empty.
    pub(crate) fn write(&self, data: &[u8]) -> Done {
        if !self.is_alive() {
            return Done::Other;
        }
        // SAFETY: as read.
        self.settle(unsafe { (self.functions.write)(self.ssl, data.as_ptr().cast(), int(data.len())) })
    }

    /// How much of a decrypted record is left over.
    pub(crate) fn pending(&self) -> usize {
        if !self.is_alive() {
            return 0;
        }
        // SAFETY: the owner lives.
        usize::try_from(unsafe { (self.functions.pending)(self.ssl) }).unwrap_or(0)
    }

    /// How much ciphertext waits to be read.
    pub(crate) fn incoming(&self) -> usize {
        // SAFETY: the SSL, whose owner lives, has a count of the BIO.
        if self.is_alive() { unsafe { (self.functions.bio_pending)(self.incoming) } } else { 0 }
    }

    /// How much ciphertext waits to be sent.
    pub(crate) fn outgoing(&self) -> usize {
        // SAFETY: as above.
        if self.is_alive() { unsafe { (self.functions.bio_pending)(self.outgoing) } } else { 0 }
    }

    /// Hand ciphertext to OpenSSL. False if it has no memory for it.
    pub(crate) fn feed(&self, mut data: &[u8]) -> bool {
        while self.is_alive() && !data.is_empty() {
            // SAFETY: as above; the length is the data's, or less.
            let taken =
                unsafe { (self.functions.bio_write)(self.incoming, data.as_ptr().cast(), int(data.len())) };
            let Ok(taken @ 1..) = usize::try_from(taken) else { return false };
            data = &data[taken.min(data.len())..];
        }
        data.is_empty()
    }

    /// Fetch ciphertext that is to be sent; how much there was.
    pub(crate) fn fetch(&self, buffer: &mut [u8]) -> usize {
        if !self.is_alive() {
            return 0;
        }
        // SAFETY: as feed.
        let taken = unsafe {
            (self.functions.bio_read)(self.outgoing, buffer.as_mut_ptr().cast(), int(buffer.len()))
        };
        usize::try_from(taken).unwrap_or(0)
    }
}

/// A length as OpenSSL counts: what is longer goes in several calls.
fn int(length: usize) -> c_int {
    c_int::try_from(length).unwrap_or(c_int::MAX)
}
