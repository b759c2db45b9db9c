//! The box, the page that viewers open, and the listeners.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;
use crate::model::{Label, Tag, TagId};

/// `[box]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SiteFile {
    /// The factory.
    pub site: String,
    /// This appliance.
    pub id: String,
}

impl Default for SiteFile {
    fn default() -> Self {
        Self { site: "site".into(), id: "box".into() }
    }
}

/// The box and its site.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// The factory.
    pub site: String,
    /// This appliance.
    pub id: String,
}

impl SiteFile {
    /// Raw to checked.
    pub fn check(self, problems: &mut Problems) -> Site {
        super::check_id("box.site", &self.site, problems);
        super::check_id("box.id", &self.id, problems);
        Site { site: self.site, id: self.id }
    }
}

/// `[studio]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StudioFile {
    /// The line's name, large on the page.
    pub name: Label,
    /// The manufacturer's name.
    pub brand: Label,
    /// Accent colour, `#rrggbb`.
    pub accent: Option<String>,
    /// Logo, an SVG or PNG file of at most 100 kB.
    pub logo: Option<std::path::PathBuf>,
    /// Tags shown large, in this order; each must be public. Others fold away.
    pub figures: Vec<String>,
}

/// The page.
#[derive(Debug, Clone, PartialEq)]
pub struct Studio {
    /// The line's name.
    pub name: Label,
    /// The manufacturer's name.
    pub brand: Label,
    /// `#rrggbb`.
    pub accent: String,
    /// Logo file.
    pub logo: Option<std::path::PathBuf>,
    /// Tags shown large, in order.
    pub figures: Vec<TagId>,
}

impl StudioFile {
    /// Raw to checked.
    pub fn check(self, tags: &Arc<[Tag]>, problems: &mut Problems) -> Studio {
        let accent = self.accent.unwrap_or_else(|| "#d98a1f".into());
        let hex = accent.strip_prefix('#').unwrap_or("");
        if hex.len() != 6 || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
            problems.add("studio.accent", format!("{accent:?}: write it as #rrggbb"));
        }
        let mut figures = Vec::new();
        for (i, name) in self.figures.iter().enumerate() {
            let at = format!("studio.figures[{i}]");
            match tags.iter().find(|t| *t.name == **name) {
                None => {
                    let near = super::problems::nearest(name, tags.iter().map(|t| &*t.name));
                    problems.add(at, format!("no tag is named {name:?}{near}"));
                }
                Some(tag) if !tag.public => {
                    problems.add(at, format!("{name:?} is private: set public = true on the tag"));
                }
                Some(tag) => figures.push(tag.id),
            }
        }
        Studio { name: self.name, brand: self.brand, accent, logo: self.logo, figures }
    }
}

/// `[web]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebFile {
    /// Where the page and WHEP listen (TCP).
    pub listen: String,
    /// The one UDP port for pictures and figures.
    pub media: String,
    /// More addresses at which viewers reach `media`: boxes behind NAT. With a
    /// port where the outer port differs.
    pub extra_addresses: Vec<String>,
    /// Viewers at once, over all feeds.
    #[schemars(range(min = 1, max = 10000))]
    pub viewers_max: u32,
    /// Origins whose pages may embed the feeds; `*` for all.
    pub cors_origins: Vec<String>,
}

impl Default for WebFile {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8080".into(),
            media: "0.0.0.0:8189".into(),
            extra_addresses: Vec::new(),
            viewers_max: 200,
            cors_origins: vec!["*".into()],
        }
    }
}

/// The public listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Web {
    /// Page and WHEP, TCP.
    pub listen: SocketAddr,
    /// Pictures and figures, UDP.
    pub media: SocketAddr,
    /// Further candidates.
    pub extra_addresses: Vec<SocketAddr>,
    /// Viewers at once.
    pub viewers_max: u32,
    /// `*` or origins.
    pub cors_origins: Vec<String>,
}

impl WebFile {
    /// Raw to checked.
    pub fn check(self, problems: &mut Problems) -> Web {
        let listen = address("web.listen", &self.listen, problems);
        let media = address("web.media", &self.media, problems);
        let mut extra_addresses = Vec::new();
        for (i, text) in self.extra_addresses.iter().enumerate() {
            let parsed = text
                .parse::<SocketAddr>()
                .or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, media.port()).into()));
            match parsed {
                Ok(address) => extra_addresses.push(address),
                Err(_) => problems.add(
                    format!("web.extra_addresses[{i}]"),
                    format!("{text:?}: an IP address, with or without a port"),
                ),
            }
        }
        for (i, origin) in self.cors_origins.iter().enumerate() {
            if origin != "*" && !origin.starts_with("http://") && !origin.starts_with("https://") {
                problems.add(
                    format!("web.cors_origins[{i}]"),
                    format!("{origin:?}: `*` or an origin such as https://shop.example"),
                );
            }
        }
        Web {
            listen,
            media,
            extra_addresses,
            viewers_max: self.viewers_max,
            cors_origins: self.cors_origins,
        }
    }
}

/// `[metrics]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetricsFile {
    /// Where `/metrics` listens; keep it on loopback.
    pub listen: String,
}

impl Default for MetricsFile {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9184".into() }
    }
}

/// The metrics listener.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// `/metrics`, TCP.
    pub listen: SocketAddr,
}

impl MetricsFile {
    /// Raw to checked.
    pub fn check(self, problems: &mut Problems) -> Metrics {
        Metrics { listen: address("metrics.listen", &self.listen, problems) }
    }
}

/// Reads an address; a wrong one is reported and stood in for.
fn address(at: &str, text: &str, problems: &mut Problems) -> SocketAddr {
    text.parse().unwrap_or_else(|_| {
        problems.add(at, format!("{text:?}: write it as 0.0.0.0:8080 or [::]:8080"));
        ([127, 0, 0, 1], 0).into()
    })
}
