//! `floorcast pki`: the keys of a site, for a first installation without any
//! other tool. Everything is in one directory, which belongs to whoever
//! prepares the site and not on a box.
//!
//! Comes in: names and roles, and requests of boxes that keep their own key.
//! Goes out: certificates and keys, and for the broker `acl` and `ca.crl`,
//! which every command writes anew. Nothing here talks to a network, and no key
//! is ever printed.

mod acl;
mod authority;
mod files;
mod index;
mod name;
mod site;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use index::Role;
use site::{Site, Terms};

/// A certificate is good for so long unless told otherwise.
const DAYS: u16 = 1826;

/// The arguments of `floorcast pki`.
#[derive(Args)]
pub struct Arguments {
    /// Where the site's keys are.
    #[arg(long, global = true, default_value = "site-keys")]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a site's certificate authority.
    Init {
        /// The site's name in topics: 1 to 40 of a-z, 0-9, - and _.
        #[arg(long)]
        site: String,
    },
    /// Make a broker's key and certificate.
    Broker {
        /// The host name that boxes and people dial.
        #[arg(long)]
        name: String,
        /// An address that they dial instead; may be given more than once.
        #[arg(long)]
        address: Vec<std::net::IpAddr>,
        #[command(flatten)]
        terms: Issue,
    },
    /// Make a box's key and certificate.
    Box {
        /// The box's name in topics: 1 to 40 of a-z, 0-9, - and _.
        #[arg(long)]
        id: String,
        #[command(flatten)]
        terms: Issue,
    },
    /// Make a person's or a program's key and certificate.
    User {
        /// 1 to 40 of a-z, 0-9, -, _, . and @.
        name: String,
        /// What it may do.
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        terms: Issue,
    },
    /// Sign the request of a box, which keeps its own key.
    Sign {
        /// The request: PKCS #10 in PEM.
        request: PathBuf,
        /// The box's name in topics.
        #[arg(long = "box")]
        id: String,
        #[command(flatten)]
        terms: Issue,
    },
    /// Give a user another role.
    Role {
        /// The user.
        name: String,
        /// What it may do from now on.
        role: Role,
    },
    /// Take all certificates and rights of a name.
    Revoke {
        /// As `list` shows it: a user, box:ID, broker:HOST or door:new.
        name: String,
    },
    /// List every certificate.
    List,
}

#[derive(Args)]
struct Issue {
    /// How many days it is good for.
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u16).range(1..=7305))]
    days: u16,
    /// Replace a key of the same name.
    #[arg(long)]
    force: bool,
}

impl From<Issue> for Terms {
    fn from(issue: Issue) -> Self {
        Self { days: issue.days, force: issue.force }
    }
}

/// Runs one command at `now`; what to tell its user.
pub fn run(arguments: Arguments, now: OffsetDateTime) -> anyhow::Result<String> {
    let open = || Site::open(&arguments.dir, now);
    match arguments.command {
        Command::Init { site } => Site::create(&arguments.dir, &site, now),
        Command::Broker { name, address, terms } => {
            let also: Vec<String> = address.iter().map(ToString::to_string).collect();
            open()?.broker(&name, &also, terms.into())
        }
        Command::Box { id, terms } => open()?.appliance(&id, terms.into()),
        Command::User { name, role, terms } => open()?.user(&name, role, terms.into()),
        Command::Sign { request, id, terms } => open()?.sign(&request, &id, terms.into()),
        Command::Role { name, role } => open()?.role(&name, role),
        Command::Revoke { name } => open()?.revoke(&name),
        Command::List => Ok(open()?.list()),
    }
}

/// The name of the site whose keys are in a directory.
///
/// # Errors
/// There are none, or they cannot be read.
pub fn site(dir: &Path, now: OffsetDateTime) -> anyhow::Result<String> {
    Ok(Site::open(dir, now)?.name().to_owned())
}

/// Signs the request of the box `id` at `now`: its certificate and the authority's, PEM.
/// `force`: in place of another key's.
///
/// # Errors
/// No keys there, no request, or another key has this name.
pub fn admit(
    dir: &Path,
    id: &str,
    request: &str,
    force: bool,
    now: OffsetDateTime,
) -> anyhow::Result<[String; 2]> {
    Site::open(dir, now)?.admit(request, id, Terms { days: DAYS, force })
}
