//! Exact `bytearray` objects as the buffers of stream readers.

use pyo3::ffi;

use super::object::{Obj, Ref, Result, bytes, status};

/// A `bytearray` itself, whose methods are known.
#[derive(Copy, Clone)]
pub(crate) struct ByteArray<'a>(&'a Obj);

impl<'a> ByteArray<'a> {
    /// None for anything else, subclasses included.
    pub(crate) fn exact(object: &'a Obj) -> Option<Self> {
        // SAFETY: alive; looks only at the type.
        (unsafe { ffi::PyByteArray_CheckExact(object.as_ptr()) } != 0).then_some(Self(object))
    }

    pub(crate) fn len(self) -> usize {
        // SAFETY: a live bytearray.
        unsafe { ffi::PyByteArray_Size(self.0.as_ptr()) }.cast_unsigned()
    }

    /// Look at the content. `look` must not call into Python, which could change it.
    pub(crate) fn with<R>(self, look: impl FnOnce(&[u8]) -> R) -> R {
        let length = self.len();
        if length == 0 {
            return look(&[]);
        }
        // SAFETY: a live bytearray has so many bytes there, and `look` runs nothing that could resize it.
        look(unsafe { std::slice::from_raw_parts(ffi::PyByteArray_AsString(self.0.as_ptr()).cast(), length) })
    }

    fn resize(self, length: usize) -> Result<()> {
        // SAFETY: a live bytearray; BufferError if somebody looks at its memory.
        status(unsafe { ffi::PyByteArray_Resize(self.0.as_ptr(), length.cast_signed()) })
    }

    /// `self += data`.
    pub(crate) fn append(self, data: &[u8]) -> Result<()> {
        let before = self.len();
        self.resize(before + data.len())?;
        // SAFETY: resized to hold both; data is not the bytearray's own memory, which nobody can be looking at.
        unsafe {
            let end = ffi::PyByteArray_AsString(self.0.as_ptr()).cast::<u8>().add(before);
            end.copy_from_nonoverlapping(data.as_ptr(), data.len());
        }
        Ok(())
    }

    /// The first bytes, which stay.
    pub(crate) fn first(self, count: usize) -> Result<Ref> {
        // Making a bytes object runs no code of anybody's.
        self.with(|content| bytes(&content[..count.min(content.len())]))
    }

    /// `del self[:count]`
    pub(crate) fn remove(self, count: usize) -> Result<()> {
        if count >= self.len() {
            return self.resize(0);
        }
        // SAFETY: a live bytearray; the bounds lie within it.
        status(unsafe { ffi::PySequence_DelSlice(self.0.as_ptr(), 0, count.cast_signed()) })
    }

    /// The first bytes, which go.
    pub(crate) fn take(self, count: usize) -> Result<Ref> {
        let taken = self.first(count)?;
        self.remove(count)?;
        Ok(taken)
    }
}
