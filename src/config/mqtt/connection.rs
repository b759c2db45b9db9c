//! How to reach a broker.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Problems;

/// A broker's address and credentials as typed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct ConnectionFile {
    /// `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` for TLS. The port may be left
    /// out: 1883, with TLS 8883.
    pub url: String,
    /// Protocol version, `5` or `3.1.1`; by default 5, and 3.1.1 where the
    /// broker does not take that. With 5 the broker keeps back messages that
    /// are too large and says why it refuses something.
    pub version: Option<Version>,
    /// Name at the broker; two clients of one name throw each other off. By
    /// default `floorcast` and twelve random digits, new at every start.
    #[schemars(length(max = 256))]
    pub client_id: Option<String>,
    /// User name.
    #[schemars(length(max = 1024))]
    pub username: Option<String>,
    /// File that holds the password, and perhaps a line end. It is read at
    /// every connect. One that ends in `.sealed` is opened by the box's TPM
    /// (`floorcast seal`).
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that may have signed the broker's
    /// certificate; needed with `mqtts://`. The system's own list on Debian is
    /// `/etc/ssl/certs/ca-certificates.crt`.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this box's certificate and its chain, if the broker asks for one.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the private key of `cert_file`; `.sealed` as above.
    pub key_file: Option<PathBuf>,
    /// Name that the broker's certificate must carry; by default the host of `url`.
    pub server_name: Option<String>,
    /// A silent broker is asked for a sign of life after this long and given
    /// up after twice as long.
    #[serde(default = "ten")]
    #[schemars(range(min = 5, max = 60))]
    pub keep_alive_s: u16,
    /// Greatest message, with its topic. MQTT 5: the broker keeps larger ones
    /// back. MQTT 3.1.1 cannot say so: a larger one costs the connection.
    #[serde(default = "one_mebi")]
    #[schemars(range(min = 16, max = 65536))]
    pub message_max_kib: u32,
}

fn ten() -> u16 {
    10
}

fn one_mebi() -> u32 {
    1024
}

/// In place of a host: whoever announces this on the local network (RFC 6763), with
/// `floorcast=door` in its text.
pub const NEARBY: &str = "_secure-mqtt._tcp.local";

/// Protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Version {
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V4,
}

/// A broker's address and credentials. Holds no secret, only where they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protocol version; `None`: 5, or else 3.1.1.
    pub version: Option<Version>,
    /// Name at the broker; random where `None`.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Over TLS, or in the clear.
    pub tls: Option<Tls>,
    /// Time between signs of life.
    pub keep_alive: Duration,
    /// Greatest packet taken, bytes.
    pub message_max: u32,
}

/// PEM files for TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Authorities that may have signed the broker's certificate.
    pub ca_file: PathBuf,
    /// This box's certificate chain and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that the broker's certificate must carry.
    pub server_name: String,
}

impl Connection {
    /// Whether its address is to be found on the local network.
    pub fn is_nearby(&self) -> bool {
        self.host == NEARBY
    }
}

impl ConnectionFile {
    /// Raw to checked. Files are not opened: they are read at every connect.
    pub fn check(self, at: &str, problems: &mut Problems) -> Connection {
        let key = |name: &str| format!("{at}.{name}");
        let (secure, host, port) = match address(&self.url) {
            Ok(address) => address,
            Err(why) => {
                problems.add(key("url"), format!("{:?}: {why}", self.url));
                (self.ca_file.is_some(), "stand-in".to_owned(), 1883)
            }
        };
        if host.starts_with('_') && !(secure && host == NEARBY && at == "control.door") {
            let door = format!("only [control.door] looks around, for mqtts://{NEARBY}");
            problems.add(key("url"), format!("{:?}: {door}", self.url));
        }
        if self.version == Some(Version::V4)
            && self.password_file.is_some()
            && self.username.is_none()
        {
            problems.add(key("password_file"), "MQTT 3.1.1 has no password without a username");
        }
        let identity = match (self.cert_file, self.key_file) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                problems.add(key("cert_file"), "set key_file to its private key");
                None
            }
            (None, Some(_)) => {
                problems.add(key("key_file"), "set cert_file to its certificate");
                None
            }
        };
        if !secure {
            for (name, set) in [
                ("ca_file", self.ca_file.is_some()),
                ("cert_file", identity.is_some()),
                ("server_name", self.server_name.is_some()),
            ] {
                if set {
                    problems.add(key(name), "mqtt:// is not encrypted: use mqtts://");
                }
            }
        }
        if secure && self.ca_file.is_none() {
            problems.add(
                key("ca_file"),
                "missing: the PEM file of the authority that signed the broker's certificate, \
                 such as /etc/ssl/certs/ca-certificates.crt",
            );
        }
        let tls = secure.then(|| Tls {
            ca_file: self.ca_file.unwrap_or_default(),
            identity,
            server_name: self.server_name.unwrap_or_else(|| host.clone()),
        });
        Connection {
            host,
            port,
            version: self.version,
            client_id: self.client_id.filter(|id| !id.is_empty()),
            username: self.username,
            password_file: self.password_file,
            tls,
            keep_alive: Duration::from_secs(self.keep_alive_s.into()),
            message_max: self.message_max_kib * 1024,
        }
    }
}

/// TLS or not, host, port; otherwise what is wrong.
fn address(url: &str) -> Result<(bool, String, u16), &'static str> {
    let (secure, rest) = if let Some(rest) = url.strip_prefix("mqtt://") {
        (false, rest)
    } else if let Some(rest) = url.strip_prefix("mqtts://") {
        (true, rest)
    } else {
        return Err("use mqtt://HOST:PORT or mqtts://HOST:PORT");
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("use username and password_file, not the URL, for credentials");
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("an IPv6 address ends with ]")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "not an IPv6 address")?;
            (host, port)
        }
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
        return Err("the host is a name or an IP address; IPv6 in [brackets]");
    }
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|p| *p > 0).ok_or("the port is 1 to 65535")?,
        None if port.is_empty() => [1883, 8883][usize::from(secure)],
        None => return Err("after the host comes :PORT or nothing"),
    };
    Ok((secure, host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Schemes, default ports, IPv6 in brackets.
    #[test]
    fn addresses_are_read() {
        for (url, secure, host, port) in [
            ("mqtt://10.0.0.2", false, "10.0.0.2", 1883),
            ("mqtts://broker.plant.example/", true, "broker.plant.example", 8883),
            ("mqtt://localhost:2883", false, "localhost", 2883),
            ("mqtts://[fd00::2]:8884", true, "fd00::2", 8884),
            ("mqtt://[::1]", false, "::1", 1883),
        ] {
            assert_eq!(address(url), Ok((secure, host.into(), port)), "{url}");
        }
    }

    /// Everything else is refused, credentials in the URL above all.
    #[test]
    fn other_addresses_are_refused() {
        for url in [
            "10.0.0.2:1883",
            "tcp://10.0.0.2",
            "mqtt://",
            "mqtt://user:secret@10.0.0.2",
            "mqtt://h:0",
            "mqtt://h:70000",
            "mqtt://h:1/path",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://fd00::2",
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    proptest! {
        /// Whatever is typed: no panic, and what is accepted has a host and a port.
        #[test]
        fn any_url_is_judged(url in "(mqtts?://)?[a-z0-9:./@\\[\\]-]{0,20}") {
            if let Ok((_, host, port)) = address(&url) {
                prop_assert!(!host.is_empty() && port > 0);
            }
        }
    }
}
