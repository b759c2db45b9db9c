//! Everybody tries every topic at the site's broker.

use serde_json::{Value, json};

use crate::site::{Outcome, Site, made};
use crate::support::mosquitto::shell;
use crate::table;

fn inside(wrote: Vec<String>, read: Vec<String>) -> Outcome {
    Outcome::In { wrote, read }
}

/// Certificates that `floorcast pki` would not make: the site's authority in
/// careless hands, and another authority that knows the names.
const FORGED: &str = r#"
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout forged-$1.key -out $1.csr -subj "$2"; }
sign() { openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 30 -out forged-$1.pem -extfile client.ext; }
printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n' > client.ext
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout foreign.key -out foreign.pem -subj "/CN=Floorcast site amber-works"
new foreign /CN=eva; sign foreign foreign
new hash '/CN=#'; sign hash ca
new plus '/CN=\+'; sign plus ca
new box '/CN=box:\+'; sign box ca
new nobody '/CN=nobody'; sign nobody ca
"#;

/// Each role writes and reads what the table says, and nothing else; who has
/// no good certificate of the site does not get in.
#[test]
fn every_role_tries_every_topic() {
    let site = Site::start();
    shell(&site.dir.path().join("site-keys"), FORGED);
    let mut claiming = site.client("user-vic");
    claiming["username"] = json!("eva");
    let expected: Vec<(&str, Value, Outcome)> = vec![
        ("viewer", site.client("user-vic"), inside(vec![], table::viewer_reads())),
        (
            "technician",
            site.client("user-tom"),
            inside(table::technician_writes("tom"), table::technician_reads("tom")),
        ),
        (
            "engineer",
            site.client("user-eva"),
            inside(table::engineer_writes("eva"), table::engineer_reads("eva")),
        ),
        (
            "box",
            site.client("box-line-1"),
            inside(table::box_writes("line-1"), table::box_reads("line-1")),
        ),
        (
            "another box",
            site.client("box-line-2"),
            inside(table::box_writes("line-2"), table::box_reads("line-2")),
        ),
        (
            "a person called like a box",
            site.client("user-line-1"),
            inside(table::technician_writes("line-1"), table::technician_reads("line-1")),
        ),
        (
            "the door",
            site.client("door"),
            inside(
                ["sn-1/hello", "sn-1/result", "sn-2/hello", "sn-2/result"]
                    .map(|topic| format!("floorcast/v1/new/{topic}"))
                    .to_vec(),
                ["sn-1", "sn-2"].map(|serial| format!("floorcast/v1/new/{serial}/adopt")).to_vec(),
            ),
        ),
        ("a viewer who says to be an engineer", claiming, inside(vec![], table::viewer_reads())),
        ("a wildcard by name", site.client("forged-hash"), inside(vec![], vec![])),
        ("another wildcard", site.client("forged-plus"), inside(vec![], vec![])),
        ("a box with a wildcard", site.client("forged-box"), inside(vec![], vec![])),
        ("somebody without a role", site.client("forged-nobody"), inside(vec![], vec![])),
        ("somebody revoked", site.client("user-rex"), Outcome::Refused),
        ("another authority's engineer", site.client("forged-foreign"), Outcome::Refused),
        ("the broker's certificate", site.client("broker-mqtt.example"), Outcome::Refused),
        ("no certificate", json!({ "port": site.port }), Outcome::Refused),
        (
            "no certificate, but a name",
            json!({ "port": site.port, "username": "eva" }),
            Outcome::Refused,
        ),
    ];
    let other = site.client("user-other");
    let asked: Vec<_> = expected.iter().map(|(who, own, _)| (*who, own.clone(), &other)).collect();
    let seen = site.attack(&asked, &table::topics());
    for ((who, _, right), seen) in expected.iter().zip(&seen) {
        assert_eq!(seen, right, "{who}");
    }
}

/// A revocation or another role counts from the broker's next reload on.
#[test]
fn rights_change_with_a_reload() {
    let mut site = Site::start();
    let other = site.client("user-other");
    let ask = |site: &Site, who: &str| {
        let asked = [("who", site.client(who), &other)];
        site.attack(&asked, &table::topics()).pop().expect("one")
    };
    let engineer = inside(table::engineer_writes("tom"), table::engineer_reads("tom"));
    assert_ne!(ask(&site, "user-tom"), engineer);
    made(site.dir.path(), &["role", "tom", "engineer"]);
    made(site.dir.path(), &["revoke", "eva"]);
    site.install();
    site.reload();
    assert_eq!(ask(&site, "user-tom"), engineer);
    assert_eq!(ask(&site, "user-eva"), Outcome::Refused);
}

/// A will is published only where its owner may write.
#[test]
fn a_will_has_its_owners_rights() {
    let site = Site::start();
    let will = |stem: &str, topic: &str| {
        let mut client = site.client(stem);
        client["will"] = json!(format!("floorcast/v1/amber-works/{topic}"));
        client
    };
    let heard = site.wills(&[
        will("user-vic", "line-1/state"),
        will("user-eva", "line-2/state"),
        will("box-line-2", "line-1/state"),
        will("box-line-1", "line-1/cfg/desired"),
        will("box-line-1", "line-1/state"),
    ]);
    assert_eq!(heard, ["floorcast/v1/amber-works/line-1/state"]);
}
