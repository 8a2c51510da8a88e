//! Exact `bytearray` objects as the buffers of stream readers.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;

use super::object::{Obj, Ref, Result, bytes, status, went_well};

/// Whether this interpreter's bytearrays were seen to be what they are taken for.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// How much an empty buffer may keep. Each connection may have one, and most messages are no longer.
const KEPT: ffi::Py_ssize_t = 4096;

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

    /// `del self[:]`. The memory of a small one is kept for the next message: to free it and ask for it again costs 600
    /// instructions.
    fn empty(self) -> Result<()> {
        let object = self.0.as_ptr().cast::<ffi::PyByteArrayObject>();
        // SAFETY: a live bytearray of a layout that was tried, nobody looks at its memory, and it begins at its start: to
        // be empty it needs the length, and the zero behind its content.
        unsafe {
            let plain = (*object).ob_exports == 0 && (*object).ob_start == (*object).ob_bytes;
            if plain && (1..=KEPT).contains(&(*object).ob_alloc) && KNOWN.load(Ordering::Relaxed) {
                (*object).ob_base.ob_size = 0;
                (*object).ob_start.write(0);
                return Ok(());
            }
        }
        self.resize(0)
    }

    /// `del self[:count]`
    pub(crate) fn remove(self, count: usize) -> Result<()> {
        if count >= self.len() {
            return self.empty();
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

/// As if bytearrays were built otherwise.
pub(crate) fn unlearn() {
    KNOWN.store(false, Ordering::Relaxed);
}

/// See it work once.
pub(crate) fn learn() {
    KNOWN.store(true, Ordering::Relaxed);
    KNOWN.store(went_well(tried()), Ordering::Relaxed);
}

fn tried() -> Result<bool> {
    let (first, second) = (b"a sample of bytes", b"another of them");
    // SAFETY: attached; owned or NULL.
    let sample = unsafe {
        Ref::from_owned(ffi::PyByteArray_FromStringAndSize(first.as_ptr().cast(), first.len().cast_signed()))?
    };
    let array = ByteArray(&sample);
    let object = sample.as_ptr().cast::<ffi::PyByteArrayObject>();
    // SAFETY: a live bytearray, whose fields are compared with what is known of it before anything is believed.
    let as_expected = unsafe {
        (*sample.type_ptr()).tp_basicsize.cast_unsigned() == size_of::<ffi::PyByteArrayObject>()
            && (*object).ob_exports == 0
            && (*object).ob_alloc > first.len().cast_signed()
            && (*object).ob_bytes == ffi::PyByteArray_AsString(sample.as_ptr())
    };
    if !as_expected {
        return Ok(false);
    }
    array.empty()?;
    let emptied = array.len() == 0 && !sample.is_true()?;
    array.append(second)?;
    Ok(emptied && sample.equals(&*bytes(second)?)?)
}
