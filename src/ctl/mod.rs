//! `floorcast ctl`: the technician's tool.
//!
//! Comes in: arguments, a profile, files, and what boxes say at the plant's broker.
//! Goes out: requests and commands, tables and JSON. It can do nothing that plain
//! MQTT cannot: a box does not know which tool asks.

mod adopt;
mod call;
mod change;
mod command;
mod end;
mod file;
mod look;
mod out;
mod reach;
mod table;
mod tail;
mod talk;
mod trial;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use clap_complete::Shell;

use adopt::Adopt;
pub use adopt::Keys;
use change::Change;
use command::Command as Order;
use end::Code;
use out::Out;
use reach::{Reach, Target};
use talk::ANSWER;

/// The arguments of `floorcast ctl`.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(flatten)]
    reach: Reach,
    /// Print one JSON value a line, and nothing else, on standard output.
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait for an answer [default: 10; rollback, adopt: 60; probe: 70; discover: 2
    /// after the last box; tail: for ever].
    #[arg(long, global = true, value_name = "SECONDS", env = "FLOORCAST_WITHIN",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    within: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad arguments or a bad file
  3  refused, invalid, conflict, rolled back or not confirmed
  4  no broker, or no answer";

#[derive(Subcommand)]
enum Command {
    /// Print a script that completes this command line.
    Completion {
        /// For which shell.
        shell: Shell,
    },
    #[command(flatten)]
    Ask(Ask),
}

/// What needs a broker.
#[derive(Subcommand)]
enum Ask {
    /// List the boxes at the broker, and fresh ones that knock.
    Discover,
    /// Give a fresh box that knocks its site, its name and its certificate; engineers only.
    Adopt(Adopt),
    /// Show what runs on a box, and the health of its parts, the worst first.
    State,
    /// Follow what the box says: state, health, configuration, audit.
    Tail {
        /// Other topics below the box's, as `health/feed/+`.
        #[arg(value_name = "TOPIC")]
        topics: Vec<String>,
        /// Also telemetry.
        #[arg(long)]
        tele: bool,
    },
    #[command(flatten)]
    Change(Change),
    #[command(flatten)]
    Order(Order),
}

/// Runs one command. `all`: the whole command line, for its completion; `keys`: how a
/// box's request is signed.
pub fn run(arguments: Arguments, all: clap::Command, keys: Keys) -> ExitCode {
    let out = Out::new(arguments.json);
    match start(arguments, all, keys, out) {
        Ok(code) => code.into(),
        Err(error) => {
            out.note(&format!("floorcast ctl: {error:#}"));
            end::code(&error).into()
        }
    }
}

fn start(arguments: Arguments, all: clap::Command, keys: Keys, out: Out) -> anyhow::Result<Code> {
    let ask = match arguments.command {
        Command::Completion { shell } => return Ok(complete(shell, all)),
        Command::Ask(ask) => ask,
    };
    let target = arguments.reach.check(reach::home().as_deref())?;
    let within = arguments.within.map(Duration::from_secs);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let ended = runtime.block_on(perform(&ask, &target, within, keys, out));
    // A name that is still being looked up must not hold up the exit.
    runtime.shutdown_background();
    ended
}

fn complete(shell: Shell, mut all: clap::Command) -> Code {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut all, "floorcast", &mut script);
    Out::new(false).lines(&String::from_utf8_lossy(&script));
    Code::Done
}

async fn perform(
    ask: &Ask,
    target: &Target,
    within: Option<Duration>,
    keys: Keys,
    out: Out,
) -> anyhow::Result<Code> {
    match ask {
        Ask::Discover => look::discover(target, within.unwrap_or(look::QUIET), out).await,
        Ask::Adopt(adopt) => adopt.perform(target, within, keys, out).await,
        Ask::State => look::state(target, within.unwrap_or(ANSWER), out).await,
        Ask::Tail { topics, tele } => tail::tail(target, topics, *tele, within, out).await,
        Ask::Change(change) => change::ask(change, target, within, out).await,
        Ask::Order(order) => {
            command::send(order, target, within.unwrap_or(order.usual()), out).await
        }
    }
}
