//! Turns a panic into a result: one seed that panics must not stop the others.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use crate::diagnostics::panic_text;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Silences panic messages in all threads of the process from now on; [`catch_panic`] returns the
/// message and where it was raised.
pub fn quiet_panics() {
    set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let text = panic_text(info.payload()) + &place.unwrap_or_default();
        LAST.with(|last| *last.borrow_mut() = Some(text));
    }));
}

/// Runs `work` and catches a panic. What `work` owns is dropped then, so no broken state is seen.
///
/// # Errors
/// The message of the panic; with its location if [`quiet_panics`] was called.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    LAST.with(|last| last.borrow_mut().take());
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        LAST.with(|last| last.borrow_mut().take()).unwrap_or_else(|| panic_text(&*payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_result_with_its_panic_text() {
        assert_eq!(catch_panic(|| 5), Ok(5));
        let error = catch_panic(|| panic!("no {}", "way")).map(|()| 0).expect_err("panics");
        assert!(error.starts_with("no way"), "{error}");
        assert_eq!(catch_panic(|| 6), Ok(6));
    }
}
