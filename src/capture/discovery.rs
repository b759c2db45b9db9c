//! Which cameras are plugged in, and where.
//!
//! Comes in: sysfs and each node's own words. Goes out: cameras by physical
//! port. Node numbers change with the order of plugging; ports do not.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::ioctl::{Identity, Node, Planes};

/// Where the kernel shows its devices; another place in tests.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`
    pub sys: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into() }
    }
}

/// A node as sysfs shows it, not opened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listed {
    /// The device behind it, links resolved.
    device: PathBuf,
    /// Its rank among the device's nodes.
    index: u32,
    /// `/dev/video0`
    pub node: PathBuf,
}

/// A camera.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Its physical port; the second camera of a port has `#1` behind it.
    pub port: String,
    /// Its node of the moment.
    pub node: PathBuf,
    /// In its driver's words.
    pub identity: Identity,
    /// How its buffers are laid out.
    pub planes: Planes,
}

/// All video nodes, in the order of their devices.
pub fn list(roots: &Roots) -> Vec<Listed> {
    let class = roots.sys.join("class/video4linux");
    let Ok(entries) = class.read_dir() else { return Vec::new() };
    let mut nodes: Vec<Listed> = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"video"))
        .filter_map(|entry| {
            let at = entry.path();
            let index = std::fs::read_to_string(at.join("index")).ok();
            Some(Listed {
                device: at.join("device").canonicalize().ok()?,
                index: index.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
                node: roots.dev.join(entry.file_name()),
            })
        })
        .collect();
    nodes.sort();
    nodes
}

/// The cameras among `nodes`: those that can be opened and capture video.
pub fn cameras(nodes: &[Listed], identify: impl Fn(&Path) -> io::Result<Identity>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for listed in nodes {
        let Ok(identity) = identify(&listed.node) else { continue };
        let Some(planes) = identity.captures() else { continue };
        let base = port(&listed.device, &identity.bus);
        let twins = found.iter().filter(|f| f.port.split('#').next() == Some(&base)).count();
        let port = if twins == 0 { base } else { format!("{base}#{twins}") };
        found.push(Found { port, node: listed.node.clone(), identity, planes });
    }
    found
}

/// The cameras of this machine.
pub fn here() -> Vec<Found> {
    cameras(&list(&Roots::default()), |node| Node::open(node)?.identity())
}

/// The camera at `port`: by the name given here, or by its driver's.
pub fn at<'a>(found: &'a [Found], port: &str) -> Option<&'a Found> {
    found.iter().find(|f| f.port == port).or_else(|| found.iter().find(|f| f.identity.bus == port))
}

/// The physical port of a device.
///
/// For USB as the kernel's `usb_make_path` has it, but never cut short, and
/// with the controller's address where its own name is numbered in the order
/// of probing (`xhci-hcd.1.auto`); for others what the driver says.
fn port(device: &Path, bus: &str) -> String {
    let parts: Vec<&str> = device.iter().filter_map(OsStr::to_str).collect();
    usb_port(&parts).unwrap_or_else(|| {
        if !bus.is_empty() {
            return bus.to_owned();
        }
        format!("platform:{}", parts.last().unwrap_or(&"unknown"))
    })
}

/// `…/0000:00:14.0/usb1/1-3/1-3.2/1-3.2:1.0` is `usb-0000:00:14.0-3.2`.
fn usb_port(parts: &[&str]) -> Option<String> {
    let bus = parts.iter().position(|part| {
        part.strip_prefix("usb").is_some_and(|n| !n.is_empty() && n.parse::<u16>().is_ok())
    })?;
    let (_, ports) = parts.last()?.split(':').next()?.split_once('-')?;
    let mut controller = bus.checked_sub(1)?;
    if parts[controller].starts_with("xhci-hcd.") {
        controller = controller.checked_sub(1)?;
    }
    Some(format!("usb-{}-{ports}", parts[controller]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    use v4l::v4l_sys as sys;

    const CAMERA: u32 = sys::V4L2_CAP_VIDEO_CAPTURE | sys::V4L2_CAP_STREAMING;
    const ISP: u32 = sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_STREAMING;
    const METADATA: u32 = sys::V4L2_CAP_META_CAPTURE | sys::V4L2_CAP_STREAMING;

    /// A tree like the kernel's: node, its device, its rank.
    fn tree(nodes: &[(&str, &str, u32)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { sys: dir.path().join("sys"), dev: "/dev".into() };
        let class = roots.sys.join("class/video4linux");
        fs::create_dir_all(&class).unwrap();
        for (node, device, index) in nodes {
            let device = roots.sys.join("devices").join(device);
            let at = device.join("video4linux").join(node);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("index"), format!("{index}\n")).unwrap();
            symlink(&device, at.join("device")).unwrap();
            symlink(&at, class.join(node)).unwrap();
        }
        (dir, roots)
    }

    fn says(bus: &str, caps: u32) -> Identity {
        Identity { driver: "d".into(), card: "c".into(), bus: bus.into(), caps }
    }

    fn ports(roots: &Roots, identify: impl Fn(&str) -> Option<Identity>) -> Vec<(String, String)> {
        let identify = |node: &Path| {
            identify(&node.display().to_string()).ok_or(io::ErrorKind::NotFound.into())
        };
        cameras(&list(roots), identify)
            .into_iter()
            .map(|f| (f.port, f.node.display().to_string()))
            .collect()
    }

    /// The same two cameras keep their ports when the nodes are renumbered.
    #[test]
    fn ports_do_not_follow_node_numbers() {
        const LEFT: &str = "pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0";
        const RIGHT: &str = "pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0";
        for (left, right) in [("video0", "video2"), ("video10", "video1")] {
            let (_dir, roots) = tree(&[(left, LEFT, 0), (right, RIGHT, 0)]);
            let found = ports(&roots, |_| Some(says("usb-cut-sho", CAMERA)));
            let dev = |node| format!("/dev/{node}");
            assert_eq!(
                found,
                [
                    ("usb-0000:00:14.0-3".to_owned(), dev(left)),
                    ("usb-0000:00:14.0-4.2".to_owned(), dev(right))
                ]
            );
        }
    }

    /// A webcam's metadata node is no camera; its infrared sensor is a second one.
    #[test]
    fn one_port_may_hold_two_cameras() {
        let base = "pci0000:00/0000:00:14.0/usb1/1-3";
        let (colour, infrared) = (format!("{base}/1-3:1.0"), format!("{base}/1-3:1.2"));
        let (_dir, roots) =
            tree(&[("video3", &infrared, 0), ("video1", &colour, 1), ("video0", &colour, 0)]);
        let found = ports(&roots, |node| {
            Some(says("", if node == "/dev/video1" { METADATA } else { CAMERA }))
        });
        assert_eq!(found[0], ("usb-0000:00:14.0-3".into(), "/dev/video0".into()));
        assert_eq!(found[1], ("usb-0000:00:14.0-3#1".into(), "/dev/video3".into()));
        assert_eq!(found.len(), 2);
    }

    /// Chips' own cameras have their driver's name of the port, or the device's.
    #[test]
    fn platform_cameras_are_named_by_their_device() {
        let (_dir, roots) = tree(&[
            ("video0", "platform/soc/fe801000.csi", 0),
            ("video1", "platform/vivid.0", 0),
            ("video2", "platform/encoder", 0),
        ]);
        let found = ports(&roots, |node| match node {
            "/dev/video0" => Some(says("", ISP)),
            "/dev/video1" => Some(says("platform:vivid-000", CAMERA)),
            _ => None, // busy, or no right to open it
        });
        let names: Vec<_> = found.iter().map(|(port, _)| &**port).collect();
        assert_eq!(names, ["platform:fe801000.csi", "platform:vivid-000"]);
    }

    /// A controller that is numbered in the order of probing is not a name.
    #[test]
    fn numbered_controllers_are_named_by_their_address() {
        let device =
            Path::new("/sys/devices/platform/axi/1f00200000.usb/xhci-hcd.0/usb1/1-1/1-1:1.0");
        assert_eq!(port(device, "usb-xhci-hcd.0-1"), "usb-1f00200000.usb-1");
    }

    /// A machine without video has no cameras, and that is no error.
    #[test]
    fn no_class_no_cameras() {
        let roots = Roots { sys: "/nonexistent".into(), dev: "/dev".into() };
        assert_eq!(list(&roots), []);
    }
}
