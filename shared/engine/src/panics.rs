//! Panics of handlers: their places, which a panic hook records, and their error texts.
//!
//! The message of a panic may hold parameters, and the process's own hook prints it on standard error. That
//! hook is therefore not called for handlers, unless [`Panics::CallHook`] asks for it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use futures_util::FutureExt as _;
use tasker_platform::lifecycle::panic_text;

tokio::task_local! {
    /// The run that this thread is in.
    static RUN: Watched;
}

/// The treatment of panics of handlers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Panics {
    /// The process's own hook is not called for them.
    #[default]
    Private,
    /// The hook is called for them, too.
    CallHook,
}

struct Watched {
    panics: Panics,
    /// The place of its last panic, as `file:line`.
    place: Cell<Option<String>>,
}

/// A panic that was caught.
#[derive(Debug)]
pub struct Caught {
    /// Its place as `file:line`; `None` where another hook has replaced the worker's.
    pub place: Option<String>,
    message: String,
}

impl Caught {
    fn new(panic: &(dyn Any + Send)) -> Self {
        Self {
            place: RUN.with(|run| run.place.take()),
            message: panic_text(panic).to_owned(),
        }
    }

    /// Returns the error text of the attempt.
    pub fn text(&self) -> String {
        match &self.place {
            Some(place) => format!("the handler panicked at {place}: {}", self.message),
            None => format!("the handler panicked: {}", self.message),
        }
    }
}

/// Installs a hook that records the places of panics of handlers, in front of the existing hook.
pub fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let note = |run: &Watched| {
                let place = info.location();
                run.place
                    .set(place.map(|place| format!("{}:{}", place.file(), place.line())));
                run.panics
            };
            // outside of a run (an error) and in runs with `CallHook` the existing hook is called as usual
            if RUN.try_with(note) != Ok(Panics::Private) {
                hook(info);
            }
        }));
    });
}

/// Awaits `handler` and catches its panic.
pub async fn catch<T>(panics: Panics, handler: impl Future<Output = T>) -> Result<T, Caught> {
    let caught = async {
        let caught = AssertUnwindSafe(handler).catch_unwind().await;
        caught.map_err(|panic| Caught::new(&*panic))
    };
    RUN.scope(Watched::new(panics), caught).await
}

/// Calls `handler` and catches its panic.
pub fn catch_blocking<T>(panics: Panics, handler: impl FnOnce() -> T) -> Result<T, Caught> {
    RUN.sync_scope(Watched::new(panics), || {
        panic::catch_unwind(AssertUnwindSafe(handler)).map_err(|panic| Caught::new(&*panic))
    })
}

impl Watched {
    fn new(panics: Panics) -> Self {
        Self {
            panics,
            place: Cell::new(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_has_the_place_of_its_own_run() {
        install_hook();
        let line = line!() + 1;
        let waiting = catch(Panics::Private, async { panic!("the first") });
        let other = catch_blocking(Panics::Private, || panic!("the second"));
        let caught: Result<(), Caught> = waiting.await;
        let texts = [caught, other].map(|caught| caught.expect_err("a panic").text());
        let file = file!();
        assert_eq!(
            texts,
            [
                format!("the handler panicked at {file}:{line}: the first"),
                format!("the handler panicked at {file}:{}: the second", line + 1),
            ]
        );
        assert_eq!(catch_blocking(Panics::Private, || 1).expect("no panic"), 1);
    }
}
