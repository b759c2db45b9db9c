//! Where the failpoints of the configuration transaction are.

/// What a place is called, and the steps at it.
pub type Place = (&'static str, &'static [&'static str]);

/// The steps of a file that is put in another's place.
pub const REPLACE: &[&str] = &["before", "written", "renamed", "synced"];

/// What a change passes until it is confirmed.
#[rustfmt::skip]
pub const CHANGE: [Place; 14] = [
    ("propose", &["before", "reply"]),
    ("propose.seen", REPLACE),
    ("propose.audit", &["before", "synced"]),
    ("propose.trial", REPLACE),
    ("probation", &["before", "reply"]),
    ("confirm.seen", REPLACE),
    ("confirm.audit", &["before", "synced"]),
    ("confirm.previous", REPLACE),
    ("confirm.commit", &["before", "renamed", "synced"]),
    ("confirm.previous", &["kept"]),
    ("confirmed.audit", &["before", "synced"]),
    ("applied.seen", REPLACE),
    ("confirmed.seen", REPLACE),
    ("confirmed", &["before", "reply"]),
];
