//! RAUC with two slots that are files, on a bus of its own, and the bundles it takes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::mosquitto::program;
use super::peer::Peer;

/// A box's RAUC; dropping it ends it. Needs root: RAUC mounts what it installs.
pub struct Rauc {
    /// Its files: `slot-a`, `slot-b`, `boot/primary`.
    pub dir: tempfile::TempDir,
    _bus: Peer,
    service: Option<Peer>,
}

impl Rauc {
    /// With slot A running, and a key that its bundles are to be signed with.
    pub fn open() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = |name: &str| dir.path().join(name);
        let write = |name: &str, text: String| fs::write(at(name), text).expect("write");
        let home = dir.path().display();
        write(
            "bus.conf",
            format!(
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
                 \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig>\
                 <type>system</type><listen>unix:path={home}/bus</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
                 <allow eavesdrop=\"true\"/><allow own=\"*\"/><allow user=\"*\"/></policy>\
                 </busconfig>\n"
            ),
        );
        // A bootloader whose variables are files.
        write(
            "backend",
            format!(
                "#!/bin/sh\nd={home}/boot\ncase $1 in\n\
                 get-primary) p=$(cat $d/primary)\n\
                 grep -qsx bad $d/state.$p && case $p in A) p=B;; B) p=A;; esac\necho $p;;\n\
                 set-primary) echo \"$2\" >$d/primary; rm -f $d/state.$2;;\n\
                 get-state) cat $d/state.$2 2>/dev/null || echo good;;\n\
                 set-state) echo \"$3\" >$d/state.$2;;\nesac\n"
            ),
        );
        fs::set_permissions(at("backend"), fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::create_dir(at("boot")).expect("boot");
        write("boot/primary", "A\n".into());
        let slot = |n: u8, name: &str| {
            format!(
                "[slot.rootfs.{n}]\ndevice={home}/slot-{}\ntype=raw\nbootname={name}\n",
                name.to_lowercase()
            )
        };
        write(
            "system.conf",
            format!(
                "[system]\ncompatible=floorcast-test\nbootloader=custom\nmountprefix={home}/mnt\n\
                 statusfile={home}/status\n[handlers]\nbootloader-custom-backend={home}/backend\n\
                 [keyring]\npath={home}/cert.pem\n{}{}",
                slot(0, "A"),
                slot(1, "B")
            ),
        );
        for slot in ["slot-a", "slot-b"] {
            fs::File::create(at(slot)).and_then(|file| file.set_len(8 << 20)).expect("slot");
        }
        key(dir.path(), "");
        let mut bus = program("dbus-daemon");
        bus.arg(format!("--config-file={home}/bus.conf")).args(["--nofork", "--nopidfile"]);
        let bus = Peer::start(bus.stderr(Stdio::null()), "dbus");
        let mut rauc = Self { dir, _bus: bus, service: None };
        wait(&rauc.dir.path().join("bus"));
        rauc.boot("A");
        rauc
    }

    /// The slot that the bootloader starts next.
    pub fn primary(&self) -> String {
        let mut backend = Command::new(self.dir.path().join("backend"));
        let said = backend.arg("get-primary").output().expect("the bootloader");
        String::from_utf8(said.stdout).expect("text").trim().into()
    }

    /// Has the bootloader start this slot next, as RAUC does when it has written one.
    pub fn starts_next(&self, slot: &str) {
        let mut backend = Command::new(self.dir.path().join("backend"));
        assert!(backend.args(["set-primary", slot]).status().expect("the bootloader").success());
    }

    /// Where its bus is.
    pub fn address(&self) -> String {
        format!("unix:path={}/bus", self.dir.path().display())
    }

    /// As after a start of this slot.
    pub fn boot(&mut self, slot: &str) {
        self.service = None;
        let mut command = program("rauc");
        command.arg(format!("--conf={}/system.conf", self.dir.path().display()));
        command.arg(format!("--override-boot-slot={slot}")).arg("service");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        let log = fs::File::create(self.dir.path().join("rauc.log")).expect("log");
        command.stderr(log.try_clone().expect("log")).stdout(log);
        self.service = Some(Peer::start(&mut command, "rauc"));
        let deadline = Instant::now() + Duration::from_secs(30);
        let answers = || {
            let mut status = program("rauc");
            status.arg("status").env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
            let ran = status.stdout(Stdio::null()).stderr(Stdio::null()).status();
            ran.is_ok_and(|status| status.success())
        };
        while !answers() {
            assert!(Instant::now() < deadline, "rauc service does not answer");
        }
    }

    /// A bundle with a megabyte of noise, which `byte` chooses, signed with the key `by` (`""`
    /// is the right one). The image alone lies beside it.
    pub fn bundle(
        &self,
        name: &str,
        byte: u8,
        compatible: &str,
        version: &str,
        by: &str,
    ) -> PathBuf {
        let (dir, out) = (self.dir.path().join("content"), self.dir.path().join(name));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("content");
        // Noise, which does not compress: the bundle has its size.
        let mut state = u64::from(byte) + 1;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let image: Vec<u8> = noise.take(1 << 20).collect();
        fs::write(dir.join("rootfs.img"), &image).expect("image");
        fs::write(self.dir.path().join(format!("{name}.img")), image).expect("image");
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=plain\n\
             [image.rootfs]\nfilename=rootfs.img\n"
        );
        fs::write(dir.join("manifest.raucm"), manifest).expect("manifest");
        if !by.is_empty() {
            key(self.dir.path(), by);
        }
        let file = |kind: &str| self.dir.path().join(format!("{by}{kind}.pem"));
        let mut make = program("rauc");
        make.arg(format!("--cert={}", file("cert").display()));
        make.arg(format!("--key={}", file("key").display()));
        let made = make.arg("bundle").arg(&dir).arg(&out).output().expect("rauc bundle");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        out
    }
}

/// A certificate that signs for itself.
fn key(dir: &Path, name: &str) {
    let file = |kind: &str| dir.join(format!("{name}{kind}.pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]);
    make.args(["-subj", "/CN=test", "-addext", "basicConstraints=CA:TRUE"]);
    make.arg("-keyout").arg(file("key")).arg("-out").arg(file("cert"));
    let made = make.output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn wait(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} does not come", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
