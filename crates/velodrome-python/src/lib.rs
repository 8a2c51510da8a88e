//! `velodrome._core`: the only crate that knows Python. What it shows to Python is listed in this file.

mod kit;
mod native;

use std::ffi::{CString, c_ulong};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use kit::module::TypeEntry;
use kit::object::Obj;

/// The extension module behind the package `velodrome`.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    kit::module::install(module, native_types())?;
    module.add_function(wrap_pyfunction!(become_instance, module)?)?;
    module.add_function(wrap_pyfunction!(learn, module)?)?;
    module.add_function(wrap_pyfunction!(unlearn, module)?)?;
    module.add_function(wrap_pyfunction!(learn_class, module)?)?;
    module.add_function(wrap_pyfunction!(learn_openssl, module)?)?;
    module.add_function(wrap_pyfunction!(info, module)?)?;
    module.add_function(wrap_pyfunction!(alive, module)?)?;
    Ok(())
}

/// Every native type with the Python class that is its base, in the order in which they are made.
fn native_types() -> [TypeEntry; 14] {
    [
        ("Handle", native::handle::make_handle_type),
        ("TimerHandle", native::handle::make_timer_handle_type),
        ("ThreadSafeHandle", native::thread_safe_handle::make_type),
        ("SocketOperation", native::sockets::make_type),
        ("StreamReader", native::reader::make_type),
        ("Reading", native::reading::make_type),
        ("StreamWriter", native::writer::make_type),
        ("Draining", native::writer::make_draining_type),
        ("Child", native::child::make_type),
        ("StreamTransport", native::transport::make_type),
        ("DatagramTransport", native::datagram::make_type),
        ("SSLProtocol", native::tls::protocol::make_type),
        ("SSLTransport", native::tls::app_transport::make_type),
        ("Loop", native::event_loop::make_type),
    ]
}

/// Learn what shortcuts stand on: how the steps and wake-ups of C tasks look, where contexts keep their variables, whether
/// bytes objects, bytearrays and StopIterations can be used again, how dicts with shared keys look, whether servers keep
/// their transports in a weak set. What is learnt belongs to the main interpreter: in another one the import fails.
#[pyfunction]
fn learn(
    step: &Bound<'_, PyAny>,
    wakeup: &Bound<'_, PyAny>,
    context_name: &Bound<'_, PyAny>,
    any_keyword: bool,
    servers: bool,
) -> PyResult<()> {
    if !kit::module::in_main_interpreter() {
        return Err(PyImportError::new_err("velodrome works in the main interpreter only"));
    }
    native::server::learn(servers);
    native::scheduling::learn(Obj::of(step), Obj::of(wakeup), Obj::of(context_name));
    native::scheduling::learn_keywords(any_keyword);
    kit::context::learn();
    kit::bytearrays::learn();
    kit::reclassing::learn();
    kit::recycled::learn();
    kit::shared_keys::learn();
    kit::stopping::learn();
    Ok(())
}

/// Forget it, so that a test sees what happens on an interpreter that is built otherwise.
#[pyfunction]
fn unlearn() {
    native::server::learn(false);
    native::scheduling::unlearn();
    native::scheduling::learn_keywords(false);
    kit::context::unlearn();
    kit::bytearrays::unlearn();
    kit::reclassing::unlearn();
    kit::recycled::unlearn();
    kit::shared_keys::unlearn();
    kit::stopping::unlearn();
}

/// `object.__class__ = subclass`, for the native classes of asyncio's objects: it leaves their attributes where they are.
#[pyfunction]
fn become_instance(object: &Bound<'_, PyAny>, subclass: &Bound<'_, PyAny>) -> PyResult<()> {
    let became = kit::reclassing::become_instance(Obj::of(object), Obj::of(subclass));
    became.map_err(|_| PyErr::fetch(object.py()))
}

/// Learn which subclass of `Loop` nearly every loop is, and who is to hear of a transport that nobody closed: at the end of
/// the interpreter, when most of those are found, nothing can be imported any more.
#[pyfunction]
fn learn_class(class: &Bound<'_, PyAny>) -> PyResult<()> {
    native::event_loop::learn_class(Obj::of(class))
        .and_then(|()| native::transport::UNCLOSED.get().map(drop))
        .and_then(|()| native::server::DETACH.get().map(drop))
        .map_err(|_| PyErr::fetch(class.py()))
}

/// Learn from a sample connection, `(socket, context, incoming, outgoing)`, whether the OpenSSL that `_ssl` has loaded
/// from `path` can be driven directly. `version` is its number, `name` the sample's server name.
#[pyfunction]
fn learn_openssl(
    path: &[u8],
    version: c_ulong,
    sample: [Bound<'_, PyAny>; 4],
    name: &[u8],
) -> PyResult<bool> {
    let (path, name) = (CString::new(path)?, CString::new(name)?);
    let parts = sample.each_ref().map(Obj::of);
    native::tls::session::learn(&path, version, parts, &name).map_err(|_| PyErr::fetch(sample[0].py()))
}

/// Versions, for bug reports.
#[pyfunction]
fn info() -> Vec<(&'static str, String)> {
    let driver = match velodrome_engine::driver::Driver::from_env() {
        Ok(driver) => format!("{} ({})", driver.name(), driver.reason()),
        Err(error) => format!("none: {error}"),
    };
    vec![
        ("velodrome", env!("CARGO_PKG_VERSION").to_owned()),
        ("driver", driver),
        ("rustc", env!("VELODROME_RUSTC").to_owned()),
        ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
    ]
}

/// What of ours is alive, by kind; always empty without the feature `instruments`, which the tests of `make torture` use.
#[pyfunction]
fn alive() -> std::collections::HashMap<&'static str, usize> {
    velodrome_engine::census::alive().into_iter().collect()
}
