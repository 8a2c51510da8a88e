//! Methods and properties of native types: plain Rust functions, called through generic trampolines.
//!
//! A function item is a type of size zero, so the trampoline that C calls can be generic over it: no macro, no table of
//! closures, and the function is inlined into its trampoline.

use std::ffi::{CStr, c_void};
use std::ptr;

use pyo3::ffi;

use super::calls;
use super::object::{Obj, Ref, Result, type_error};
use super::types::{Native, This, guarded};

/// An entry of a type's method table.
pub(crate) struct Method(ffi::PyMethodDef);

/// A property.
pub(crate) struct GetSet(ffi::PyGetSetDef);

impl Method {
    pub(crate) fn into_def(self) -> ffi::PyMethodDef {
        self.0
    }

    fn new(name: &'static CStr, meth: ffi::PyMethodDefPointer, flags: i32, doc: &'static CStr) -> Self {
        Self(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: meth,
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        })
    }

    /// A method without arguments.
    pub(crate) fn noargs<T: Native, F>(name: &'static CStr, _: F, doc: &'static CStr) -> Self
    where
        F: Fn(This<'_, T>) -> Result<Ref> + Copy + 'static,
    {
        let meth = ffi::PyMethodDefPointer { PyCFunction: noargs::<T, F> };
        Self::new(name, meth, ffi::METH_NOARGS, doc)
    }

    /// A method with positional and keyword arguments, which arrive as they lie on the caller's stack.
    pub(crate) fn fast<T: Native, F>(name: &'static CStr, _: F, doc: &'static CStr) -> Self
    where
        F: Fn(This<'_, T>, Args<'_>) -> Result<Ref> + Copy + 'static,
    {
        let meth = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: fast::<T, F> };
        Self::new(name, meth, ffi::METH_FASTCALL | ffi::METH_KEYWORDS, doc)
    }

    /// A method with exactly one argument, which has no name.
    pub(crate) fn one<T: Native, F>(name: &'static CStr, _: F, doc: &'static CStr) -> Self
    where
        F: Fn(This<'_, T>, &Obj) -> Result<Ref> + Copy + 'static,
    {
        Self::new(name, ffi::PyMethodDefPointer { PyCFunction: one::<T, F> }, ffi::METH_O, doc)
    }

    /// A method with exactly one argument, which may come by its name: `named` finds it where it does.
    pub(crate) fn named<T: Native, F, N>(name: &'static CStr, _: F, _: N, doc: &'static CStr) -> Self
    where
        F: Fn(This<'_, T>, &Obj) -> Result<Ref> + Copy + 'static,
        N: Fn(Args<'_>) -> Result<&Obj> + Copy + 'static,
    {
        let meth = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: named::<T, F, N> };
        Self::new(name, meth, ffi::METH_FASTCALL | ffi::METH_KEYWORDS, doc)
    }
}

impl GetSet {
    pub(crate) fn into_def(self) -> ffi::PyGetSetDef {
        self.0
    }

    /// A read-only property.
    pub(crate) fn get<T: Native, F>(name: &'static CStr, _: F) -> Self
    where
        F: Fn(This<'_, T>) -> Result<Ref> + Copy + 'static,
    {
        Self(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(getter::<T, F>),
            set: None,
            doc: ptr::null(),
            closure: ptr::null_mut(),
        })
    }

    /// A property that can be set, but not deleted.
    pub(crate) fn both<T: Native, G, S>(name: &'static CStr, get: G, _: S) -> Self
    where
        G: Fn(This<'_, T>) -> Result<Ref> + Copy + 'static,
        S: Fn(This<'_, T>, &Obj) -> Result<()> + Copy + 'static,
    {
        let mut property = Self::get::<T, G>(name, get);
        property.0.set = Some(setter::<T, S>);
        property
    }
}

/// Bring a function item back from its type.
fn conjure<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "only function items, which capture nothing, can be methods") };
    // SAFETY: a value of a zero-sized Copy type has no bits that could be wrong.
    unsafe { ptr::NonNull::<F>::dangling().read() }
}

unsafe extern "C" fn noargs<T: Native, F>(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    F: Fn(This<'_, T>) -> Result<Ref> + Copy + 'static,
{
    // SAFETY: a method descriptor checks that the object is of its type.
    guarded(ptr::null_mut(), || conjure::<F>()(unsafe { This::unchecked(object) }).map(Ref::into_ptr))
}

unsafe extern "C" fn one<T: Native, F>(
    object: *mut ffi::PyObject,
    argument: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    F: Fn(This<'_, T>, &Obj) -> Result<Ref> + Copy + 'static,
{
    guarded(ptr::null_mut(), || {
        // SAFETY: as for noargs; the caller keeps its argument alive.
        let (this, argument) = unsafe { (This::unchecked(object), Obj::from_ptr(argument)) };
        conjure::<F>()(this, argument).map(Ref::into_ptr)
    })
}

unsafe extern "C" fn named<T: Native, F, N>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    F: Fn(This<'_, T>, &Obj) -> Result<Ref> + Copy + 'static,
    N: Fn(Args<'_>) -> Result<&Obj> + Copy + 'static,
{
    guarded(ptr::null_mut(), || {
        // SAFETY: as for fast; where there is an argument, the first is not beyond the end.
        let (this, argument) = unsafe {
            let argument = if count == 1 && names.is_null() {
                Obj::from_ptr(*args)
            } else {
                conjure::<N>()(Args::new(args, count, names))?
            };
            (This::unchecked(object), argument)
        };
        conjure::<F>()(this, argument).map(Ref::into_ptr)
    })
}

unsafe extern "C" fn fast<T: Native, F>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject
where
    F: Fn(This<'_, T>, Args<'_>) -> Result<Ref> + Copy + 'static,
{
    guarded(ptr::null_mut(), || {
        // SAFETY: as for noargs; the vectorcall protocol says what the pointers mean.
        let (this, args) = unsafe { (This::unchecked(object), Args::new(args, count, names)) };
        conjure::<F>()(this, args).map(Ref::into_ptr)
    })
}

unsafe extern "C" fn getter<T: Native, F>(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject
where
    F: Fn(This<'_, T>) -> Result<Ref> + Copy + 'static,
{
    // SAFETY: a getset descriptor checks that the object is of its type.
    guarded(ptr::null_mut(), || conjure::<F>()(unsafe { This::unchecked(object) }).map(Ref::into_ptr))
}

unsafe extern "C" fn setter<T: Native, F>(
    object: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
    _: *mut c_void,
) -> i32
where
    F: Fn(This<'_, T>, &Obj) -> Result<()> + Copy + 'static,
{
    guarded(-1, || {
        if value.is_null() {
            return Err(type_error("this attribute cannot be deleted"));
        }
        // SAFETY: as for getter; the caller keeps the value alive.
        let (this, value) = unsafe { (This::unchecked(object), Obj::from_ptr(value)) };
        conjure::<F>()(this, value).map(|()| 0)
    })
}

/// The arguments of a call, borrowed from the caller's stack.
#[derive(Copy, Clone)]
pub(crate) struct Args<'a> {
    positional: &'a [*mut ffi::PyObject],
    keywords: &'a [*mut ffi::PyObject],
    names: Option<&'a Obj>,
}

impl<'a> Args<'a> {
    /// # Safety
    /// As the vectorcall protocol: `count` positional arguments, then one for each of `names`.
    unsafe fn new(
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        let count = count.cast_unsigned();
        if names.is_null() {
            if count == 0 {
                // The pointer may be null then.
                return Self { positional: &[], keywords: &[], names: None };
            }
            // SAFETY: the caller's promise.
            let positional = unsafe { std::slice::from_raw_parts(args, count) };
            return Self { positional, keywords: &[], names: None };
        }
        // SAFETY: the caller's promise.
        unsafe {
            let named = ffi::PyTuple_GET_SIZE(names).cast_unsigned();
            let (positional, keywords) = std::slice::from_raw_parts(args, count + named).split_at(count);
            Self { positional, keywords, names: Some(Obj::from_ptr(names)) }
        }
    }

    pub(crate) fn len(self) -> usize {
        self.positional.len()
    }

    /// The positional arguments from `first` on, as the caller lent them.
    pub(crate) fn raw_from(self, first: usize) -> &'a [*mut ffi::PyObject] {
        self.positional.get(first..).unwrap_or_default()
    }

    pub(crate) fn get(self, index: usize) -> Option<&'a Obj> {
        // SAFETY: the caller keeps its arguments alive during the call.
        self.positional.get(index).map(|&ptr| unsafe { Obj::from_ptr(ptr) })
    }

    /// An argument that must be there.
    #[inline]
    pub(crate) fn required(self, index: usize, method: &str, name: &str) -> Result<&'a Obj> {
        match self.get(index) {
            Some(argument) => Ok(argument),
            None => self.required_by_name(method, name),
        }
    }

    #[cold]
    fn required_by_name(self, method: &str, name: &str) -> Result<&'a Obj> {
        self.named(name).ok_or_else(|| {
            type_error(&format!("{method}() missing 1 required positional argument: '{name}'"))
        })
    }

    /// The only argument of a method.
    #[cold]
    pub(crate) fn sole(self, method: &str, name: &str) -> Result<&'a Obj> {
        let [argument] = self.parse(method, [&*super::object::string(name)?])?;
        argument.map_or_else(|| self.required_by_name(method, name), Ok)
    }

    fn named(self, name: &str) -> Option<&'a Obj> {
        let index = (0..self.keywords.len())
            .find(|&index| super::object::text(self.keyword_name(index)) == Some(name))?;
        // SAFETY: the caller keeps its arguments alive during the call.
        Some(unsafe { Obj::from_ptr(self.keywords[index]) })
    }

    /// The value of the keyword whose name is the object at `address`, if there is no other.
    #[inline]
    pub(crate) fn sole_keyword(self, address: usize) -> Option<&'a Obj> {
        match *self.keywords {
            [value] if self.keyword_name(0).as_ptr() as usize == address => {
                // SAFETY: the caller keeps its arguments alive during the call.
                Some(unsafe { Obj::from_ptr(value) })
            }
            _ => None,
        }
    }

    /// The keyword `name`, or None. Any other raises, but for those of `others`, which [`Self::required`] reads.
    #[inline]
    pub(crate) fn only_keyword(self, method: &str, name: &Obj, others: &[&str]) -> Result<Option<&'a Obj>> {
        match *self.keywords {
            [] => Ok(None),
            // The compiler of CPython interns the names of keywords.
            // SAFETY: the caller keeps its arguments alive during the call.
            [value] if self.keyword_name(0).is(name) => Ok(Some(unsafe { Obj::from_ptr(value) })),
            _ => self.one_of_keywords(method, name, others),
        }
    }

    fn one_of_keywords(self, method: &str, name: &Obj, others: &[&str]) -> Result<Option<&'a Obj>> {
        let mut found = None;
        for (index, &value) in self.keywords.iter().enumerate() {
            let given = self.keyword_name(index);
            if !super::object::same_text(given, name) {
                let given = super::object::text(given).unwrap_or("?");
                if others.iter().skip(self.positional.len()).any(|other| *other == given) {
                    continue;
                }
                return Err(type_error(&format!("{method}() got an unexpected keyword argument '{given}'")));
            }
            // SAFETY: the caller keeps its arguments alive during the call.
            found = Some(unsafe { Obj::from_ptr(value) });
        }
        Ok(found)
    }

    /// Arguments that may be positional or named; anything else raises.
    pub(crate) fn parse<const N: usize>(
        self,
        method: &str,
        names: [&Obj; N],
    ) -> Result<[Option<&'a Obj>; N]> {
        if self.positional.len() > N {
            let all = if N == 1 { "one argument".to_owned() } else { format!("{N} arguments") };
            return Err(type_error(&format!("{method}() takes at most {all}")));
        }
        let mut found = std::array::from_fn(|index| self.get(index));
        for (index, &value) in self.keywords.iter().enumerate() {
            let given = self.keyword_name(index);
            let place = names.iter().position(|name| super::object::same_text(given, name));
            match place {
                // SAFETY: the caller keeps its arguments alive during the call.
                Some(place) if found[place].is_none() => found[place] = Some(unsafe { Obj::from_ptr(value) }),
                _ => {
                    let given = super::object::text(given).unwrap_or("?");
                    return Err(type_error(&format!("{method}() got an unexpected argument '{given}'")));
                }
            }
        }
        Ok(found)
    }

    /// The same without the first `count` positional arguments.
    pub(crate) fn tail(self, count: usize) -> Self {
        Self { positional: self.raw_from(count), ..self }
    }

    /// Pass the call on to `function`, with `first` in front.
    pub(crate) fn forward(self, function: &Obj, first: &Obj) -> Result<Ref> {
        let mut stack = Vec::with_capacity(1 + self.positional.len() + self.keywords.len());
        stack.push(first.as_ptr());
        stack.extend_from_slice(self.positional);
        stack.extend_from_slice(self.keywords);
        let names = self.names.map_or(ptr::null_mut(), Obj::as_ptr);
        // SAFETY: live objects, laid out as the vectorcall protocol wants them; attached.
        unsafe {
            let count = 1 + self.positional.len();
            Ref::from_owned(calls::vectorcall(function.as_ptr(), stack.as_ptr(), count, names))
        }
    }

    pub(crate) fn has_keywords(self) -> bool {
        !self.keywords.is_empty()
    }

    /// Each keyword's name and value.
    pub(crate) fn keywords(self) -> impl Iterator<Item = (&'a Obj, &'a Obj)> {
        // SAFETY: the caller keeps its arguments alive during the call.
        let values = self.keywords.iter().map(|&value| unsafe { Obj::from_ptr(value) });
        values.enumerate().map(move |(index, value)| (self.keyword_name(index), value))
    }

    fn keyword_name(self, index: usize) -> &'a Obj {
        match self.names {
            // SAFETY: names has as many items as keywords, and outlives the call.
            Some(names) => unsafe {
                Obj::from_ptr(ffi::PyTuple_GET_ITEM(names.as_ptr(), index.cast_signed()))
            },
            None => unreachable_names(),
        }
    }
}

/// Keywords exist only together with their names.
fn unreachable_names<'a>() -> &'a Obj {
    // SAFETY: None lives for ever; callers see a name that matches nothing.
    unsafe { Obj::from_ptr(ffi::Py_None()) }
}
