//! `floorcast ctl` at the shipped broker, with certificates on both sides.

use std::process::{Command, Output};

use crate::site::Site;

fn ctl(site: &Site, who: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floorcast"));
    let broker = format!("mqtts://localhost:{}", site.port);
    command.args(["ctl", "--broker", &broker, "--box", "amber-works/line-2", "--within", "1"]);
    command.arg("--ca").arg(site.key("ca.pem"));
    command.arg("--cert").arg(site.key(&format!("{who}.pem")));
    command.arg("--key").arg(site.key(&format!("{who}.key")));
    command.args(args).env("XDG_CONFIG_HOME", "/nonexistent").output().expect("floorcast ctl")
}

/// The certificate says who asks; what its role may not do is refused by the broker,
/// and the tool says what would help.
#[test]
fn the_certificate_says_who_asks() {
    let site = Site::start();
    for (who, args, code, words) in [
        // Nobody answers: it was let through.
        ("user-tom", &["identify"][..], 4, "may tom do this"),
        ("user-tom", &["get"], 4, "may tom ask it"),
        ("user-eva", &["write", "speed", "1"], 4, "may eva do this"),
        ("user-tom", &["write", "speed", "1"], 3, "floorcast pki role"),
        ("user-vic", &["get"], 3, "not authorized"),
        ("user-vic", &["state"], 4, "no state within"),
        ("user-rex", &["state"], 4, "--cert"),
        ("box-line-2", &["state"], 2, "a box's certificate is none"),
    ] {
        let out = ctl(&site, who, args);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{who} {args:?}: {said}");
        assert!(said.contains(words), "{who} {args:?}: {said}");
    }
}
