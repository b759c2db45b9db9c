//! What `floorcast pki` does: each command reads the index, changes it, and
//! writes it with everything that follows from it.
//!
//! The index goes to disk before a key or certificate does. A command that is
//! cut off so leaves a certificate that can be revoked, and the next one writes
//! ACL and revocation list anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rcgen::SanType;
use time::{Date, Duration, OffsetDateTime};

use super::files::{self, Directory};
use super::index::{Index, Role};
use super::name::{self, Subject};
use super::{acl, authority};
use authority::{Authority, Leaf};

const INDEX: &str = "site.toml";
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const REVOCATIONS: &str = "ca.crl";
const RIGHTS: &str = "acl";

/// Largest request that is read, bytes; a P-256 one has under a thousand.
const REQUEST: u64 = 16 << 10;

/// How a certificate is issued.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many days it is good for; no longer than its authority.
    pub days: u16,
    /// Replace a key and certificate of the same name.
    pub force: bool,
}

/// An open directory of a site's keys.
pub struct Site {
    directory: Directory,
    index: Index,
    authority: Authority,
    now: OffsetDateTime,
}

impl Site {
    /// Makes a site's authority in an empty directory. What was made.
    pub fn create(path: &Path, site: &str, now: OffsetDateTime) -> anyhow::Result<String> {
        name::check_site(site)?;
        let directory = Directory::create(path)?;
        for file in [KEY, CERTIFICATE, INDEX] {
            ensure!(
                !directory.has(file),
                "{}: is there already; a new authority would lock everybody out: take another --dir",
                directory.path(file).display()
            );
        }
        let new = Authority::create(site, now)?;
        let authority = Authority::read(&new.certificate, &new.key)?;
        let index = Index::new(site, new.until);
        directory.write_secret(KEY, &new.key)?;
        directory.write(CERTIFICATE, &new.certificate)?;
        let mut site = Self { directory, index, authority, now };
        site.save()?;
        Ok(format!(
            "{}: the authority of site {}, good until {}.\n\
             Keep ca.key off the broker, and a copy of this directory in a safe place.",
            path.display(),
            site.index.site,
            new.until
        ))
    }

    /// Opens one.
    pub fn open(path: &Path, now: OffsetDateTime) -> anyhow::Result<Self> {
        let directory = Directory::open(path)?;
        let text = directory.read(INDEX).with_context(|| {
            format!("{}: no site's keys; make them with `floorcast pki init`", path.display())
        })?;
        let index = Index::parse(&text).with_context(|| {
            format!("{}: mend it, or take it from a copy", directory.path(INDEX).display())
        })?;
        let authority = Authority::read(&directory.read(CERTIFICATE)?, &directory.read(KEY)?)
            .with_context(|| format!("{}: take it from a copy", path.display()))?;
        Ok(Self { directory, index, authority, now })
    }

    /// A broker's key and certificate, and those with which the broker for
    /// fresh boxes on the same machine comes to it.
    pub fn broker(&mut self, host: &str, also: &[String], terms: Terms) -> anyhow::Result<String> {
        let mut names = vec![authority::dialled(host)?];
        // A broker is dialled from its own machine too.
        for other in also.iter().map(String::as_str).chain(["localhost", "127.0.0.1"]) {
            let other = authority::dialled(other)?;
            if !names.contains(&other) {
                names.push(other);
            }
        }
        let made = self.issue(Subject::broker(host)?, names, None, terms)?;
        if self.index.door && !terms.force {
            return Ok(made);
        }
        // What may be there has no rights (any more).
        let door = self.issue(Subject::Door, Vec::new(), None, Terms { force: true, ..terms })?;
        Ok(format!("{made}\n{door}"))
    }

    /// A box's key and certificate.
    pub fn appliance(&mut self, id: &str, terms: Terms) -> anyhow::Result<String> {
        self.issue(Subject::appliance(id)?, Vec::new(), None, terms)
    }

    /// A person's key and certificate.
    pub fn user(&mut self, name: &str, role: Role, terms: Terms) -> anyhow::Result<String> {
        self.issue(Subject::user(name)?, Vec::new(), Some(role), terms)
    }

    /// A box's certificate for a key that it made and keeps.
    pub fn sign(&mut self, request: &Path, id: &str, terms: Terms) -> anyhow::Result<String> {
        let subject = Subject::appliance(id)?;
        let certificate = format!("{}.pem", subject.stem());
        self.unless_taken(&certificate, terms)?;
        let text = files::read(request, REQUEST)?;
        let leaf = Leaf::new(subject, Vec::new(), self.until(terms));
        let signed = self.authority.sign(&text, &leaf, self.now);
        let signed = signed.with_context(|| request.display().to_string())?;
        self.keep(&leaf, &certificate, &signed)?;
        Ok(self.made(&leaf, &[&certificate]))
    }

    /// A box's certificate for the key of a request, and the authority's, PEM. A
    /// certificate for the same key that is still good is given again: whoever was cut
    /// off in the middle goes on.
    pub fn admit(&mut self, request: &str, id: &str, terms: Terms) -> anyhow::Result<[String; 2]> {
        let subject = Subject::appliance(id)?;
        let certificate = format!("{}.pem", subject.stem());
        let authority = self.directory.read(CERTIFICATE)?;
        if !terms.force && self.directory.has(&certificate) {
            let held = self.directory.read(&certificate)?;
            if authority::same_key(&held, request) && self.index.is_good(&subject, self.now.date())
            {
                return Ok([held, authority]);
            }
        }
        self.unless_taken(&certificate, terms)?;
        let leaf = Leaf::new(subject, Vec::new(), self.until(terms));
        let signed = self.authority.sign(request, &leaf, self.now)?;
        self.keep(&leaf, &certificate, &signed)?;
        Ok([signed, authority])
    }

    /// The site's name in topics.
    pub fn name(&self) -> &str {
        &self.index.site
    }

    /// Keeps a certificate that was signed here for somebody else's key.
    fn keep(&mut self, leaf: &Leaf, certificate: &str, signed: &str) -> anyhow::Result<()> {
        self.index.add(&leaf.subject, None, leaf.issued());
        self.save()?;
        self.directory.write(certificate, signed)
    }

    /// Gives a person another role; the certificate stays as it is.
    pub fn role(&mut self, name: &str, role: Role) -> anyhow::Result<String> {
        let held = self.index.users.get_mut(name).with_context(|| {
            format!("{name:?}: no such user with rights; `floorcast pki list` shows who there is")
        })?;
        *held = role;
        self.save()?;
        Ok(format!("{name} is {} now. Bring to the broker: {RIGHTS}", role.word()))
    }

    /// Takes the rights and all certificates of a common name.
    pub fn revoke(&mut self, cn: &str) -> anyhow::Result<String> {
        let subject: Subject = cn.parse()?;
        let count = self.index.revoke(&subject, self.now.date())?;
        self.save()?;
        Ok(format!(
            "{cn}: {count} certificate{} revoked. Bring to the broker: {RIGHTS} and {REVOCATIONS}",
            if count == 1 { "" } else { "s" }
        ))
    }

    /// Everybody, one line each.
    pub fn list(&self) -> String {
        let mut text = format!("{:<48} {:<10} {:<10}  state", "name", "role", "until");
        for issued in &self.index.certificates {
            let role = match issued.name.parse() {
                Ok(Subject::User(name)) => self.index.users.get(&name).map_or("-", |r| r.word()),
                Ok(Subject::Box(_)) => "box",
                Ok(Subject::Broker(_)) => "broker",
                Ok(Subject::Door) => "door",
                Err(_) => "-",
            };
            let state = match issued.revoked {
                Some(day) => format!("revoked {day}"),
                None if issued.until < self.now.date() => "expired".into(),
                None => "good".into(),
            };
            let role = if issued.revoked.is_some() { "-" } else { role };
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{:<48} {role:<10} {}  {state}", issued.name, issued.until);
        }
        text
    }

    fn issue(
        &mut self,
        subject: Subject,
        names: Vec<SanType>,
        role: Option<Role>,
        terms: Terms,
    ) -> anyhow::Result<String> {
        let stem = subject.stem();
        let (certificate, key) = (format!("{stem}.pem"), format!("{stem}.key"));
        self.unless_taken(&key, terms)?;
        self.unless_taken(&certificate, terms)?;
        let leaf = Leaf::new(subject, names, self.until(terms));
        let (signed, secret) = self.authority.issue(&leaf, self.now)?;
        self.index.add(&leaf.subject, role, leaf.issued());
        self.save()?;
        self.directory.write_secret(&key, &secret)?;
        self.directory.write(&certificate, &signed)?;
        Ok(self.made(&leaf, &[&certificate, &key]))
    }

    fn until(&self, terms: Terms) -> Date {
        let wanted = self.now.date().saturating_add(Duration::days(terms.days.into()));
        wanted.min(self.index.until)
    }

    fn unless_taken(&self, file: &str, terms: Terms) -> anyhow::Result<()> {
        ensure!(
            terms.force || !self.directory.has(file),
            "{}: is there already; --force makes another in its place (`revoke` first if it is lost)",
            self.directory.path(file).display()
        );
        Ok(())
    }

    fn made(&self, leaf: &Leaf, files: &[&str]) -> String {
        let paths: Vec<PathBuf> = files.iter().map(|file| self.directory.path(file)).collect();
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        format!("{}, good until {}: {}", leaf.subject, leaf.until, paths.join(", "))
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.index.crl += 1;
        self.directory.write(INDEX, &self.index.text()?)?;
        self.directory.write(REVOCATIONS, &self.authority.revocations(&self.index, self.now)?)?;
        self.directory.write(RIGHTS, &acl::text(&self.index))
    }
}
