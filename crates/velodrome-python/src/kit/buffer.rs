//! The bytes inside bytes-like objects.

use std::io;

use pyo3::ffi;
use velodrome_engine::transport::write_queue::Chunk;

use super::object::{Obj, Raised, Ref, Result};

/// A view of a bytes-like object's memory, released when dropped.
pub(crate) struct View(Box<ffi::Py_buffer>);

impl View {
    /// A contiguous view; raises BufferError or TypeError if the object has none.
    pub(crate) fn readable(object: &Obj) -> Result<Self> {
        Self::new(object, ffi::PyBUF_SIMPLE)
    }

    /// A contiguous view that may be written to.
    pub(crate) fn writable(object: &Obj) -> Result<Self> {
        Self::new(object, ffi::PyBUF_WRITABLE)
    }

    fn new(object: &Obj, flags: std::ffi::c_int) -> Result<Self> {
        let mut buffer = Box::new(ffi::Py_buffer::new());
        // SAFETY: attached; the buffer stays where it is (boxed), as exporters may require.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *buffer, flags) } < 0 {
            return Err(Raised);
        }
        Ok(Self(buffer))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.0.len == 0 {
            return &[];
        }
        // SAFETY: the exporter promises len bytes at buf until release; nobody else runs while the slice is used.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len.cast_unsigned()) }
    }

    /// The memory of a view that was asked for as writable; of any other, nothing.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.0.len == 0 || self.0.readonly != 0 {
            return &mut [];
        }
        // SAFETY: as in as_slice, and the exporter says that it may be written to.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf.cast(), self.0.len.cast_unsigned()) }
    }

    /// Lend the memory to a receive.
    pub(crate) fn fill(&mut self, recv: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        recv(self.as_mut_slice())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: attached; filled by GetBuffer in `new`, released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) }
    }
}

/// Lend the memory of a bytes-like object to a receive, in which no Python code runs. Raises BufferError or TypeError if
/// it has none that may be written to. For one visit only, so the view needs no place of its own.
pub(crate) fn fill(
    object: &Obj,
    recv: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
) -> Result<io::Result<usize>> {
    let mut buffer = ffi::Py_buffer::new();
    // SAFETY: attached; the buffer is not moved before it is released.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut buffer, ffi::PyBUF_WRITABLE) } < 0 {
        return Err(Raised);
    }
    let received = if buffer.len == 0 {
        recv(&mut [])
    } else {
        // SAFETY: the exporter promises len bytes at buf until release, and that they may be written to.
        recv(unsafe { std::slice::from_raw_parts_mut(buffer.buf.cast(), buffer.len.cast_unsigned()) })
    };
    // SAFETY: attached; filled by GetBuffer, released once.
    unsafe { ffi::PyBuffer_Release(&raw mut buffer) };
    Ok(received)
}

/// The content of an exact `bytes`, which nobody can change; None for anything else.
#[inline]
pub(crate) fn exact_bytes(object: &Obj) -> Option<&[u8]> {
    // SAFETY: alive; the content of a bytes object never moves. Its fields are read as CPython's own macros do.
    unsafe {
        if ffi::PyBytes_CheckExact(object.as_ptr()) == 0 {
            return None;
        }
        let bytes = object.as_ptr().cast::<ffi::PyBytesObject>();
        let data = (&raw const (*bytes).ob_sval).cast::<u8>();
        Some(std::slice::from_raw_parts(data, (*bytes).ob_base.ob_size.cast_unsigned()))
    }
}

/// Whether asyncio's transports take this as data: bytes, bytearray or memoryview, or a subclass.
pub(crate) fn is_data(object: &Obj) -> bool {
    let ptr = object.as_ptr();
    // SAFETY: alive; these look only at the type.
    unsafe {
        ffi::PyBytes_Check(ptr) != 0 || ffi::PyByteArray_Check(ptr) != 0 || ffi::PyMemoryView_Check(ptr) != 0
    }
}

/// Whether this is a bytearray or memoryview itself: no code of a subclass runs when its memory is asked for.
pub(crate) fn is_exact_buffer(object: &Obj) -> bool {
    let ptr = object.as_ptr();
    // SAFETY: alive; these look only at the type.
    unsafe { ffi::PyByteArray_CheckExact(ptr) != 0 || ffi::PyMemoryView_Check(ptr) != 0 }
}

/// A `bytes` object that waits in a write queue: no copy. Dropping one runs no foreign code.
struct Lent(Ref);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        exact_bytes(&self.0).unwrap_or_default()
    }
}

/// A chunk that keeps an exact `bytes` object.
pub(crate) fn lend(object: &Obj) -> Chunk {
    Chunk::Shared(Box::new(Lent(object.to_ref())))
}
