//! The command line.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::{self, Control, Demo, End, Inside};
use crate::config::{self, Config};
use crate::{capture, control, ctl, disk, observe, pki, sealed, update};

/// As much as `password_file` may hold.
const MOST_SEALED: u64 = 65_537;

/// Puts a production line on air.
#[derive(Parser)]
#[command(name = "floorcast", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Go on air with a configuration.
    Run {
        /// The configuration, TOML: with --state only the first revision.
        #[arg(long)]
        config: PathBuf,
        /// Where revisions are kept, so that technicians can change the configuration
        /// over the brokers of `[control]`. Without such brokers only updates are kept there.
        #[arg(long, env = "STATE_DIRECTORY")]
        state: Option<PathBuf>,
        /// Where a stick with a firmware bundle is mounted, read-only.
        #[arg(long, env = "FLOORCAST_STICK", default_value = "/run/floorcast/stick")]
        stick: PathBuf,
        /// What the firmware's health gate makes once the slot that runs has passed.
        #[arg(long, env = "FLOORCAST_GOOD", default_value = "/run/floorcast-good")]
        good: PathBuf,
        /// Where it says why a slot has not passed.
        #[arg(long, env = "FLOORCAST_VERDICT", default_value = "/data/health/verdict.json")]
        verdict: PathBuf,
        /// A slot that has not passed after so many seconds is given up.
        #[arg(long, env = "FLOORCAST_GATE_S", default_value_t = 900)]
        gate_s: u32,
    },
    /// Check a configuration and name every mistake in it.
    Check {
        /// The configuration, TOML.
        file: PathBuf,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// List cameras with port, driver and formats, and try every encoder.
    Probe {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the figures of the daemon that runs on this box, as Prometheus text.
    Metrics {
        /// Its local socket.
        #[arg(
            long,
            env = "FLOORCAST_METRICS",
            default_value = "/run/floorcast-daemon/metrics.sock"
        )]
        socket: PathBuf,
    },
    /// Seal a secret with this box's TPM, so that only this box can read it.
    Seal {
        /// Where it goes; the name ends in .sealed. The secret itself is read from standard input.
        file: PathBuf,
    },
    /// Make the keys of a site: authority, brokers, boxes, people and their rights.
    Pki(pki::Arguments),
    /// Look at boxes and change them over MQTT: the technician's tool.
    Ctl(Box<ctl::Arguments>),
    /// Put the demo line on air: no camera, PLC or broker needed.
    #[cfg(feature = "sim")]
    Demo {
        /// The configuration; the built-in demo without it.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Draw the calibration strip: the line's 25 Hz tick as 16 Gray-coded squares.
        #[arg(long)]
        strip: bool,
    },
}

/// Reads the arguments and runs. Exit code 0: done; 1: failed; 2: bad
/// arguments or configuration.
pub fn main() -> ExitCode {
    // SAFETY: no thread has been started yet.
    unsafe { capture::quirks::work_round() };
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("floorcast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config, state: None, .. } => on_air(&read(&config)?, Some(config), None),
        Command::Run { config, state: Some(state), stick, good, verdict, gate_s } => {
            let within = Duration::from_secs(gate_s.into());
            let gate = update::Gate { good, verdict, within };
            let place = update::Place { dir: state.join("update"), stick, gate };
            on_air_with(&config, &state, place)
        }
        Command::Check { file } => Ok(match load(&read(&file)?, &file.display().to_string()) {
            Some(config) => {
                observe::say(&summary(&config));
                ExitCode::SUCCESS
            }
            None => ExitCode::from(2),
        }),
        Command::Schema => {
            observe::say(&serde_json::to_string_pretty(&config::schema::schema())?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe { json } => {
            let report = capture::probe::report();
            observe::say(&if json {
                serde_json::to_string_pretty(&report)?
            } else {
                report.to_string()
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Metrics { socket } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            observe::say(runtime.block_on(observe::local::read(&socket))?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Seal { file } => seal(&file),
        Command::Pki(arguments) => {
            observe::say(&pki::run(arguments, now())?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Ctl(arguments) => {
            let keys = ctl::Keys {
                site: |dir| pki::site(dir, now()),
                admit: |dir, id, request, force| pki::admit(dir, id, request, force, now()),
            };
            Ok(ctl::run(*arguments, Cli::command(), keys))
        }
        #[cfg(feature = "sim")]
        Command::Demo { config, strip } => {
            let text = match &config {
                Some(path) => read(path)?,
                None => include_str!("../configs/demo.toml").into(),
            };
            on_air(&text, config, Some(Demo { strip }))
        }
    }
}

fn now() -> time::OffsetDateTime {
    std::time::SystemTime::now().into()
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// A checked configuration, or every mistake on standard error.
fn load(text: &str, name: &str) -> Option<Config> {
    match config::load(text) {
        Ok(config) => Some(config),
        Err(problems) => {
            let count = problems.iter().count();
            eprintln!("{name}: {count} mistake{}", if count == 1 { "" } else { "s" });
            eprint!("{problems}");
            None
        }
    }
}

/// What is read from standard input, into a file that only this box's TPM opens.
fn seal(file: &Path) -> anyhow::Result<ExitCode> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(sealed::is_sealed(Path::new(name)), "{name:?}: use a name that ends in .sealed");
    let mut secret = Vec::new();
    std::io::stdin().take(MOST_SEALED + 1).read_to_end(&mut secret).context("standard input")?;
    ensure!(!secret.is_empty(), "nothing came on standard input");
    ensure!(secret.len() as u64 <= MOST_SEALED, "a secret has at most {MOST_SEALED} bytes");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sealed = runtime.block_on(sealed::seal(&secret, name))?;
    // A relative name without a directory is here.
    disk::put(&Path::new(".").join(file), &sealed)?;
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &Config) -> String {
    let tags = || config.tags.iter().filter(|t| !t.is_retired());
    let public = tags().filter(|t| t.public).count();
    format!(
        "{} camera(s), {} Modbus endpoint(s), {} broker(s), {} tag(s), {public} of them public: fine",
        config.cameras.len(),
        config.buses.len(),
        config.brokers.len(),
        tags().count(),
    )
}

/// Runs the last good revision on disk; the file where there is none.
fn on_air_with(file: &Path, state: &Path, place: update::Place) -> anyhow::Result<ExitCode> {
    let lines = observe::start_logs();
    let name = file.display().to_string();
    let seed = match read(file) {
        Ok(text) => load(&text, &name).and_then(|_| config::parse(&text).ok()),
        Err(error) => {
            eprintln!("floorcast: {error:#}");
            None
        }
    };
    if !control::has_revision(state) {
        let Some(seed) = &seed else { return Ok(ExitCode::from(2)) };
        let config = config::check(seed.clone(), &[]).map_err(|p| anyhow::anyhow!("{p}"))?;
        match (config.control.brokers.is_empty(), config.control.door.clone()) {
            (false, _) => {}
            (true, Some(door)) => {
                let (seed, dir) = (seed.clone(), state.to_owned());
                let control = Control::Door { door: Box::new(door), seed, dir };
                return put_on_air(config, None, None, Some(control), Some(place), lines);
            }
            (true, None) => {
                info!("no [[control.broker]]: only the file counts, and is read again at SIGHUP");
                return put_on_air(config, Some(file.to_owned()), None, None, Some(place), lines);
            }
        }
    }
    let seed = seed.unwrap_or_default();
    let (changes, good, first) = control::open(state, seed.clone())?;
    let config = match config::check(Value::clone(&good.document), &[]) {
        Ok(config) => Some(config),
        Err(problems) => {
            // It was fine when it was accepted: this version asks for something else.
            let number = good.number;
            eprintln!("revision {number} is not fit for this version; {name} runs instead");
            eprint!("{problems}");
            stand_in(seed, &good.document)
        }
    };
    match config {
        Some(config) => {
            let (changes, dir) = (Box::new(changes), state.to_owned());
            let control = Control::Revisions { changes, first, dir };
            put_on_air(config, None, None, Some(control), Some(place), lines)
        }
        None => Ok(ExitCode::from(2)),
    }
}

/// The first revision under the box's name and with its brokers, so that a technician
/// can mend the last one; without them where they are what is wrong.
fn stand_in(seed: Value, good: &Value) -> Option<Config> {
    let mut named = seed.clone();
    for key in ["box", "control"] {
        if let (Some(document), Some(own)) = (named.as_object_mut(), good.get(key)) {
            document.insert(key.into(), own.clone());
        }
    }
    config::check(named, &[]).or_else(|_| config::check(seed, &[])).ok()
}

/// Threads for calls that block end after so long without work: ten seconds, as
/// tokio has it, are for ever where each camera is asked for its exposure every five.
const IDLE: Duration = Duration::from_secs(1);

/// Runs what a file says until SIGTERM or SIGINT.
fn on_air(text: &str, file: Option<PathBuf>, demo: Option<Demo>) -> anyhow::Result<ExitCode> {
    let name = file.as_ref().map_or("the built-in demo".into(), |file| file.display().to_string());
    let Some(config) = load(text, &name) else { return Ok(ExitCode::from(2)) };
    let lines = observe::start_logs();
    put_on_air(config, file, demo, None, None, lines)
}

/// Runs until SIGTERM or SIGINT.
fn put_on_air(
    config: Config,
    file: Option<PathBuf>,
    demo: Option<Demo>,
    control: Option<Control>,
    place: Option<update::Place>,
    lines: observe::Lines,
) -> anyhow::Result<ExitCode> {
    let metrics = observe::start_metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(IDLE)
        .build()
        .context("start the async runtime")?;
    let stop = CancellationToken::new();
    let end = runtime.block_on(async {
        tokio::spawn(app::stop_on_signal(stop.clone()));
        let inside = Inside { metrics, lines };
        app::run(config, file, demo, control, place, inside, stop).await
    })?;
    // A blocking call that outlived the drain must not hold up the exit.
    runtime.shutdown_background();
    match end {
        End::Stopped => Ok(ExitCode::SUCCESS),
        End::Restart => {
            info!("starting again");
            let program = std::env::current_exe().context("start again")?;
            let mut again = std::process::Command::new(program);
            Err(again.args(std::env::args_os().skip(1)).exec()).context("start again")
        }
    }
}
