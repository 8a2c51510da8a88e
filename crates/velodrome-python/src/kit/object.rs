//! References to Python objects: `&Obj` is borrowed, [`Ref`] owns a count, [`Slot`] is a field that may hold one.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use pyo3::ffi;

use super::calls;

pub(crate) use super::errors::{
    clear_raised, handles_one, os_error, overflow_error, raise_exception, raise_os_error, raised_matches,
    raised_not_implemented, raised_ordinary, raised_to_leave, runtime_error, type_error, value_error,
    went_well, with_raised_aside, write_unraisable,
};
pub(crate) use super::taking::take_raised;

/// The interpreter's error indicator is set.
#[derive(Debug)]
pub(crate) struct Raised;

/// A result in C's manner.
pub(crate) type Result<T> = std::result::Result<T, Raised>;

/// A Python object, seen through a borrowed reference.
#[repr(transparent)]
pub(crate) struct Obj(UnsafeCell<ffi::PyObject>);

/// An owned reference.
#[repr(transparent)]
pub(crate) struct Ref(NonNull<ffi::PyObject>);

impl Clone for Ref {
    fn clone(&self) -> Self {
        self.to_ref()
    }
}

impl Drop for Ref {
    fn drop(&mut self) {
        // SAFETY: this Ref owns one count and gives it up once; attached.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

impl Deref for Ref {
    type Target = Obj;
    fn deref(&self) -> &Obj {
        // SAFETY: the count that self owns keeps the object alive for as long as self is borrowed.
        unsafe { &*self.0.as_ptr().cast::<Obj>() }
    }
}

impl Ref {
    /// Take over a count that a C function returned; NULL means it raised.
    ///
    /// # Safety
    /// `ptr` is NULL with the error indicator set, or an owned reference that nobody else will give up.
    pub(crate) unsafe fn from_owned(ptr: *mut ffi::PyObject) -> Result<Self> {
        NonNull::new(ptr).map(Self).ok_or(Raised)
    }

    /// Give the count away.
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        std::mem::ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Obj {
    /// See an object through a pointer that somebody else owns.
    ///
    /// # Safety
    /// `ptr` is not NULL, and its object outlives `'a`.
    pub(crate) unsafe fn from_ptr<'a>(ptr: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: the caller's promise.
        unsafe { &*ptr.cast::<Self>() }
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.get()
    }

    pub(crate) fn to_ref(&self) -> Ref {
        // SAFETY: self is alive; attached.
        unsafe { ffi::Py_INCREF(self.as_ptr()) };
        // SAFETY: a reference is never null.
        Ref(unsafe { NonNull::new_unchecked(self.as_ptr()) })
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }

    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: Py_None returns the address of an immortal.
        ptr::eq(self.as_ptr(), unsafe { ffi::Py_None() })
    }

    /// How many references there are.
    pub(crate) fn count(&self) -> isize {
        // SAFETY: self is alive; attached.
        unsafe { ffi::Py_REFCNT(self.as_ptr()) }
    }

    pub(crate) fn type_ptr(&self) -> *mut ffi::PyTypeObject {
        // SAFETY: self is alive.
        unsafe { ffi::Py_TYPE(self.as_ptr()) }
    }

    /// `type(self) is class`.
    pub(crate) fn is_exactly(&self, class: &Self) -> bool {
        ptr::eq(self.type_ptr().cast(), class.as_ptr())
    }

    pub(crate) fn type_name(&self) -> String {
        // SAFETY: a type's tp_name is a C string that lives as long as the type, which self keeps alive.
        let name = unsafe { CStr::from_ptr((*self.type_ptr()).tp_name) };
        let name = name.to_string_lossy();
        name.rsplit('.').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn getattr(&self, name: &Self) -> Result<Ref> {
        // SAFETY: both are alive; attached; returns an owned reference or NULL.
        unsafe { Ref::from_owned(ffi::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    pub(crate) fn setattr(&self, name: &Self, value: &Self) -> Result<()> {
        // SAFETY: all are alive; attached.
        status(unsafe { ffi::PyObject_SetAttr(self.as_ptr(), name.as_ptr(), value.as_ptr()) })
    }

    /// Set an attribute of an instance as `object.__setattr__` does: past any `__setattr__` of its class.
    pub(crate) fn set_plainly(&self, name: &Self, value: &Self) -> Result<()> {
        // SAFETY: all are alive; attached.
        status(unsafe { ffi::PyObject_GenericSetAttr(self.as_ptr(), name.as_ptr(), value.as_ptr()) })
    }

    /// The instance's `__dict__` itself; TypeError if it has none.
    pub(crate) fn instance_dict(&self) -> Result<Ref> {
        // SAFETY: alive; attached; owned or NULL.
        unsafe { Ref::from_owned(ffi::PyObject_GenericGetDict(self.as_ptr(), std::ptr::null_mut())) }
    }

    /// `hasattr()`.
    pub(crate) fn has_attribute(&self, name: &Self) -> bool {
        // SAFETY: both are alive; attached; never fails.
        unsafe { ffi::PyObject_HasAttr(self.as_ptr(), name.as_ptr()) != 0 }
    }

    /// `hash(self)`
    pub(crate) fn hash(&self) -> Result<ffi::Py_hash_t> {
        // SAFETY: self is alive; attached. -1 is an error and never a hash.
        let hash = unsafe { ffi::PyObject_Hash(self.as_ptr()) };
        if hash == -1 { Err(Raised) } else { Ok(hash) }
    }

    /// `self == other`
    pub(crate) fn equals(&self, other: &Self) -> Result<bool> {
        // SAFETY: both are alive; attached.
        let equal = unsafe { ffi::PyObject_RichCompareBool(self.as_ptr(), other.as_ptr(), ffi::Py_EQ) };
        status(equal).map(|()| equal != 0)
    }

    pub(crate) fn is_true(&self) -> Result<bool> {
        // SAFETY: self is alive; attached.
        let truth = unsafe { ffi::PyObject_IsTrue(self.as_ptr()) };
        if truth < 0 { Err(Raised) } else { Ok(truth != 0) }
    }

    /// Whether this is an instance of `class`, which must be a type; subclass hooks are not asked.
    pub(crate) fn is_subtype_of(&self, class: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: both types are alive.
        unsafe { ffi::PyType_IsSubtype(self.type_ptr(), class) != 0 }
    }

    /// Whether this is a type, and a subclass of `class`.
    pub(crate) fn is_subclass_of(&self, class: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: alive; asked to be a type before it is taken for one.
        unsafe {
            ffi::PyType_Check(self.as_ptr()) != 0 && ffi::PyType_IsSubtype(self.as_ptr().cast(), class) != 0
        }
    }

    pub(crate) fn is_instance(&self, class: &Self) -> Result<bool> {
        // SAFETY: both are alive; attached.
        let answer = unsafe { ffi::PyObject_IsInstance(self.as_ptr(), class.as_ptr()) };
        if answer < 0 { Err(Raised) } else { Ok(answer != 0) }
    }

    /// Call with up to a handful of positional arguments.
    pub(crate) fn call(&self, args: &[&Self]) -> Result<Ref> {
        let first = args.as_ptr().cast::<*mut ffi::PyObject>();
        // SAFETY: &Obj is a pointer to a live object; the slice's length is passed; attached.
        unsafe {
            let result = calls::vectorcall(self.as_ptr(), first, args.len(), ptr::null_mut());
            Ref::from_owned(result)
        }
    }

    /// Call a method: `args[0]` is not self, self is put in front.
    pub(crate) fn call_method<const N: usize>(&self, name: &Self, args: [&Self; N]) -> Result<Ref> {
        const { assert!(N <= 3) };
        let mut stack = [self.as_ptr(); 4];
        for (place, arg) in stack[1..].iter_mut().zip(args) {
            *place = arg.as_ptr();
        }
        // SAFETY: the first N + 1 entries are live objects; attached.
        unsafe {
            let result = calls::vectorcall_method(name.as_ptr(), stack.as_ptr(), N + 1, ptr::null_mut());
            Ref::from_owned(result)
        }
    }

    /// Call with raw arguments, as a handle keeps them: two at most are passed on to a method as what it is, a function
    /// with one argument more, which saves CPython a detour of a hundred instructions.
    #[inline(always)]
    pub(crate) fn call_raw(&self, args: &[*mut ffi::PyObject]) -> Result<Ref> {
        if let Some((function, this)) = super::bound::parts(self) {
            let stack = match *args {
                [] => [this, ptr::null_mut(), ptr::null_mut()],
                [first] => [this, first, ptr::null_mut()],
                [first, second] => [this, first, second],
                _ => return self.call_stack(args),
            };
            // SAFETY: the method, alive, holds both parts, and nobody can change it; else as in call_stack.
            return unsafe { Obj::from_ptr(function) }.call_stack(&stack[..=args.len()]);
        }
        self.call_stack(args)
    }

    fn call_stack(&self, args: &[*mut ffi::PyObject]) -> Result<Ref> {
        // SAFETY: handles own their arguments for as long as they run; attached.
        unsafe {
            let result = calls::vectorcall(self.as_ptr(), args.as_ptr(), args.len(), ptr::null_mut());
            Ref::from_owned(result)
        }
    }

    /// Call with the arguments in a tuple.
    pub(crate) fn call_tuple(&self, args: &Self) -> Result<Ref> {
        if tuple_len(args).is_none() {
            return Err(type_error("the arguments must be a tuple"));
        }
        // SAFETY: both are alive; a tuple, which the C function takes unasked; attached.
        unsafe { Ref::from_owned(calls::call(self.as_ptr(), args.as_ptr(), ptr::null_mut())) }
    }

    /// Call with keyword arguments too. The callee must not keep or change `keywords`.
    pub(crate) fn call_keywords(&self, args: &[*mut ffi::PyObject], keywords: &Self) -> Result<Ref> {
        let args = tuple(args)?;
        // SAFETY: attached; a dict of strings; owned or NULL.
        unsafe { Ref::from_owned(calls::call(self.as_ptr(), args.as_ptr(), keywords.as_ptr())) }
    }

    /// `self + other` of sequences.
    pub(crate) fn concat(&self, other: &Self) -> Result<Ref> {
        // SAFETY: both are alive; attached.
        unsafe { Ref::from_owned(ffi::PySequence_Concat(self.as_ptr(), other.as_ptr())) }
    }

    /// `self + other` of numbers.
    pub(crate) fn add(&self, other: &Self) -> Result<Ref> {
        // SAFETY: both are alive; attached.
        unsafe { Ref::from_owned(ffi::PyNumber_Add(self.as_ptr(), other.as_ptr())) }
    }

    pub(crate) fn is_int(&self) -> bool {
        // SAFETY: alive; looks only at the type.
        unsafe { ffi::PyLong_Check(self.as_ptr()) != 0 }
    }

    pub(crate) fn is_exact_float(&self) -> bool {
        // SAFETY: alive; looks only at the type.
        unsafe { ffi::PyFloat_CheckExact(self.as_ptr()) != 0 }
    }

    /// As a float adds it, without an object in between: an exact `float` or `int`. None for anything else, which may
    /// add differently.
    pub(crate) fn plain_double(&self) -> Option<Result<f64>> {
        // SAFETY: alive; looks at the type first.
        unsafe {
            if ffi::PyFloat_CheckExact(self.as_ptr()) != 0 {
                return Some(Ok(ffi::PyFloat_AS_DOUBLE(self.as_ptr())));
            }
            let is_int = ffi::PyLong_CheckExact(self.as_ptr()) != 0;
            is_int.then(|| unless_raised(ffi::PyLong_AsDouble(self.as_ptr())))
        }
    }

    /// `len()`.
    pub(crate) fn len(&self) -> Result<usize> {
        // SAFETY: alive; attached.
        usize::try_from(unsafe { ffi::PyObject_Size(self.as_ptr()) }).map_err(|_| Raised)
    }

    pub(crate) fn repr(&self) -> Result<Ref> {
        // SAFETY: alive; attached.
        unsafe { Ref::from_owned(ffi::PyObject_Repr(self.as_ptr())) }
    }

    pub(crate) fn as_long(&self) -> Result<i64> {
        // SAFETY: self is alive; attached.
        let value = unsafe { ffi::PyLong_AsLongLong(self.as_ptr()) };
        if value == -1 && raised() { Err(Raised) } else { Ok(value) }
    }

    pub(crate) fn is_bool(&self) -> bool {
        // SAFETY: alive; looks only at the type.
        unsafe { ffi::PyBool_Check(self.as_ptr()) != 0 }
    }

    /// As the interpreter reads a descriptor, with a warning of its own where it thinks that there is a mistake.
    pub(crate) fn as_descriptor(&self) -> Result<i32> {
        // SAFETY: self is alive; attached.
        let descriptor = unsafe { ffi::PyObject_AsFileDescriptor(self.as_ptr()) };
        if descriptor < 0 { Err(Raised) } else { Ok(descriptor) }
    }

    pub(crate) fn as_double(&self) -> Result<f64> {
        // SAFETY: self is alive; attached.
        unless_raised(unsafe { ffi::PyFloat_AsDouble(self.as_ptr()) })
    }
}

/// What a C function says that returns exactly -1.0 for an error.
fn unless_raised(value: f64) -> Result<f64> {
    #[expect(clippy::float_cmp, reason = "exactly that")]
    let suspect = value == -1.0;
    if suspect && raised() { Err(Raised) } else { Ok(value) }
}

/// Status codes of C: negative means raised.
pub(crate) fn status(code: std::ffi::c_int) -> Result<()> {
    if code < 0 { Err(Raised) } else { Ok(()) }
}

/// Arguments as a caller lent them.
pub(crate) fn borrowed(args: &[*mut ffi::PyObject]) -> impl Iterator<Item = &Obj> {
    // SAFETY: a vectorcall's arguments are live objects for as long as the call lasts, and the borrow is inside it.
    args.iter().map(|&arg| unsafe { Obj::from_ptr(arg) })
}

/// Whether the error indicator is set.
pub(crate) fn raised() -> bool {
    // SAFETY: attached.
    unsafe { !ffi::PyErr_Occurred().is_null() }
}

pub(crate) fn none() -> Ref {
    // SAFETY: an immortal, or counted as any other on old interpreters.
    unsafe { Obj::from_ptr(ffi::Py_None()) }.to_ref()
}

pub(crate) fn boolean(value: bool) -> Ref {
    // SAFETY: attached; never fails.
    let ptr = unsafe { if value { ffi::Py_True() } else { ffi::Py_False() } };
    // SAFETY: True and False live for ever.
    unsafe { Obj::from_ptr(ptr) }.to_ref()
}

pub(crate) fn long(value: i64) -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyLong_FromLongLong(value)) }
}

/// A length as Python counts.
pub(crate) fn index(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

pub(crate) fn float(value: f64) -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyFloat_FromDouble(value)) }
}

pub(crate) fn string(value: &str) -> Result<Ref> {
    // SAFETY: attached; pointer and length belong together.
    unsafe {
        Ref::from_owned(ffi::PyUnicode_FromStringAndSize(value.as_ptr().cast(), value.len().cast_signed()))
    }
}

/// An interned `str`: attribute and keyword names are compared by identity first.
pub(crate) fn interned(value: &str) -> Result<Ref> {
    let mut made = string(value)?.into_ptr();
    // SAFETY: attached; InternInPlace swaps our count for one of the interned object.
    unsafe {
        ffi::PyUnicode_InternInPlace(&raw mut made);
        Ref::from_owned(made)
    }
}

pub(crate) fn bytes(value: &[u8]) -> Result<Ref> {
    // SAFETY: attached; pointer and length belong together; the bytes are copied.
    unsafe {
        Ref::from_owned(ffi::PyBytes_FromStringAndSize(value.as_ptr().cast(), value.len().cast_signed()))
    }
}

pub(crate) fn list(items: &[Ref]) -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    let list = unsafe { Ref::from_owned(ffi::PyList_New(0))? };
    for item in items {
        // SAFETY: both are alive; Append takes its own count.
        status(unsafe { ffi::PyList_Append(list.as_ptr(), item.as_ptr()) })?;
    }
    Ok(list)
}

/// Call `each` with every item of an iterable.
pub(crate) fn iterate(iterable: &Obj, mut each: impl FnMut(&Obj) -> Result<()>) -> Result<()> {
    // SAFETY: alive; attached; owned or NULL.
    let iterator = unsafe { Ref::from_owned(ffi::PyObject_GetIter(iterable.as_ptr()))? };
    loop {
        // SAFETY: a live iterator; owned, or NULL with or without an error.
        match unsafe { Ref::from_owned(ffi::PyIter_Next(iterator.as_ptr())) } {
            Ok(item) => each(&item)?,
            Err(Raised) if raised() => return Err(Raised),
            Err(Raised) => return Ok(()),
        }
    }
}

pub(crate) fn dict() -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    unsafe { Ref::from_owned(ffi::PyDict_New()) }
}

/// `dict[key] = value`.
pub(crate) fn dict_set(dict: &Obj, key: &Obj, value: &Obj) -> Result<()> {
    // SAFETY: all are alive; anything but a dict raises; attached.
    status(unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) })
}

/// `dict.get(key)`.
pub(crate) fn dict_get(dict: &Obj, key: &Obj) -> Result<Option<Ref>> {
    // SAFETY: both are alive; a borrowed reference or NULL, with or without an error; attached.
    let found = unsafe { ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr()) };
    if found.is_null() {
        return if raised() { Err(Raised) } else { Ok(None) };
    }
    // SAFETY: not NULL, and the dict holds it.
    Ok(Some(unsafe { Obj::from_ptr(found) }.to_ref()))
}

pub(crate) fn tuple(items: &[*mut ffi::PyObject]) -> Result<Ref> {
    // SAFETY: attached; owned or NULL.
    let tuple = unsafe { Ref::from_owned(ffi::PyTuple_New(items.len().cast_signed()))? };
    for (index, &item) in items.iter().enumerate() {
        // SAFETY: a new tuple of this length that nobody has seen; SET_ITEM takes over the count made here.
        unsafe {
            ffi::Py_INCREF(item);
            ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index.cast_signed(), item);
        }
    }
    Ok(tuple)
}

/// The length of a tuple; None for any other object.
pub(crate) fn tuple_len(object: &Obj) -> Option<usize> {
    // SAFETY: alive; asked to be a tuple before it is measured as one.
    unsafe {
        let is_tuple = ffi::PyTuple_Check(object.as_ptr()) != 0;
        is_tuple.then(|| ffi::PyTuple_GET_SIZE(object.as_ptr()).cast_unsigned())
    }
}

/// An item of a tuple; None for any other object.
pub(crate) fn tuple_item(tuple: &Obj, index: usize) -> Option<Ref> {
    // SAFETY: checked to be a tuple that is long enough; it holds the item.
    unsafe {
        let here = ffi::PyTuple_Check(tuple.as_ptr()) != 0
            && ffi::PyTuple_GET_SIZE(tuple.as_ptr()).cast_unsigned() > index;
        here.then(|| Obj::from_ptr(ffi::PyTuple_GET_ITEM(tuple.as_ptr(), index.cast_signed())).to_ref())
    }
}

/// The UTF-8 text of a `str`; None for any other object.
pub(crate) fn text(object: &Obj) -> Option<&str> {
    let mut size = 0;
    // SAFETY: attached; checked to be a str; the buffer belongs to the object and lives as long.
    unsafe {
        if ffi::PyUnicode_Check(object.as_ptr()) == 0 {
            return None;
        }
        let data = ffi::PyUnicode_AsUTF8AndSize(object.as_ptr(), &raw mut size);
        if data.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        // CPython encodes strictly: what cannot be UTF-8 (a lone surrogate) has raised above.
        Some(std::str::from_utf8_unchecked(std::slice::from_raw_parts(data.cast(), size.cast_unsigned())))
    }
}

/// Whether two `str` are equal; names are nearly always interned, so identity settles it.
pub(crate) fn same_text(one: &Obj, other: &Obj) -> bool {
    if one.is(other) {
        return true;
    }
    match (text(one), text(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// A `str` that names a file: bytes that are no UTF-8 come out as surrogates, as os.fsdecode does.
pub(crate) fn file_name(name: &[u8]) -> Result<Ref> {
    // SAFETY: attached; pointer and length belong together.
    unsafe {
        Ref::from_owned(ffi::PyUnicode_DecodeFSDefaultAndSize(name.as_ptr().cast(), name.len().cast_signed()))
    }
}

/// A counted view of an object that the engine was lent.
///
/// # Safety
/// `object` is alive.
pub(crate) unsafe fn lent(object: *mut ()) -> Ref {
    // SAFETY: the caller's promise.
    unsafe { Obj::from_ptr(object.cast()) }.to_ref()
}

/// A field of a native object that may own a reference.
#[derive(Default)]
pub(crate) struct Slot(Cell<Option<Ref>>);

impl Slot {
    pub(crate) const fn empty() -> Self {
        Self(Cell::new(None))
    }

    pub(crate) fn new(value: Ref) -> Self {
        Self(Cell::new(Some(value)))
    }

    /// The pointer, still owned by the slot; NULL when empty.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        // SAFETY: Option<Ref> is a nullable pointer (repr(transparent) over NonNull), read on the thread that owns it.
        unsafe { *self.0.as_ptr().cast::<*mut ffi::PyObject>() }
    }

    pub(crate) fn get(&self) -> Option<Ref> {
        let ptr = self.as_ptr();
        // SAFETY: not NULL, so owned by the slot and alive.
        (!ptr.is_null()).then(|| unsafe { Obj::from_ptr(ptr) }.to_ref())
    }

    /// The object, or None of Python.
    pub(crate) fn get_or_none(&self) -> Ref {
        self.get().unwrap_or_else(none)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.as_ptr().is_null()
    }

    /// Put a value in; what was there is returned, so that its drop (foreign code) comes after the change.
    pub(crate) fn replace(&self, value: Option<Ref>) -> Option<Ref> {
        self.0.replace(value)
    }

    pub(crate) fn set(&self, value: Ref) {
        drop(self.replace(Some(value)));
    }

    pub(crate) fn take(&self) -> Option<Ref> {
        self.0.take()
    }
}

/// A way back to an object that owns the holder of this: no count, so no cycle. The object clears it when it goes.
pub(crate) struct Backref(Cell<*mut ffi::PyObject>);

impl Backref {
    pub(crate) fn to(object: &Obj) -> Self {
        Self(Cell::new(object.as_ptr()))
    }

    pub(crate) fn get(&self) -> Option<Ref> {
        let ptr = self.0.get();
        // SAFETY: not cleared yet, so the object is alive: it clears this in its Drop, on the same thread.
        (!ptr.is_null()).then(|| unsafe { Obj::from_ptr(ptr) }.to_ref())
    }

    pub(crate) fn clear(&self) {
        self.0.set(ptr::null_mut());
    }
}

/// The objects in a row of slots, as a callee wants them; the first `count` must be full.
pub(crate) fn raw_slots(slots: &[Slot], count: usize) -> &[*mut ffi::PyObject] {
    let slots = &slots[..count];
    // SAFETY: a Slot is a Cell of a nullable pointer, so a row of them is a row of pointers; whoever calls with it
    // keeps the slots full and unchanged meanwhile (a handle that runs defers its clearing).
    unsafe { std::slice::from_raw_parts(slots.as_ptr().cast(), count) }
}
