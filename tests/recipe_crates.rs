//! The crates of the Yocto recipe and those of the lock file.

use std::path::Path;
use std::process::{Command, Output};

fn crates_inc(lock: &Path) -> Output {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/crates-inc"))
        .arg("--check")
        .env("LOCK", lock)
        .output()
        .expect("scripts/crates-inc")
}

/// The recipe fetches what the lock file names.
#[test]
fn the_recipe_has_the_crates_of_the_lock_file() {
    let checked = crates_inc(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// A crate of another version, or with another checksum, is told with its remedy.
#[test]
fn a_lock_file_that_has_moved_on_is_told() {
    let lock = include_str!("../Cargo.lock");
    let anyhow = lock.split("[[package]]").find(|p| p.contains("\"anyhow\"")).expect("anyhow");
    let version = anyhow.split('"').nth(3).expect("a version");
    let checksum = anyhow.split("checksum = \"").nth(1).expect("a checksum");
    for (case, moved) in [
        ("version", anyhow.replace(version, "99.0.0")),
        ("checksum", anyhow.replace(&checksum[..8], "00000000")),
    ] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("moved-{case}.lock"));
        std::fs::write(&path, lock.replace(anyhow, &moved)).expect("write");
        let checked = crates_inc(&path);
        let told = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(1), "{case}: {told}");
        assert!(told.contains("run scripts/crates-inc"), "{case}: {told}");
    }
}

/// A crate that is not from crates.io is an error, also as the last one.
#[test]
fn a_crate_from_elsewhere_is_told() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("git.lock");
    let crate_of_git = "\n[[package]]\nname = \"zzz\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/zzz\"\n";
    std::fs::write(&path, include_str!("../Cargo.lock").to_owned() + crate_of_git).expect("write");
    let checked = crates_inc(&path);
    let told = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{told}");
    assert!(told.contains("crates.io only"), "{told}");
}
