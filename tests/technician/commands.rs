//! Commands: one message, one answer, and viewers who stay.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::changes::{frame, viewer};
use crate::rig::{ROOT, Site, USER, apply, soon};
use crate::support::mosquitto::program;
use crate::support::peer::Peer;

fn live(site: &mut Site, feed: &str) {
    let topic = format!("{ROOT}/health/feed/{feed}");
    site.ear.wait("live", |t, p| t == topic && p["state"] == "live");
}

fn ok(answer: Value) -> Value {
    assert_eq!(answer["status"], "ok", "{answer}");
    answer
}

fn refused(answer: &Value, word: &str) {
    assert_eq!(answer["status"], "refused", "{answer}");
    let reason = answer["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(word), "{word} in {answer}");
}

/// A camera that people closed is closed until they open it: through another revision
/// of that camera, and from the first moment after a power cut.
#[test]
fn what_people_closed_stays_closed() {
    let mut site = Site::new();
    live(&mut site, "line");
    let closed = ok(site.command("privacy", json!({ "feed": "line", "on": true })));
    assert_eq!((&closed["closed"], &closed["health"]["code"]), (&json!(true), &json!("privacy")));
    assert_eq!(closed["health"]["reason"], "privacy, by command");
    let audit = format!("{ROOT}/audit");
    let noted = site.ear.wait("audit", |t, p| t == audit && p["what"] == "privacy");
    assert_eq!((&noted["user"], &noted["outcome"]), (&json!(USER), &json!("accepted")));

    let mut document = site.document();
    document["camera"][0]["fps"] = json!(20);
    document["camera"][0]["privacy"] = json!(false);
    let from = site.ear.heard.len();
    let txid = site.txid("apply");
    site.ask("apply", &apply(&txid, 1, &document, 60));
    site.ear.reply(&txid, "trial");
    site.confirm(2);
    site.ear.reply(&txid, "confirmed");
    let shown = ok(site.command("snapshot", json!({ "feed": "line" })));
    assert_eq!(shown["of"], "slate");

    drop(site.daemon.take());
    site.start(&[]);
    let feed = format!("{ROOT}/health/feed/line");
    site.ear.wait("closed", |t, p| t == feed && p["state"] == "paused");
    let shown = ok(site.command("snapshot", json!({ "feed": "line" })));
    assert_eq!(shown["of"], "slate");
    let opened = |(t, p): &&(String, Value)| *t == feed && p["state"] == "live";
    assert_eq!(site.ear.heard[from..].iter().find(opened), None);

    let opened = ok(site.command("privacy", json!({ "feed": "line", "on": false })));
    assert_eq!(opened["closed"], false);
    live(&mut site, "line");
}

/// A feed that the house takes off is paused, in its own words, and comes back.
#[test]
fn a_feed_is_taken_off_and_put_on() {
    let mut site = Site::new();
    live(&mut site, "check");
    let off = ok(site.command("feed", json!({ "feed": "check", "on": false })));
    assert_eq!(
        off["health"],
        json!({ "state": "paused", "code": "paused",
        "reason": "paused by the house, by command" })
    );
    // Closed by both: opened by both only.
    ok(site.command("privacy", json!({ "feed": "check", "on": true })));
    let still = ok(site.command("feed", json!({ "feed": "check", "on": true })));
    assert_eq!((&still["closed"], &still["health"]["code"]), (&json!(true), &json!("privacy")));
    let on = ok(site.command("privacy", json!({ "feed": "check", "on": false })));
    assert_eq!(on["closed"], false);
    live(&mut site, "check");
}

/// What is not a whole, fresh, known command is refused by name and remedy; the same
/// txid does not run twice; a stored command never does.
#[test]
fn only_a_whole_and_fresh_command_runs() {
    let mut site = Site::new();
    live(&mut site, "line");
    let mut refuse = |name: &str, fields: Value, word: &str| {
        refused(&site.command(name, fields), word);
    };
    refuse("feed", json!({ "feed": "line", "on": true, "force": true }), "force");
    refuse("feed", json!({ "feed": "lin", "on": true }), "lin");
    refuse("restart", json!({ "part": "camera lin" }), "camera lin");
    refuse("write", json!({ "tag": "speed", "value": 1 }), "speed");
    refuse("erase", json!({}), "erase");
    let late = json!({ "txid": "late", "expires": "2026-01-01T00:00:00Z" });
    let mark = site.ear.mark();
    site.send("bundle", &late);
    refused(&site.ear.answer("late"), "expired");
    site.ear.rewind(mark);
    let audit = format!("{ROOT}/audit");
    let noted = site.ear.wait("noted", |t, p| t == audit && p["txid"] == "late");
    assert_eq!((&noted["outcome"], &noted["what"]), (&json!("refused"), &json!("bundle")));

    let off = json!({ "txid": "off", "expires": soon(), "feed": "line", "on": false });
    site.send("feed", &off);
    ok(site.ear.answer("off"));
    let mark = site.ear.mark();
    ok(site.command("feed", json!({ "feed": "line", "on": true })));
    site.send("feed", &off);
    assert_eq!(site.ear.answer("off")["status"], "seen");
    site.ear.rewind(mark);
    live(&mut site, "line");

    drop(site.daemon.take());
    let stored = json!({ "txid": "stored", "expires": soon(), "feed": "line", "on": false });
    let topic = format!("{ROOT}/cmd/{USER}/feed");
    site.broker.publish(&topic, stored.to_string(), &["-q", "1", "-r"]);
    site.start(&[]);
    let online = site.ear.here();
    refused(&site.ear.answer("stored"), "stored");
    site.ear.rewind(online);
    live(&mut site, "line");
}

/// A flood of one user is refused from the eleventh of a second on, and answered.
#[test]
fn a_flood_is_refused() {
    let site = &mut Site::new();
    let lines: String = (0..40)
        .map(|n| {
            let command = json!({ "txid": format!("f{n}"), "expires": soon(), "lines": 1 });
            format!("{command}\n")
        })
        .collect();
    site.broker.publish_lines(&format!("{ROOT}/cmd/{USER}/logs"), &lines);
    let mine = format!("{ROOT}/cmd/res/{USER}/f");
    let answers: Vec<_> = (0..40)
        .map(|n| site.ear.wait(&format!("answer {n}"), |t, _| t.starts_with(&mine)))
        .collect();
    let count = |status| answers.iter().filter(|a| a["status"] == status).count();
    assert!((10..=20).contains(&count("ok")), "{}", count("ok"));
    assert_eq!(count("ok") + count("refused"), 40);
}

/// A snapshot is a JPEG of what the feed shows, small enough, for who asked alone.
#[test]
fn a_snapshot_shows_the_feed() {
    let mut site = Site::new();
    live(&mut site, "line");
    // Line by line: what it says while it waits must not wait in its buffer.
    let mut command = program("stdbuf");
    command.args(["-oL", "mosquitto_sub"]);
    let topic = format!("{ROOT}/cmd/res/{USER}/+/jpeg");
    command.args(["-h", "127.0.0.1", "-p", &site.broker.port.to_string(), "-C", "2"]);
    // As hexadecimal digits: a line each.
    command.args(["-t", &topic, "-F", "%t %x", "-q", "1", "-d"]).stdout(Stdio::piped());
    let mut eye = Peer::start(&mut command, "mosquitto-clients");
    let mut lines = {
        use std::io::BufRead;
        std::io::BufReader::new(eye.0.stdout.take().expect("stdout")).lines().map_while(Result::ok)
    };
    assert!(lines.any(|line| line.contains("SUBACK")), "subscribed");
    for (width, size) in [(None, (320, 240)), (Some(160), (160, 120))] {
        let mut fields = json!({ "feed": "line" });
        if let Some(width) = width {
            fields["width"] = json!(width);
        }
        let shown = ok(site.command("snapshot", fields));
        assert_eq!((&shown["width"], &shown["height"]), (&json!(size.0), &json!(size.1)));
        assert_eq!(shown["of"], "camera");
        let digits = lines
            .find_map(|line| {
                line.strip_prefix(ROOT)?.split_once("/jpeg ").map(|(_, x)| x.to_owned())
            })
            .expect("a JPEG");
        assert!(digits.to_ascii_lowercase().starts_with("ffd8"), "{}", &digits[..20]);
        assert_eq!(shown["bytes"], digits.len() / 2);
        assert!(digits.len() / 2 <= 200 << 10);
    }
}

/// A camera is begun anew before a viewer who stays; a bus too.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_begun_anew_before_its_viewers() {
    let mut site = Site::new();
    live(&mut site, "line");
    let mut watching = viewer(&site, "line").await;
    frame(&mut watching).await;
    let began = ok(site.command("restart", json!({ "part": "camera line" })));
    assert_eq!(began["part"], "camera line");
    live(&mut site, "line");
    let first = frame(&mut watching).await;
    assert!(frame(&mut watching).await.wrapping_sub(first) < u32::MAX / 2);
    ok(site.command("restart", json!({ "part": "modbus plc" })));
    let unit = format!("{ROOT}/health/unit/plc/1");
    site.ear.wait("read again", |t, p| t == unit && p["state"] == "live");
}

/// The newest log lines, and a bundle of everything that fits and holds no secret.
#[test]
fn logs_and_bundle_tell_what_happened() {
    let mut site = Site::new();
    live(&mut site, "line");
    let logs = ok(site.command("logs", json!({ "lines": 500 })));
    let lines = logs["lines"].as_array().expect("lines");
    assert!(lines.iter().any(|l| l.as_str().is_some_and(|l| l.contains("state changed"))));
    let few = ok(site.command("logs", json!({ "lines": 2, "level": "info" })));
    assert_eq!(few["lines"].as_array().map(Vec::len), Some(2));
    let bundle = ok(site.command("bundle", json!({})));
    assert_eq!((&bundle["revision"], &bundle["document"]), (&json!(1), &site.document()));
    assert_eq!(bundle["report"]["status"], "confirmed");
    assert_eq!(bundle["health"]["feed/line"]["state"], "live");
    assert_eq!(bundle["state"]["online"], true);
    for key in ["audit", "log", "metrics"] {
        assert!(bundle[key].as_array().is_some_and(|all| !all.is_empty()), "{key}");
    }
    assert!(bundle["machine"]["uptime_s"].as_u64().is_some_and(|n| n > 0));
    assert_eq!(bundle["cut"], json!({}));
    assert!(bundle.to_string().len() <= 512 << 10);
}

/// The slate names box and camera for as long as was asked; then what was.
#[test]
fn a_camera_is_identified() {
    let mut site = Site::new();
    live(&mut site, "line");
    let shown = ok(site.command("identify", json!({ "feed": "line", "seconds": 2 })));
    assert_eq!(shown["shown"], json!({ "line": "line-2 · line" }));
    let topic = format!("{ROOT}/health/feed/line");
    let named = site.ear.wait("named", |t, p| t == topic && p["code"] == "identify");
    assert_eq!(named["reason"], "line-2 · line");
    live(&mut site, "line");
}

/// A camera without controls says so.
#[test]
fn controls_need_a_camera_that_has_them() {
    let mut site = Site::new();
    live(&mut site, "line");
    let set = site.command("control", json!({ "camera": "line", "controls": { "gain": 3 } }));
    assert_eq!(set["status"], "failed", "{set}");
}
