//! Which broker, as whom, which box: from flags, the environment and a profile.
//!
//! Comes in: arguments, and a small TOML file. Goes out: a checked [`Target`]. A flag
//! goes before its environment variable, and both before the profile. No secret is
//! held here, only where it is.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::end::bad;
use crate::config::Problems;
use crate::config::mqtt::{Connection, ConnectionFile};
use crate::config::studio::{Site, SiteFile};
use crate::control::change::is_user;

/// How to reach boxes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "For every command")]
pub struct Reach {
    /// The broker: mqtts://HOST:PORT, or mqtt:// in the clear.
    #[arg(long, global = true, env = "FLOORCAST_BROKER", value_name = "URL")]
    broker: Option<String>,
    /// PEM file of the site's authority.
    #[arg(long, global = true, env = "FLOORCAST_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of your certificate.
    #[arg(long, global = true, env = "FLOORCAST_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// PEM file of your key.
    #[arg(long, global = true, env = "FLOORCAST_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Your name at brokers without certificates; else it is the certificate's.
    #[arg(long, global = true, env = "FLOORCAST_USER", value_name = "NAME")]
    user: Option<String>,
    /// File with your password, for brokers without certificates.
    #[arg(long, global = true, env = "FLOORCAST_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The box.
    #[arg(long = "box", global = true, env = "FLOORCAST_BOX", value_name = "SITE/BOX")]
    site: Option<String>,
    /// TOML file with any of these: broker, ca, cert, key, user, password_file, box
    /// [default: ~/.config/floorcast/ctl.toml].
    #[arg(long, global = true, env = "FLOORCAST_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
}

/// A profile as typed. Paths are relative to its directory.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields)]
struct Profile {
    broker: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(rename = "box")]
    site: Option<String>,
}

/// What is to be reached.
#[derive(Debug)]
pub struct Target {
    /// The broker.
    pub connection: Connection,
    user: Option<String>,
    site: Option<Site>,
}

impl Target {
    /// Who asks.
    pub fn user(&self) -> anyhow::Result<&str> {
        let none = "who asks is not known: give --cert and --key, or --user at a broker without \
                    certificates";
        self.user.as_deref().ok_or_else(|| bad(none))
    }

    /// Which box.
    pub fn site(&self) -> anyhow::Result<&Site> {
        let none = "which box? --box SITE/BOX, FLOORCAST_BOX, or box in the profile; \
                    `floorcast ctl discover` lists them";
        self.site.as_ref().ok_or_else(|| bad(none))
    }
}

impl Reach {
    /// Flags, environment and profile as one, checked. `home`: where profiles are kept.
    pub fn check(self, home: Option<&Path>) -> anyhow::Result<Target> {
        let at = |home: &Path| home.join("floorcast/ctl.toml");
        let profile = match (&self.profile, home.map(at)) {
            (Some(path), _) => Profile::read(path)?,
            (None, Some(path)) if path.exists() => Profile::read(&path)?,
            _ => Profile::default(),
        };
        let none = "which broker? --broker URL, FLOORCAST_BROKER, or broker in the profile";
        let url = self.broker.or(profile.broker).ok_or_else(|| bad(none))?;
        let cert_file = self.cert.or(profile.cert);
        let [ca_file, key_file, password_file] = [
            self.ca.or(profile.ca),
            self.key.or(profile.key),
            self.password_file.or(profile.password_file),
        ];
        for (flag, path) in [
            ("ca", &ca_file),
            ("cert", &cert_file),
            ("key", &key_file),
            ("password-file", &password_file),
        ] {
            if let Some(path) = path {
                std::fs::File::open(path)
                    .map_err(|error| bad(format!("--{flag} {}: {error}", path.display())))?;
            }
        }
        let user = match (self.user.or(profile.user), &cert_file) {
            (Some(user), _) => Some(user),
            (None, Some(path)) => Some(named(path)?),
            (None, None) => None,
        };
        if let Some(user) = user.as_deref().filter(|user| !is_user(user)) {
            let want = "a user is 1 to 40 of a-z, 0-9, -, _, . and @; a box's certificate is none";
            return Err(bad(format!("user {user:?}: {want}")));
        }
        // A certificate speaks for itself.
        let username = user.clone().filter(|_| cert_file.is_none() || password_file.is_some());
        let file = ConnectionFile {
            url,
            version: None,
            client_id: None,
            username,
            password_file,
            ca_file,
            cert_file,
            key_file,
            server_name: None,
            keep_alive_s: 10,
            message_max_kib: MESSAGE_MAX_KIB,
        };
        let mut problems = Problems::default();
        let connection = file.check("", &mut problems);
        let site = self.site.or(profile.site).map(|text| place(&text, &mut problems));
        if problems.is_empty() {
            return Ok(Target { connection, user, site });
        }
        let each =
            |p: &crate::config::problems::Problem| format!("{}: {}", flag(&p.key), p.message);
        Err(bad(problems.iter().map(each).collect::<Vec<_>>().join("; ")))
    }
}

/// A document of 1 MiB and what is around it.
const MESSAGE_MAX_KIB: u32 = 2048;

/// A connection's key as the flag it came from.
fn flag(key: &str) -> &str {
    match key.trim_start_matches('.') {
        "url" => "--broker",
        "ca_file" => "--ca",
        "cert_file" => "--cert",
        "key_file" => "--key",
        "password_file" => "--password-file",
        other => other,
    }
}

/// `SITE/BOX`
fn place(text: &str, problems: &mut Problems) -> Site {
    let (site, id) = text.split_once('/').unwrap_or((text, ""));
    let mut wrong = Problems::default();
    let site = SiteFile { site: site.into(), id: id.into() }.check(&mut wrong);
    if !wrong.is_empty() {
        problems.add("--box", format!("{text:?}: use SITE/BOX, each 1 to 40 of a-z, 0-9, - and _"));
    }
    site
}

impl Profile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let named = |error: &dyn std::fmt::Display| {
            bad(format!("profile {}: {}", path.display(), error.to_string().trim_end()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        let mut profile: Self = toml::from_str(&text).map_err(|error| named(&error))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let files =
            [&mut profile.ca, &mut profile.cert, &mut profile.key, &mut profile.password_file];
        for file in files.into_iter().flatten() {
            *file = dir.join(&*file);
        }
        Ok(profile)
    }
}

/// Where a user's profiles are kept.
pub fn home() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("XDG_CONFIG_HOME").or_else(|| Some(var("HOME")?.join(".config")))
}

/// Whom the certificate in a file names.
fn named(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("--cert {}", path.display()))?;
    let none = || bad(format!("--cert {}: no certificate with a common name", path.display()));
    common_name(&bytes).ok_or_else(none)
}

/// The common name of the first certificate in a PEM file.
fn common_name(pem: &[u8]) -> Option<String> {
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(pem).filter_map(Result::ok);
    let block = blocks.find(|block| block.label == "CERTIFICATE")?;
    let certificate = block.parse_x509().ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reach(broker: &str) -> Reach {
        Reach { broker: Some(broker.into()), ..Reach::default() }
    }

    fn wrong(reach: Reach) -> String {
        format!("{:#}", reach.check(None).expect_err("accepted"))
    }

    /// A flag goes before the profile, whose paths are relative to its directory.
    #[test]
    fn a_flag_goes_before_the_profile() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("floorcast");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("ca.pem"), "").unwrap();
        let text = "broker = \"mqtts://mqtt.example\"\nca = \"ca.pem\"\nuser = \"li\"\nbox = \"works/line-2\"";
        std::fs::write(dir.join("ctl.toml"), text).unwrap();
        let target = Reach::default().check(Some(home.path())).unwrap();
        assert_eq!(target.user().unwrap(), "li");
        assert_eq!(target.connection.username.as_deref(), Some("li"));
        assert_eq!(target.connection.tls.as_ref().unwrap().ca_file, dir.join("ca.pem"));
        let ana = Reach {
            user: Some("ana".into()),
            site: Some("works/line-3".into()),
            ..Reach::default()
        };
        let target = ana.check(Some(home.path())).unwrap();
        assert_eq!((target.user().unwrap(), &*target.site().unwrap().id), ("ana", "line-3"));
    }

    /// Every mistake names the flag and the remedy.
    #[test]
    fn mistakes_name_the_flag() {
        assert!(wrong(Reach::default()).contains("--broker URL"));
        assert!(wrong(reach("tcp://a")).contains("--broker: \"tcp://a\": use mqtt://HOST:PORT"));
        assert!(wrong(reach("mqtts://a")).starts_with("--ca: missing"));
        let gone = Reach { ca: Some("/no/such.pem".into()), ..reach("mqtts://a") };
        assert!(wrong(gone).starts_with("--ca /no/such.pem: "));
        let boxed = Reach { site: Some("line-2".into()), ..reach("mqtt://a") };
        assert!(wrong(boxed).starts_with("--box: \"line-2\": use SITE/BOX"));
        let named = Reach { user: Some("box:line-2".into()), ..reach("mqtt://a") };
        assert!(wrong(named).starts_with("user \"box:line-2\""));
        let target = reach("mqtt://a").check(None).unwrap();
        assert!(target.user().is_err() && target.site().is_err());
    }

    /// An unknown key of a profile is named with its line.
    #[test]
    fn a_profile_with_a_mistake_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctl.toml");
        std::fs::write(&path, "brokr = \"mqtt://a\"\n").unwrap();
        let error = wrong(Reach { profile: Some(path), ..Reach::default() });
        assert!(error.contains("ctl.toml") && error.contains("line 1"), "{error}");
    }

    /// The user is whom the certificate names.
    #[test]
    fn a_certificate_names_the_user() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "li");
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let both = key.serialize_pem() + &pem;
        assert_eq!(common_name(both.as_bytes()).as_deref(), Some("li"));
    }

    proptest! {
        /// Whatever a file holds, nothing panics.
        #[test]
        fn any_file_is_judged(body in prop::collection::vec(any::<u8>(), 0..200), pem in any::<bool>()) {
            let mut bytes = body;
            if pem {
                let text: String = bytes.iter().map(|b| char::from(b'A' + b % 26)).collect();
                bytes = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n").into();
            }
            let _ = common_name(&bytes);
        }
    }
}
