//! The command line of `floorcast pki`.

use std::os::unix::fs::PermissionsExt;

use crate::site::{made, pki};
use crate::support::mosquitto::shell;

fn refused(dir: &std::path::Path, args: &[&str]) -> String {
    let out = pki(dir, args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    String::from_utf8(out.stderr).expect("text")
}

/// A name with a wildcard, a level or a machine's prefix gets no certificate.
#[test]
fn a_name_that_stretches_a_right_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    made(dir.path(), &["init", "--site", "amber-works"]);
    for name in ["+", "#", "a/b", "li+", "box:line-1", "door:new", "Li", ""] {
        let error = refused(dir.path(), &["user", name, "--role", "viewer"]);
        assert!(error.contains("use 1 to 40"), "{error}");
        let error = refused(dir.path(), &["box", "--id", name]);
        assert!(error.contains("use 1 to 40"), "{error}");
    }
    assert!(refused(dir.path(), &["init", "--site", "new"]).contains("another name"));
    assert_eq!(made(dir.path(), &["list"]).lines().count(), 1);
}

/// A key that is there stays, unless --force; it and the directory are their
/// owner's alone, and no command prints it.
#[test]
fn keys_are_kept_and_kept_secret() {
    let dir = tempfile::tempdir().expect("directory");
    let at = |name: &str| dir.path().join("site-keys").join(name);
    let mode = |name: &str| std::fs::metadata(at(name)).expect("file").permissions().mode() & 0o777;
    let read = |name: &str| std::fs::read_to_string(at(name)).expect("key");
    let mut said = made(dir.path(), &["init", "--site", "amber-works"]);
    let user = ["user", "li", "--role", "viewer"];
    said += &made(dir.path(), &user);
    let (ca, li) = (read("ca.key"), read("user-li.key"));
    let error = refused(dir.path(), &user);
    assert!(error.contains("user-li.key") && error.contains("--force"), "{error}");
    let error = refused(dir.path(), &["init", "--site", "amber-works"]);
    assert!(error.contains("ca.key") && error.contains("--dir"), "{error}");
    assert_eq!((&read("ca.key"), &read("user-li.key")), (&ca, &li));
    said += &made(dir.path(), &[&user[..], &["--force"]].concat());
    assert_ne!(read("user-li.key"), li);
    assert_eq!((mode(""), mode("ca.key"), mode("user-li.key")), (0o700, 0o600, 0o600));
    assert!(!said.contains("PRIVATE"), "{said}");
}

/// A directory without keys, a file that is none, a broken index: each is
/// named with what to do.
#[test]
fn errors_name_the_file_and_the_remedy() {
    let dir = tempfile::tempdir().expect("directory");
    assert!(refused(dir.path(), &["list"]).contains("floorcast pki init"));
    made(dir.path(), &["init", "--site", "amber-works"]);
    std::fs::write(dir.path().join("r.pem"), "no request").expect("write");
    let error = refused(dir.path(), &["sign", "r.pem", "--box", "line-1"]);
    assert!(error.contains("r.pem: not a PKCS #10 request"), "{error}");
    assert!(refused(dir.path(), &["revoke", "ana"]).contains("pki list"));
    let index = dir.path().join("site-keys/site.toml");
    std::fs::write(&index, "site = 7").expect("write");
    let error = refused(dir.path(), &["list"]);
    assert!(error.contains("site.toml: mend it"), "{error}");
}

/// OpenSSL takes what is made for what it should be: a box's own key signed, a
/// server, a client, and nobody who is revoked.
#[test]
fn openssl_agrees() {
    let dir = tempfile::tempdir().expect("directory");
    made(dir.path(), &["init", "--site", "amber-works"]);
    made(dir.path(), &["broker", "--name", "mqtt.example", "--address", "192.0.2.7"]);
    made(dir.path(), &["user", "li", "--role", "engineer"]);
    shell(
        dir.path(),
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
         -keyout own.key -out own.csr -subj /CN=whatever",
    );
    made(dir.path(), &["sign", "own.csr", "--box", "line-3"]);
    made(dir.path(), &["user", "rex", "--role", "viewer"]);
    made(dir.path(), &["revoke", "rex"]);
    shell(
        &dir.path().join("site-keys"),
        "check() { openssl verify -x509_strict -CAfile ca.pem -CRLfile ca.crl -crl_check \"$@\"; }
        check -purpose sslserver -verify_hostname mqtt.example broker-mqtt.example.pem
        check -purpose sslserver -verify_ip 192.0.2.7 broker-mqtt.example.pem
        check -purpose sslserver -verify_hostname localhost broker-mqtt.example.pem
        check -purpose sslclient user-li.pem
        check -purpose sslclient box-line-3.pem
        ! check -purpose sslclient broker-mqtt.example.pem
        ! check -purpose sslserver user-li.pem
        ! check -purpose sslclient user-rex.pem
        test \"$(openssl x509 -in box-line-3.pem -noout -subject -nameopt RFC2253)\" = subject=CN=box:line-3
        test \"$(openssl x509 -in box-line-3.pem -noout -pubkey)\" = \"$(openssl pkey -in ../own.key -pubout)\"",
    );
}
