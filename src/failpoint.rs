//! Where a test may cut the power.
//!
//! Comes in: the names of the places that the code passes. Goes out: in debug
//! builds, SIGKILL to this process at the place that `FLOORCAST_KILL_AT` names;
//! in release builds, nothing.

/// A place named `<at>.<step>`, e.g. `apply.trial` and `renamed`.
#[inline]
pub fn here(at: &str, step: &str) {
    #[cfg(debug_assertions)]
    {
        use std::sync::OnceLock;
        static KILL_AT: OnceLock<Option<String>> = OnceLock::new();
        let wanted = KILL_AT.get_or_init(|| std::env::var("FLOORCAST_KILL_AT").ok());
        let found = wanted.as_deref().and_then(|w| w.strip_prefix(at)?.strip_prefix('.'));
        if found == Some(step) {
            // SAFETY: no memory is involved; SIGKILL needs no clean-up.
            unsafe { libc::raise(libc::SIGKILL) };
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = (at, step);
}
