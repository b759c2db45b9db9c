//! Who a certificate is for, and how that is written into it.
//!
//! The broker takes the common name (CN) for the user name, and topics carry
//! it: so nobody may be called `#`, `a/b` or like a box. People have plain
//! names; machines have a prefix with a colon, which no person's name can hold.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, ensure};

/// Longest name of a person, a box or a site, characters.
const NAME: usize = 40;
/// Longest host name: with its prefix, a CN of 64 (X.520, upper bounds).
const HOST: usize = 57;

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A person or a program; the CN is the name itself, as in `cfg/req/<user>/…`.
    User(String),
    /// A box, by the name it has in topics; CN `box:<id>`.
    Box(String),
    /// A broker, by the host name that clients dial; CN `broker:<host>`.
    Broker(String),
    /// The broker that fresh boxes may reach, where it meets the site's own; CN `door:new`.
    Door,
}

impl Subject {
    /// A person's name, checked.
    pub fn user(name: &str) -> anyhow::Result<Self> {
        let legal = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '@');
        ensure!(short(name, NAME, legal), "user {name:?}: use 1 to 40 of a-z, 0-9, -, _, . and @");
        // `cmd/res/…` and `cfg/res/…` are where answers go.
        ensure!(name != "res", "user \"res\": topics use this word, take another name");
        Ok(Self::User(name.to_owned()))
    }

    /// A box's name, checked.
    pub fn appliance(id: &str) -> anyhow::Result<Self> {
        check_id("box", id)?;
        Ok(Self::Box(id.to_owned()))
    }

    /// A broker's host name or address, checked.
    pub fn broker(host: &str) -> anyhow::Result<Self> {
        let legal = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | ':');
        ensure!(
            short(host, HOST, legal) && !host.starts_with(['-', '.']),
            "broker {host:?}: a host name in lower case or an address, 1 to {HOST} characters"
        );
        Ok(Self::Broker(host.to_owned()))
    }

    /// What its files are called, without the ending.
    pub fn stem(&self) -> String {
        match self {
            Self::User(name) => format!("user-{name}"),
            Self::Box(id) => format!("box-{id}"),
            Self::Broker(host) => format!("broker-{host}"),
            Self::Door => "door".into(),
        }
    }
}

/// The common name.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Box(id) => write!(f, "box:{id}"),
            Self::Broker(host) => write!(f, "broker:{host}"),
            Self::Door => f.write_str("door:new"),
        }
    }
}

/// From a common name.
impl FromStr for Subject {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name.split_once(':') {
            None => Self::user(name),
            Some(("box", id)) => Self::appliance(id),
            Some(("broker", host)) => Self::broker(host),
            Some(("door", "new")) => Ok(Self::Door),
            Some(_) => bail!("{name:?}: a user's name, box:ID, broker:HOST or door:new"),
        }
    }
}

/// Checks a name that is a level of topics: `what` it names, for the message.
pub fn check_id(what: &str, id: &str) -> anyhow::Result<()> {
    let legal = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    ensure!(short(id, NAME, legal), "{what} {id:?}: use 1 to 40 of a-z, 0-9, - and _");
    Ok(())
}

/// Checks a site's name.
pub fn check_site(site: &str) -> anyhow::Result<()> {
    check_id("site", site)?;
    ensure!(site != "new", "site \"new\": boxes without a site are there, take another name");
    Ok(())
}

fn short(name: &str, most: usize, legal: impl Fn(char) -> bool) -> bool {
    !name.is_empty() && name.len() <= most && name.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Wildcards, levels, other people's prefixes: none of it is a user's name.
    #[test]
    fn a_user_cannot_be_called_what_topics_or_machines_are() {
        let long = "a".repeat(41);
        for name in
            ["", "#", "+", "a/b", "a+", "box:line-2", "door:new", "$sys", "Li", "a b", "a\n", "李"]
        {
            let error = Subject::user(name).expect_err(name).to_string();
            assert!(error.contains("use 1 to 40"), "{error}");
        }
        assert!(Subject::user(&long).is_err() && Subject::user(&long[1..]).is_ok());
        assert!(Subject::user("res").is_err() && check_site("new").is_err());
        assert!(Subject::user("li.wei@amber_works-2").is_ok());
    }

    proptest! {
        /// What is accepted is one plain topic level, and reads back as what it was.
        #[test]
        fn every_accepted_name_is_one_topic_level(
            name in prop_oneof![any::<String>(), "(box:|broker:|door:)?[a-z0-9@._/+#$:-]{0,66}"]
        ) {
            if let Ok(subject) = name.parse::<Subject>() {
                prop_assert_eq!(subject.to_string(), &name[..]);
                prop_assert!(name.len() <= 64 && !name.contains(['/', '+', '#', '$', ' ', '\n', '\0']));
                prop_assert!(!subject.stem().contains('/'));
                prop_assert_eq!(name.contains(':'), !matches!(subject, Subject::User(_)));
            }
        }

        /// Files of two subjects never have one name.
        #[test]
        fn stems_differ_where_subjects_do(a in "[a-z0-9.@:-]{1,9}", b in "[a-z0-9.@:-]{1,9}") {
            let both = [
                Subject::user(&a), Subject::appliance(&a), Subject::broker(&a), Ok(Subject::Door),
                Subject::user(&b), Subject::appliance(&b), Subject::broker(&b),
            ];
            let all: Vec<Subject> = both.into_iter().filter_map(Result::ok).collect();
            for (i, one) in all.iter().enumerate() {
                for other in &all[i..] {
                    prop_assert_eq!(one == other, one.stem() == other.stem());
                }
            }
        }
    }
}
