//! `site.toml`: who has been given what. Comes in: the file, as untrusted as
//! any that a hand may have edited. Goes out: the index that ACL and
//! revocation list are written from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use time::Date;

use super::name::{self, Subject};

/// What a person may do; each role includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees states, health and telemetry.
    Viewer,
    /// Changes configurations and gives commands.
    Technician,
    /// Also writes registers, prepares boxes that are offline, adopts new ones.
    Engineer,
}

impl Role {
    /// As it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Technician => "technician",
            Self::Engineer => "engineer",
        }
    }
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The common name.
    pub name: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// The last day it is good for, UTC.
    pub until: Date,
    /// The day it was revoked, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Date>,
}

/// The index of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The site's name in topics.
    pub site: String,
    /// Number of the newest revocation list.
    #[serde(default)]
    pub crl: u64,
    /// The last day of the authority, UTC: nothing it signed is good for longer.
    pub until: Date,
    /// Is there a broker for fresh boxes?
    #[serde(default)]
    pub door: bool,
    /// The boxes that have rights.
    #[serde(default)]
    pub boxes: BTreeSet<String>,
    /// The people who have rights, and their roles.
    #[serde(default)]
    pub users: BTreeMap<String, Role>,
    /// Every certificate ever issued, oldest first.
    #[serde(default, rename = "certificate")]
    pub certificates: Vec<Issued>,
}

impl Index {
    /// Nobody yet.
    pub fn new(site: &str, until: Date) -> Self {
        Self {
            site: site.to_owned(),
            crl: 0,
            until,
            door: false,
            boxes: BTreeSet::new(),
            users: BTreeMap::new(),
            certificates: Vec::new(),
        }
    }

    /// Reads the file's text; a name that could stretch a right is an error.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let index: Self = toml::from_str(text)?;
        name::check_site(&index.site)?;
        index.boxes.iter().try_for_each(|id| name::check_id("box", id))?;
        for user in index.users.keys() {
            Subject::user(user)?;
        }
        for issued in &index.certificates {
            let _: Subject = issued.name.parse()?;
            issued.serial_bytes()?;
        }
        Ok(index)
    }

    /// The file's text.
    pub fn text(&self) -> anyhow::Result<String> {
        let table = toml::to_string(self).context("site.toml")?;
        Ok(format!("# Written by `floorcast pki`. Rights and revocations come from here.\n{table}"))
    }

    /// Gives a subject its rights and notes its certificate.
    pub fn add(&mut self, subject: &Subject, role: Option<Role>, issued: Issued) {
        match (subject, role) {
            (Subject::User(name), Some(role)) => drop(self.users.insert(name.clone(), role)),
            (Subject::User(_), None) | (Subject::Broker(_), _) => {}
            (Subject::Box(id), _) => drop(self.boxes.insert(id.clone())),
            (Subject::Door, _) => self.door = true,
        }
        self.certificates.push(issued);
    }

    /// Whether the newest certificate of a subject is good on `day`.
    pub fn is_good(&self, subject: &Subject, day: Date) -> bool {
        let cn = subject.to_string();
        let newest = self.certificates.iter().rfind(|issued| issued.name == cn);
        newest.is_some_and(|issued| issued.revoked.is_none() && issued.until >= day)
    }

    /// Takes a subject's rights and all its certificates, on `day`. The number
    /// of certificates that were good until now.
    pub fn revoke(&mut self, subject: &Subject, day: Date) -> anyhow::Result<usize> {
        let cn = subject.to_string();
        let mut own: Vec<_> = self.certificates.iter_mut().filter(|i| i.name == cn).collect();
        ensure!(!own.is_empty(), "{cn}: has no certificate; `floorcast pki list` shows who has");
        own.retain(|issued| issued.revoked.is_none());
        own.iter_mut().for_each(|issued| issued.revoked = Some(day));
        let good = own.len();
        match subject {
            Subject::User(name) => drop(self.users.remove(name)),
            Subject::Box(id) => drop(self.boxes.remove(id)),
            Subject::Broker(_) => {}
            Subject::Door => self.door = false,
        }
        Ok(good)
    }
}

impl Issued {
    /// The serial number's bytes.
    pub fn serial_bytes(&self) -> anyhow::Result<[u8; 16]> {
        let serial = u128::from_str_radix(&self.serial, 16).with_context(|| {
            format!("certificate of {}: serial {:?} is not hexadecimal", self.name, self.serial)
        })?;
        Ok(serial.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::Month;

    fn day(year: i32) -> Date {
        Date::from_calendar_date(year, Month::November, 26).expect("a day")
    }

    fn issued(name: &str, serial: u128) -> Issued {
        Issued { name: name.into(), serial: format!("{serial:x}"), until: day(2031), revoked: None }
    }

    fn example() -> Index {
        let mut index = Index::new("amber-works", day(2046));
        let li = Subject::user("li").expect("name");
        index.add(&li, Some(Role::Engineer), issued("li", 7));
        index.add(&Subject::Box("line-2".into()), None, issued("box:line-2", 8));
        index
    }

    /// What is written reads back as what it was.
    #[test]
    fn the_file_reads_back() {
        let mut index = example();
        index.revoke(&Subject::User("li".into()), day(2027)).expect("revoke");
        assert_eq!(Index::parse(&index.text().expect("text")).expect("parse"), index);
    }

    /// Revoking takes the rights and every certificate at once; a name that
    /// never had one is an error.
    #[test]
    fn revoking_takes_rights_and_certificates() {
        let mut index = example();
        let li = Subject::user("li").expect("name");
        index.add(&li, Some(Role::Viewer), issued("li", 9));
        assert_eq!(index.revoke(&li, day(2027)).expect("revoke"), 2);
        assert_eq!(index.revoke(&li, day(2028)).expect("again"), 0);
        assert!(index.users.is_empty() && index.boxes.contains("line-2"));
        assert_eq!(index.certificates[0].revoked, Some(day(2027)));
        let error = index.revoke(&Subject::User("ana".into()), day(2027)).expect_err("nobody");
        assert!(error.to_string().contains("pki list"), "{error}");
    }

    /// A name in an edited file that could stretch a right is refused.
    #[test]
    fn an_edited_file_cannot_stretch_a_right() {
        let text = example().text().expect("text");
        for (from, to) in [("li = ", "\"#\" = "), ("\"line-2\"", "\"+\""), ("amber-works", "a/+")] {
            assert!(text.contains(from), "{text}");
            assert!(Index::parse(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    proptest! {
        /// Whatever the file holds, it is read or refused, and never more.
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), at in 0usize..400, cut in 0usize..40) {
            let _ = Index::parse(&text);
            let mut damaged = example().text().expect("text");
            let at = at.min(damaged.len());
            let end = (at + cut).min(damaged.len());
            damaged.replace_range(at..end, &text);
            if let Ok(index) = Index::parse(&damaged) {
                prop_assert!(index.users.keys().all(|name| !name.contains(['#', '+', '/'])));
            }
        }
    }
}
