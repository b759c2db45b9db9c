//! From a box that knocks to one of the site, in one command.
//!
//! Comes in: greetings and results at the door, of any shape, from anybody on the
//! network; then the box's state. Goes out: a certificate, on disk, and one invitation. Of
//! the site's keys this tool has only what can be done with them ([`Keys`]). Serial
//! numbers are no secret: the fingerprint that is shown is that of the key which is
//! signed, whatever the greeting says, and is for a person to compare. Of other boxes
//! that knock at most [`MOST`] are remembered, for the message.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueHint};
use rcgen::CertificateSigningRequestParams;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::call::Call;
use super::end::{Code, bad, silent, with};
use super::look::{online, word};
use super::out::{self, Out};
use super::reach::Target;
use super::table::Table;
use super::talk::{soon, txid};
use crate::config::Problems;
use crate::config::studio::{Site, SiteFile};
use crate::control::adopt::fingerprint;
use crate::control::topics::{ROOT, Topics};
use crate::mqtt::Message;

/// Other boxes that are named when the one that is meant does not knock.
const MOST: usize = 20;

/// A box knocks, answers, and is there under its new name, each within this.
const WITHIN: Duration = Duration::from_secs(60);

/// What can be done with a site's keys, by whoever has them.
#[derive(Clone, Copy)]
pub struct Keys {
    /// The name of the site whose keys are in a directory.
    pub site: fn(&Path) -> anyhow::Result<String>,
    /// Signs a request: directory, box, request, and whether in place of another key;
    /// the box's certificate and the authority's, PEM.
    pub admit: fn(&Path, &str, &str, bool) -> anyhow::Result<[String; 2]>,
}

/// The arguments of `floorcast ctl adopt`.
#[derive(Args, Debug)]
pub struct Adopt {
    /// Its serial number, as `discover` lists it.
    serial: String,
    /// Its name from now on; the site is that of the keys and may be left out.
    #[arg(value_name = "[SITE/]BOX")]
    name: String,
    /// Where the site's keys are.
    #[arg(long, default_value = "site-keys", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Only a box with this fingerprint, and then without asking.
    #[arg(long)]
    fingerprint: Option<String>,
    /// Brings `acl` from the keys to the broker and lets it read it, before the box comes:
    /// `--install 'scp site-keys/acl broker: && ssh broker …'`.
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    install: Option<String>,
    /// A broker that it is to dial; may be given more than once [default: the one asked here].
    #[arg(long, value_name = "URL")]
    dial: Vec<String>,
    /// Replace the certificate of another key of this name.
    #[arg(long)]
    force: bool,
    /// Ask nothing: take whoever has this serial number.
    #[arg(long)]
    yes: bool,
}

/// A box that knocks.
#[derive(Debug)]
struct Hello {
    fingerprint: String,
    version: String,
    /// What keeps its key, as it says.
    keeper: &'static str,
    request: String,
}

impl Hello {
    /// Reads a greeting; what is wrong with it.
    fn read(payload: &[u8], serial: &str) -> Result<Self, &'static str> {
        let hello: Value = serde_json::from_slice(payload).map_err(|_| "it is not JSON")?;
        if hello["serial"] != serial {
            return Err("it names another serial number");
        }
        let request = hello["request"].as_str().ok_or("it has no request")?;
        let Ok(asked) = CertificateSigningRequestParams::from_pem(request) else {
            return Err("its request is none, or is not signed by its key");
        };
        let print = fingerprint(&asked.public_key);
        if hello["fingerprint"] != *print {
            return Err("its fingerprint is not that of its key");
        }
        let keeper = match hello["key"].as_str() {
            Some("tpm") => "sealed by its TPM",
            _ => "a file",
        };
        let (version, request) = (word(&hello["version"]), request.to_owned());
        Ok(Self { fingerprint: print, version, keeper, request })
    }
}

impl Adopt {
    /// Adopts a box, and waits until it is there.
    pub async fn perform(
        &self,
        target: &Target,
        within: Option<Duration>,
        keys: Keys,
        out: Out,
    ) -> anyhow::Result<Code> {
        let within = within.unwrap_or(WITHIN);
        let held = (keys.site)(&self.dir).map_err(|error| {
            bad(format!("{error:#}; --dir names the directory with the site's keys"))
        })?;
        let (site, brokers) = (self.place(&held)?, self.brokers(target)?);
        let name = format!("{}/{}", site.site, site.id);
        let hello = self.hear(target, &site, within, out).await?;
        let Hello { fingerprint, version, keeper, request } = &hello;
        let serial = &self.serial;
        out.note(&format!(
            "serial {serial}, fingerprint {fingerprint}, version {version}, key {keeper}"
        ));
        self.is_meant(&name, fingerprint)?;
        let [certificate, authority] =
            (keys.admit)(&self.dir, &site.id, request, self.force).map_err(refused)?;
        self.install(out).await?;
        let invitation = json!({
            "serial": self.serial, "site": site.site, "box": site.id,
            "certificate": certificate, "authority": authority, "brokers": brokers,
        });
        let state = self.invite(target, &site, invitation, within, out).await?;
        out.value(&json!({
            "serial": self.serial, "fingerprint": fingerprint,
            "site": site.site, "box": site.id, "state": state,
        }));
        let mut table = Table::new(&["BOX", "STATE", "VERSION", "REVISION", "SERIAL"]);
        let [version, revision] = ["version", "revision"].map(|field| word(&state[field]));
        table.row([name, online(&state).into(), version, revision, self.serial.clone()]);
        out.table(&table);
        Ok(Code::Done)
    }

    /// Its name, at the site whose keys these are.
    fn place(&self, held: &str) -> anyhow::Result<Site> {
        let (site, id) = self.name.split_once('/').unwrap_or((held, &self.name));
        if site != held {
            let dir = self.dir.display();
            return Err(bad(format!(
                "site {site:?}: the keys in {dir} are those of {held:?}; --dir names others"
            )));
        }
        let mut wrong = Problems::default();
        let site = SiteFile { site: site.into(), id: id.into() }.check(&mut wrong);
        if wrong.is_empty() {
            return Ok(site);
        }
        Err(bad(format!("{:?}: use SITE/BOX, each 1 to 40 of a-z, 0-9, - and _", self.name)))
    }

    /// What it is to dial.
    fn brokers(&self, target: &Target) -> anyhow::Result<Vec<String>> {
        let connection = &target.connection;
        let host = match connection.host.contains(':') {
            true => format!("[{}]", connection.host),
            false => connection.host.clone(),
        };
        let ours = format!("mqtts://{host}:{}", connection.port);
        let flag = "use mqtts://HOST:PORT: an adopted box comes with its certificate";
        if let Some(url) = self.dial.iter().find(|url| !url.starts_with("mqtts://")) {
            return Err(bad(format!("--dial {url:?}: {flag}")));
        }
        match (self.dial.is_empty(), &connection.tls) {
            (false, _) => Ok(self.dial.clone()),
            (true, Some(_)) => Ok(vec![ours]),
            (true, None) => Err(bad(format!("--dial: the broker asked here has no TLS; {flag}"))),
        }
    }

    /// Waits until the box knocks.
    async fn hear(
        &self,
        target: &Target,
        site: &Site,
        within: Duration,
        out: Out,
    ) -> anyhow::Result<Hello> {
        let (topics, serial) = (Topics::new(site), &self.serial);
        let mut call = Call::open(&target.connection).await?;
        // What is stored comes before anybody can knock.
        call.listen(&[topics.state()]).await?;
        call.listen(&[format!("{ROOT}/new/+/hello")]).await?;
        let (mut others, mut odd) = (BTreeSet::new(), None);
        let until = Instant::now() + within;
        let mut waiting = false;
        let heard = loop {
            // A box that has just come is heard at once.
            let soon =
                if waiting { until } else { until.min(Instant::now() + Duration::from_secs(1)) };
            let Some(Message { topic, payload, retained, .. }) = call.next(soon).await? else {
                if Instant::now() >= until {
                    break None;
                }
                waiting = true;
                out.note(&format!("waiting until {serial} knocks"));
                continue;
            };
            if topic == topics.state() {
                let state: Value = serde_json::from_slice(&payload).unwrap_or_default();
                if state["online"] == true {
                    break Some(Err(with(
                        Code::Refused,
                        format!(
                            "{}/{} is there already, and online: take another name, or \
                             `floorcast pki revoke box:{}` if that box is to go",
                            site.site, site.id, site.id
                        ),
                    )));
                }
                continue;
            }
            let rest = topic.strip_prefix(ROOT).unwrap_or_default().split('/');
            let ["", "new", who, "hello"] = rest.collect::<Vec<_>>()[..] else { continue };
            if who != serial {
                if others.len() < MOST {
                    others.insert(who.to_owned());
                }
                continue;
            }
            if retained {
                odd = Some("its greeting is a stored one".to_owned());
                continue;
            }
            match (Hello::read(&payload, serial), &self.fingerprint) {
                (Ok(hello), Some(wanted)) if *wanted != hello.fingerprint => {
                    odd = Some(format!("its fingerprint is {}", hello.fingerprint));
                }
                (Ok(hello), _) => break Some(Ok(hello)),
                (Err(why), _) => odd = Some(why.into()),
            }
        };
        call.close().await;
        match (heard, odd) {
            (Some(heard), _) => heard,
            (None, Some(why)) => Err(with(
                Code::Refused,
                format!("serial {serial} is not the box that is meant: {why}"),
            )),
            (None, None) => Err(silent(format!(
                "nobody of serial {serial} knocked within {within:?}{}: is the door open \
                 (`systemctl start floorcast-door`), may you read it (engineers)? A box that is \
                 adopted already knocks no more",
                match others.is_empty() {
                    true => String::new(),
                    false => format!(", but {}", Vec::from_iter(others).join(", ")),
                }
            ))),
        }
    }

    /// Whether somebody has compared the fingerprint, or wants it without.
    fn is_meant(&self, name: &str, fingerprint: &str) -> anyhow::Result<()> {
        if self.yes || self.fingerprint.is_some() {
            return Ok(());
        }
        let look = "compare the fingerprint with the one that the box shows in its log";
        if !out::asks() {
            let again = format!("{look}, then say --fingerprint {fingerprint}");
            return Err(with(Code::Refused, format!("not adopted: {again}")));
        }
        match out::ask(&format!("{look}. Adopt it as {name}?")) {
            true => Ok(()),
            false => Err(with(Code::Refused, "not adopted")),
        }
    }

    /// Brings the box's rights to the broker, or has them brought: what a box says before
    /// it may is lost.
    async fn install(&self, out: Out) -> anyhow::Result<()> {
        let acl = self.dir.join("acl");
        let Some(install) = &self.install else {
            let text = format!("{}: bring it to the broker and reload", acl.display());
            let there = !self.yes && out::asks();
            if there && !out::ask(&format!("{text}. Is it there?")) {
                let again = "signed, but not invited: say the same again once it is there";
                return Err(with(Code::Refused, again));
            }
            if !there {
                out.note(&format!("{text}, or the box has no rights"));
            }
            return Ok(());
        };
        let mut shell = tokio::process::Command::new("sh");
        shell.arg("-c").arg(install).stdin(Stdio::null()).stdout(std::io::stderr());
        let status = shell.status().await.context("--install: sh")?;
        let again = "the box is signed, but not invited: mend it and say the same again";
        match status.success() {
            true => Ok(()),
            false => Err(with(Code::Failed, format!("--install: {status}; {again}"))),
        }
    }

    /// Sends the invitation; the state of the box under its name.
    async fn invite(
        &self,
        target: &Target,
        site: &Site,
        mut invitation: Value,
        within: Duration,
        out: Out,
    ) -> anyhow::Result<Value> {
        let (topics, serial) = (Topics::new(site), &self.serial);
        let [result, invite] =
            ["result", "adopt"].map(|name| format!("{ROOT}/new/{serial}/{name}"));
        let id = txid();
        invitation["txid"] = json!(id);
        invitation["expires"] = json!(soon());
        let mut call = Call::open(&target.connection).await?;
        call.listen(&[result.clone(), topics.state()]).await?;
        call.say(&invite, invitation.to_string().into()).await?;
        let (mut until, mut taken) = (Instant::now() + within, false);
        let state = loop {
            let Some(message) = call.next(until).await? else { break None };
            let value: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            // Stored is what another box of this name has left.
            if message.topic == topics.state() && !message.retained && value["online"] == true {
                break Some(value);
            }
            if message.topic != result || value["txid"] != *id {
                continue;
            }
            if value["status"] != "adopted" {
                return Err(with(
                    Code::Refused,
                    format!("the box refuses: {}", word(&value["reason"])),
                ));
            }
            out.note("adopted: it starts again under its name");
            (until, taken) = (Instant::now() + within, true);
        };
        call.close().await;
        state.ok_or_else(|| match taken {
            true => silent(format!(
                "adopted, but not online within {within:?}: is {} at the broker, and can the box \
                 dial {}? `floorcast ctl state --box {}/{}`",
                self.dir.join("acl").display(),
                invitation["brokers"],
                site.site,
                site.id
            )),
            false => silent(format!(
                "the box did not answer within {within:?}: is the door still open? Say the same \
                 again: what is signed counts"
            )),
        })
    }
}

/// The keys do not give a certificate.
fn refused(error: anyhow::Error) -> anyhow::Error {
    with(Code::Refused, format!("not signed: {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn hello(key: &KeyPair) -> Value {
        let request = CertificateParams::default().serialize_request(key).unwrap().pem().unwrap();
        json!({ "serial": "sn-1", "fingerprint": fingerprint(key), "request": request })
    }

    fn read(hello: &Value) -> Result<Hello, &'static str> {
        Hello::read(hello.to_string().as_bytes(), "sn-1")
    }

    /// What is shown is the fingerprint of the key that would be signed.
    #[test]
    fn a_greeting_with_another_keys_fingerprint_is_refused() {
        let [own, other] = [0; 2].map(|_| KeyPair::generate().unwrap());
        let mut said = hello(&own);
        assert_eq!(read(&said).unwrap().fingerprint, fingerprint(&own));
        said["fingerprint"] = json!(fingerprint(&other));
        assert_eq!(read(&said).unwrap_err(), "its fingerprint is not that of its key");
        said["request"] = json!("none");
        assert!(read(&said).unwrap_err().contains("request"));
        assert!(read(&json!({ "serial": "sn-2" })).unwrap_err().contains("serial"));
        assert!(Hello::read(b"\xff", "sn-1").is_err());
    }
}
