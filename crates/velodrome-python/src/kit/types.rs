//! Making heap types: a Rust value behind the fields of a base type, with CPython's life cycle.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::ffi;
use velodrome_engine::census;

use super::freeing::{Spare, tp_dealloc};
use super::methods::{GetSet, Method};
use super::object::{Obj, Raised, Ref, Result, Slot, dict_get, runtime_error, type_error};

/// Where a type's Rust value lies inside its objects. Written once, before the first object exists.
pub(crate) struct Layout {
    offset: AtomicUsize,
    /// Of an object.
    size: AtomicUsize,
    type_object: AtomicPtr<ffi::PyTypeObject>,
    /// A subclass that never goes away, whose instances are recognised without a walk through its ancestors.
    usual_subclass: AtomicPtr<ffi::PyTypeObject>,
}

impl Layout {
    pub(crate) const fn new() -> Self {
        let (type_object, usual_subclass) =
            (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Self { offset: AtomicUsize::new(0), size: AtomicUsize::new(0), type_object, usual_subclass }
    }

    pub(crate) fn type_ptr(&self) -> *mut ffi::PyTypeObject {
        self.type_object.load(Ordering::Relaxed)
    }

    /// Name the usual subclass, which is kept alive from now on.
    pub(crate) fn set_usual_subclass(&self, class: &Obj) {
        let class = class.to_ref().into_ptr();
        self.usual_subclass.store(class.cast(), Ordering::Relaxed);
    }

    fn has_instance(&self, object: &Obj) -> bool {
        let kind = object.type_ptr();
        kind == self.type_ptr()
            || kind == self.usual_subclass.load(Ordering::Relaxed)
            || object.is_subtype_of(self.type_ptr())
    }

    fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    fn offset(&self) -> usize {
        self.offset.load(Ordering::Relaxed)
    }
}

/// A Rust value that is a Python object.
pub(crate) trait Native: Sized + 'static {
    /// The type's name with its module.
    const NAME: &'static CStr;
    /// `help()`'s text.
    const DOC: &'static CStr;
    /// Whether Python code may subclass it and call it.
    const OPEN: bool = false;
    /// Whether its objects have a `__dict__` and weak references of their own (a base may have them already).
    const DICT: bool = false;
    /// Whether the value wants to hear of the object's end while the object is still whole (`__del__`).
    const FINALIZE: bool = false;

    /// With how many [`Slot`]s the value begins that may lie over the slots of a base made in Python, which are then
    /// never used as such: what Python makes of them there, a counted reference or nothing, is what they are here, too.
    const OVERLAID: usize = 0;

    /// Where the memory of objects is kept that come and go all the time.
    fn spare() -> Option<&'static Spare> {
        None
    }

    fn layout() -> &'static Layout;
    fn methods() -> Vec<Method>;
    fn getset() -> Vec<GetSet> {
        Vec::new()
    }
    /// What `type()` makes; only for open types.
    fn create() -> Result<Self> {
        Err(type_error("cannot create instances of this type"))
    }
    /// Whether its objects may hold each other in long chains.
    const CHAINS: bool = false;
    /// Whether [`Self::repr`] is there; without it the base's stays.
    const REPR: bool = false;
    /// `repr()`.
    fn repr(_this: This<'_, Self>) -> Result<Ref> {
        super::object::string("")
    }
    /// Show every reference held, each exactly once.
    fn traverse(&self, visit: &mut Visit);
    /// Drop every reference that may be part of a cycle.
    fn clear(&self);
    /// Called once before the object goes; see [`Self::FINALIZE`].
    fn finalize(_this: This<'_, Self>) {}
    /// The object has gone, and nobody can reach it any more: cheaper than [`Self::finalize`].
    fn ends(&self) {}
    /// An attribute was set or deleted on an instance; for types that follow overrides.
    const WATCHES_ATTRIBUTES: bool = false;
    /// See [`Self::WATCHES_ATTRIBUTES`].
    fn attribute_changed(_this: This<'_, Self>, _name: &Obj) {}
}

/// A borrowed object whose type is T's or a subtype of it.
pub(crate) struct This<'a, T> {
    object: &'a Obj,
    value: &'a T,
}

impl<T> Clone for This<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for This<'_, T> {}

impl<T> Deref for This<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}

impl<'a, T: Native> This<'a, T> {
    /// The object.
    pub(crate) fn object(self) -> &'a Obj {
        self.object
    }

    /// The value, for as long as the object is borrowed.
    pub(crate) fn value(self) -> &'a T {
        self.value
    }

    /// Whether the instance has an attribute of its own by this name, which whoever asks in Python finds before the
    /// type's.
    pub(crate) fn has_own(self, name: &Obj) -> Result<bool> {
        const { assert!(T::DICT) };
        // SAFETY: the type has the dict offset given in `make_type`; NULL until used.
        let dict = unsafe {
            *self
                .object
                .as_ptr()
                .byte_offset((*self.object.type_ptr()).tp_dictoffset)
                .cast::<*mut ffi::PyObject>()
        };
        // SAFETY: not NULL, and the object holds it.
        Ok(!dict.is_null() && dict_get(unsafe { Obj::from_ptr(dict) }, name)?.is_some())
    }

    /// See an object as a T.
    pub(crate) fn of(object: &'a Obj) -> Option<Self> {
        // SAFETY: checked to be of T's type or a subtype.
        T::layout().has_instance(object).then(|| unsafe { Self::unchecked(object.as_ptr()) })
    }

    /// # Safety
    /// `object` is alive for `'a` and of T's type or a subtype.
    pub(crate) unsafe fn unchecked(object: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller's promise; `new_object` or `tp_new` put a T at the offset before anyone saw the object.
        unsafe { Self { object: Obj::from_ptr(object), value: &*value_ptr::<T>(object) } }
    }
}

pub(super) unsafe fn value_ptr<T: Native>(object: *mut ffi::PyObject) -> *mut T {
    // SAFETY: the offset lies inside the object, which was allocated with T's basicsize.
    unsafe { object.byte_add(T::layout().offset()).cast::<T>() }
}

/// By which the census knows objects of T.
pub(super) const fn name_of<T: Native>() -> &'static str {
    const {
        match T::NAME.to_str() {
            Ok(name) => name,
            Err(_) => "",
        }
    }
}

/// What a collector asks with.
pub(crate) struct Visit {
    proc: ffi::visitproc,
    arg: *mut c_void,
    answer: c_int,
}

impl Visit {
    pub(crate) fn slot(&mut self, slot: &Slot) {
        self.pointer(slot.as_ptr().cast());
    }

    /// Show a reference that is known as a pointer only: what the engine was lent.
    pub(crate) fn pointer(&mut self, object: *mut ()) {
        if self.answer == 0 && !object.is_null() {
            // SAFETY: the collector's own function, called with a live object and its own argument.
            self.answer = unsafe { (self.proc)(object.cast(), self.arg) };
        }
    }
}

/// Run a slot or method body: an unwinding panic becomes RuntimeError, because crossing into C would abort.
pub(crate) fn guarded<R>(failed: R, body: impl FnOnce() -> Result<R>) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(result)) => result,
        Ok(Err(Raised)) => failed,
        Err(panic) => {
            let what = panic.downcast_ref::<&str>().map(ToString::to_string);
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            runtime_error(&format!("velodrome has a bug, please report it: {what}"));
            failed
        }
    }
}

/// Make an object of a closed type around `value`.
pub(crate) fn new_object<T: Native>(value: T) -> Result<Ref> {
    let type_object = T::layout().type_ptr();
    // SAFETY: T's type; GenericAlloc returns zeroed memory of its basicsize, tracked by the collector, or NULL. Nothing
    // can collect between the allocation and the write: no Python code runs.
    unsafe {
        let object = Ref::from_owned(ffi::PyType_GenericAlloc(type_object, 0))?;
        value_ptr::<T>(object.as_ptr()).write(value);
        census::born(name_of::<T>());
        Ok(object)
    }
}

/// As [`new_object`], and the collector does not see it before [`track`]. Only for what is held by something that lives
/// until then, so that it cannot be garbage: a collector that need not look at each of 100,000 objects is fast.
#[inline(always)]
pub(crate) fn new_untracked<T: Native>(value: T) -> Result<Ref> {
    const { assert!(!T::DICT) };
    let type_object = T::layout().type_ptr();
    // SAFETY: T's type; GC_New returns memory of its basicsize, or NULL, whose head is filled in. Everything behind the
    // head is written here before anyone sees it: zero where the base's fields are, the value where it is.
    unsafe {
        let object = match T::spare().and_then(|spare| spare.take()) {
            Some(memory) => Ref::from_owned(ffi::PyObject_Init(memory, type_object))?,
            None => Ref::from_owned(ffi::PyObject_GC_New::<ffi::PyObject>(type_object))?,
        };
        let (start, end) = (T::layout().offset(), T::layout().offset() + size_of::<T>());
        let body = object.as_ptr().cast::<u8>();
        for (from, to) in [(size_of::<ffi::PyObject>(), start), (end, T::layout().size())] {
            if from < to {
                body.add(from).write_bytes(0, to - from);
            }
        }
        value_ptr::<T>(object.as_ptr()).write(value);
        census::born(name_of::<T>());
        Ok(object)
    }
}

/// As [`new_object`], in memory that is kept for such objects, if there is some.
pub(crate) fn new_kept<T: Native>(value: T) -> Result<Ref> {
    let object = new_untracked(value)?;
    // SAFETY: alive, whole, and just made untracked.
    unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    Ok(object)
}

/// Show an object of a native type to the collector, if it does not see it yet.
pub(crate) fn track(object: &Obj) {
    // SAFETY: alive, whole, and of a type that the collector knows.
    unsafe {
        if ffi::PyObject_GC_IsTracked(object.as_ptr()) == 0 {
            ffi::PyObject_GC_Track(object.as_ptr().cast());
        }
    }
}

unsafe extern "C" fn tp_new<T: Native>(
    kind: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(ptr::null_mut(), || {
        // The value first: an object whose value could not be made must never be seen by the collector.
        let value = T::create()?;
        // SAFETY: called by `type` with T's type or a subtype; as in new_object.
        unsafe {
            let object = Ref::from_owned(ffi::PyType_GenericAlloc(kind, 0))?;
            value_ptr::<T>(object.as_ptr()).write(value);
            census::born(name_of::<T>());
            Ok(object.into_ptr())
        }
    })
}

unsafe extern "C" fn tp_traverse<T: Native>(
    object: *mut ffi::PyObject,
    proc: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let mut visit = Visit { proc, arg, answer: 0 };
    // SAFETY: called by the collector with a live object of T's type.
    let this = unsafe { This::<T>::unchecked(object) };
    this.traverse(&mut visit);
    visit.pointer(this.object().type_ptr().cast());
    if T::DICT {
        // SAFETY: the type has the dict offset given in `make_type`; NULL until used.
        visit.pointer(unsafe { *object.byte_offset((*this.object().type_ptr()).tp_dictoffset).cast() });
    }
    visit.answer
}

unsafe extern "C" fn tp_clear<T: Native>(object: *mut ffi::PyObject) -> c_int {
    guarded(0, || {
        // SAFETY: called by the collector with a live object of T's type.
        unsafe { This::<T>::unchecked(object) }.clear();
        Ok(0)
    })
}

unsafe extern "C" fn tp_finalize<T: Native>(object: *mut ffi::PyObject) {
    // A finalizer may run while an exception is on its way; that one must be there afterwards.
    let pending = super::object::take_raised();
    guarded((), || {
        // SAFETY: called by the interpreter with a live object of T's type.
        T::finalize(unsafe { This::<T>::unchecked(object) });
        Ok(())
    });
    if let Some(pending) = pending {
        super::object::raise_exception(&pending);
    }
}

unsafe extern "C" fn tp_repr<T: Native>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter with a live object of T's type.
    guarded(ptr::null_mut(), || T::repr(unsafe { This::unchecked(object) }).map(Ref::into_ptr))
}

unsafe extern "C" fn tp_setattro<T: Native>(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> c_int {
    // SAFETY: called by the interpreter with live objects; value is NULL for a deletion.
    let status = unsafe { ffi::PyObject_GenericSetAttr(object, name, value) };
    if status == 0 {
        guarded((), || {
            // SAFETY: as above; of T's type.
            T::attribute_changed(unsafe { This::unchecked(object) }, unsafe { Obj::from_ptr(name) });
            Ok(())
        });
    }
    status
}

pub(super) fn slot(number: c_int, function: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot: number, pfunc: function }
}

/// A table that CPython keeps a pointer to for as long as the type lives, which is for ever.
fn forever<E>(entries: Vec<E>) -> *mut c_void {
    Box::leak(entries.into_boxed_slice()).as_mut_ptr().cast()
}

fn slots<T: Native>(members: Vec<ffi::PyMemberDef>, more: Vec<ffi::PyType_Slot>) -> Vec<ffi::PyType_Slot> {
    let mut methods: Vec<_> = T::methods().into_iter().map(Method::into_def).collect();
    methods.push(ffi::PyMethodDef::zeroed());
    let mut getset: Vec<_> = T::getset().into_iter().map(GetSet::into_def).collect();
    if T::DICT {
        getset.push(dict_property());
    }
    getset.push(ffi::PyGetSetDef::default());
    let mut slots = vec![
        slot(ffi::Py_tp_doc, T::DOC.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_dealloc, tp_dealloc::<T> as *mut c_void),
        slot(ffi::Py_tp_traverse, tp_traverse::<T> as *mut c_void),
        slot(ffi::Py_tp_clear, tp_clear::<T> as *mut c_void),
        slot(ffi::Py_tp_methods, forever(methods)),
        slot(ffi::Py_tp_getset, forever(getset)),
        slot(ffi::Py_tp_members, forever(members)),
    ];
    slots.extend(more);
    optional_slots::<T>(&mut slots);
    slots.push(slot(0, ptr::null_mut()));
    slots
}

fn optional_slots<T: Native>(slots: &mut Vec<ffi::PyType_Slot>) {
    if T::OPEN {
        slots.push(slot(ffi::Py_tp_new, tp_new::<T> as *mut c_void));
    }
    if T::FINALIZE {
        slots.push(slot(ffi::Py_tp_finalize, tp_finalize::<T> as *mut c_void));
    }
    if T::REPR {
        slots.push(slot(ffi::Py_tp_repr, tp_repr::<T> as *mut c_void));
    }
    if T::WATCHES_ATTRIBUTES {
        slots.push(slot(ffi::Py_tp_setattro, tp_setattro::<T> as *mut c_void));
    }
}

/// `vars()` asks for the attribute `__dict__`, which an offset alone does not make.
fn dict_property() -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: c"__dict__".as_ptr(),
        get: Some(ffi::PyObject_GenericGetDict),
        set: Some(ffi::PyObject_GenericSetDict),
        ..Default::default()
    }
}

fn offset_member(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: offset.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

fn flags<T: Native>() -> u32 {
    let kind = if T::OPEN { ffi::Py_TPFLAGS_BASETYPE } else { ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION };
    (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | kind) as u32
}

/// How many bytes an instance of `base` has.
fn basic_size(base: &Obj) -> Result<usize> {
    // SAFETY: alive; looks only at the type.
    if unsafe { ffi::PyType_Check(base.as_ptr()) } == 0 {
        return Err(type_error("the base of a native type must be a type"));
    }
    // SAFETY: checked to be a type; its size is set once it is ready.
    Ok(unsafe { (*base.as_ptr().cast::<ffi::PyTypeObject>()).tp_basicsize }.cast_unsigned())
}

/// How many `__slots__` the instances of a class made in Python consist of; None if there is anything else in them.
fn python_slots(base: &Obj) -> Option<usize> {
    let mut found = 0;
    let mut class: *mut ffi::PyTypeObject = base.as_ptr().cast();
    // SAFETY: `base` is a type (its size was asked for), its ancestors live as long; only fields of types are read.
    unsafe {
        while class != &raw mut ffi::PyBaseObject_Type {
            if ffi::PyType_HasFeature(class, ffi::Py_TPFLAGS_HEAPTYPE) == 0 || (*class).tp_weaklistoffset > 0
            {
                return None;
            }
            found += named_slots(Obj::from_ptr(class.cast())).ok()?;
            class = (*class).tp_base;
        }
    }
    (basic_size(base).ok()? == size_of::<ffi::PyObject>() + found * size_of::<Slot>()).then_some(found)
}

fn named_slots(class: &Obj) -> Result<usize> {
    let mut count = 0;
    super::object::iterate(&*class.getattr(&*super::object::interned("__slots__")?)?, |name| {
        // Kept elsewhere: see the interpreter's managed lists above.
        count += usize::from(super::object::text(name) != Some("__weakref__"));
        Ok(())
    })?;
    Ok(count)
}

/// Make the type, on top of `base` (None: `object`), and remember its layout.
pub(crate) fn make_type<T: Native>(base: Option<&Obj>) -> Result<Ref> {
    make_type_with::<T>(base, Vec::new())
}

/// The same with further slots.
pub(super) fn make_type_with<T: Native>(base: Option<&Obj>, more: Vec<ffi::PyType_Slot>) -> Result<Ref> {
    let known = T::layout().type_ptr();
    if !known.is_null() {
        // The module is imported again: the objects that there are must stay what they are.
        // SAFETY: kept for ever below.
        return Ok(unsafe { Obj::from_ptr(known.cast()) }.to_ref());
    }
    let base_size = base.map_or(Ok(size_of::<ffi::PyObject>()), basic_size)?;
    let overlaid = T::OVERLAID > 0 && base.and_then(python_slots) == Some(T::OVERLAID);
    let offset = if overlaid { size_of::<ffi::PyObject>() } else { base_size };
    let offset = offset.next_multiple_of(align_of::<T>());
    let words = base_size.max(offset + size_of::<T>()).next_multiple_of(size_of::<usize>());
    let word = size_of::<usize>();
    let (size, members) = if T::DICT {
        let members =
            vec![offset_member(c"__dictoffset__", words), offset_member(c"__weaklistoffset__", words + word)];
        (words + 2 * word, members)
    } else {
        (words, Vec::new())
    };
    let mut members = members;
    members.push(ffi::PyMemberDef::default());
    T::layout().offset.store(offset, Ordering::Relaxed);
    T::layout().size.store(size, Ordering::Relaxed);
    let mut slots = slots::<T>(members, more);
    let mut spec = ffi::PyType_Spec {
        name: T::NAME.as_ptr(),
        basicsize: c_int::try_from(size).map_err(|_| type_error("a base type is too large"))?,
        itemsize: 0,
        flags: flags::<T>(),
        slots: slots.as_mut_ptr(),
    };
    let bases = base.map_or(ptr::null_mut(), Obj::as_ptr);
    // SAFETY: attached; spec and slots live until the call returns, the tables they point to for ever.
    let made = unsafe { Ref::from_owned(ffi::PyType_FromSpecWithBases(&raw mut spec, bases))? };
    T::layout().type_object.store(made.as_ptr().cast(), Ordering::Relaxed);
    // One count for the layout: native code makes objects of the type for as long as the process lives.
    std::mem::forget(made.clone());
    Ok(made)
}

/// Make a subclass of a Python class that adds methods and nothing else, so that instances of `base` can become its
/// instances, see [`reclassing`](super::reclassing). T has no size: there is no value, and `This<T>` is the object alone.
pub(crate) fn make_overlay<T: Native>(base: &Obj) -> Result<Ref> {
    const { assert!(size_of::<T>() == 0 && align_of::<T>() == 1) };
    let mut methods: Vec<_> = T::methods().into_iter().map(Method::into_def).collect();
    methods.push(ffi::PyMethodDef::zeroed());
    let mut slots = vec![
        slot(ffi::Py_tp_doc, T::DOC.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_methods, forever(methods)),
    ];
    optional_slots::<T>(&mut slots);
    slots.push(slot(0, ptr::null_mut()));
    let mut spec = ffi::PyType_Spec {
        name: T::NAME.as_ptr(),
        // As the base's.
        basicsize: 0,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE) as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached; spec and slots live until the call returns, the tables they point to for ever.
    let made = unsafe { Ref::from_owned(ffi::PyType_FromSpecWithBases(&raw mut spec, base.as_ptr()))? };
    T::layout().type_object.store(made.as_ptr().cast(), Ordering::Relaxed);
    // One count for the layout: native code looks for the type for as long as the process lives. One of the base for its
    // keys, which may become the type's.
    std::mem::forget((made.clone(), base.to_ref()));
    super::reclassing::share_keys(&made, base);
    Ok(made)
}

/// An object that an engine visitor was just shown, with a count of its own.
pub(crate) fn held(object: *mut ()) -> Ref {
    // SAFETY: visitors are shown objects that their owner holds at that moment; nothing runs in between.
    unsafe { super::object::lent(object) }
}
