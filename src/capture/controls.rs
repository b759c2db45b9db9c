//! Camera controls by name: exposure, focus, white balance.
//!
//! Comes in: names and values. Goes out: to the driver, at once, while the
//! camera streams; controls belong to the device, so any descriptor will do.
//! A control that is unknown or refused is reported and the rest is set.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Serialize;
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use super::discovery;
use super::ioctl::{Node, call, text, zeroed};
use crate::config::camera::ControlValue;
use crate::config::problems::nearest;

/// Controls of one device at most: a broken driver may list for ever.
const LIST: usize = 1024;

/// One control.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Control {
    /// As `v4l2-ctl` prints it: `exposure_time_absolute`.
    pub name: String,
    #[serde(skip)]
    id: u32,
    /// Its kind of value.
    pub kind: Kind,
    /// Least value.
    pub min: i64,
    /// Greatest value.
    pub max: i64,
    /// Distance of values.
    pub step: u64,
    /// The driver's own choice.
    pub default: i64,
    /// Its value now, where it has one.
    pub value: Option<i64>,
    /// Entries of a menu.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub menu: Vec<(i64, String)>,
}

/// A control's kind of value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number.
    Number,
    /// On or off.
    Switch,
    /// One of a few.
    Menu,
    /// Does something when set to true.
    Button,
}

impl Kind {
    /// Kinds that have names in a configuration; strings and structures do not.
    fn of(raw: u32) -> Option<Self> {
        match raw {
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER
            | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER64
            | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK => Some(Self::Number),
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN => Some(Self::Switch),
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU
            | sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU => Some(Self::Menu),
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BUTTON => Some(Self::Button),
            _ => None,
        }
    }
}

impl Control {
    /// One that no device has.
    #[cfg(test)]
    pub fn example(name: &str, kind: Kind, menu: Vec<(i64, String)>) -> Self {
        let (min, max) = (0, menu.len() as i64);
        Self { name: name.into(), id: 1, kind, min, max, step: 1, default: 0, value: None, menu }
    }

    /// The number to send for `value`.
    fn number(&self, value: &ControlValue) -> Result<i64> {
        let n = match (self.kind, value) {
            (Kind::Switch | Kind::Button, ControlValue::Switch(on)) => i64::from(*on),
            (Kind::Menu, ControlValue::Entry(entry)) => {
                let known = || self.menu.iter().map(|(_, text)| &**text);
                let found = self.menu.iter().find(|(_, text)| text.eq_ignore_ascii_case(entry));
                found.map(|(n, _)| *n).with_context(|| {
                    let near = nearest(entry, known());
                    let known = known().collect::<Vec<_>>().join(", ");
                    format!("{entry:?} is none of {known}{near}")
                })?
            }
            (_, ControlValue::Number(n)) => *n,
            (Kind::Number, _) => bail!("it takes a number from {} to {}", self.min, self.max),
            (Kind::Menu, _) => bail!("it takes the text or the number of an entry"),
            (Kind::Switch | Kind::Button, _) => bail!("it takes true or false"),
        };
        let (min, max) = (self.min, self.max);
        let bounded = self.kind != Kind::Button;
        ensure!(!bounded || (min..=max).contains(&n), "{n} is not within {min} to {max}");
        Ok(n)
    }
}

/// `Exposure Time, Absolute` is `exposure_time_absolute`, as in `v4l2-ctl`.
fn key(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

/// A node's controls that have a name and a number.
pub fn list(node: &Node) -> Vec<Control> {
    let mut controls = Vec::new();
    let mut id = 0;
    for _ in 0..LIST {
        let mut raw: sys::v4l2_query_ext_ctrl = zeroed();
        raw.id = id | sys::V4L2_CTRL_FLAG_NEXT_CTRL;
        if call(node.fd(), vidioc::VIDIOC_QUERY_EXT_CTRL, &mut raw).is_err() || raw.id <= id {
            break;
        }
        id = raw.id;
        let Some(kind) = Kind::of(raw.type_) else { continue };
        if raw.flags & sys::V4L2_CTRL_FLAG_DISABLED != 0 || raw.nr_of_dims > 0 {
            continue;
        }
        let bytes = raw.name.map(|c| c as u8);
        controls.push(Control {
            name: key(&text(&bytes)),
            id,
            kind,
            min: raw.minimum,
            max: raw.maximum,
            step: raw.step,
            default: raw.default_value,
            value: value(node, &raw),
            menu: if kind == Kind::Menu { menu(node, &raw) } else { Vec::new() },
        });
    }
    controls
}

fn menu(node: &Node, raw: &sys::v4l2_query_ext_ctrl) -> Vec<(i64, String)> {
    let first = raw.minimum.max(0);
    let entries = (first..=raw.maximum).take(64).filter_map(|n| {
        let mut entry: sys::v4l2_querymenu = zeroed();
        entry.id = raw.id;
        entry.index = u32::try_from(n).ok()?;
        // Drivers skip entries they do not have.
        call(node.fd(), vidioc::VIDIOC_QUERYMENU, &mut entry).ok()?;
        let numeric = raw.type_ == sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU;
        // SAFETY: all variants are plain bytes; the control's type says which is meant.
        let label = unsafe {
            if numeric {
                { entry.__bindgen_anon_1.value }.to_string()
            } else {
                text(&entry.__bindgen_anon_1.name)
            }
        };
        Some((n, label))
    });
    entries.collect()
}

/// One control's value and the list that points to it, as the kernel wants them.
fn with_one<T>(
    id: u32,
    value: i64,
    wide: bool,
    act: impl FnOnce(&mut sys::v4l2_ext_controls) -> io::Result<T>,
) -> io::Result<(T, i64)> {
    let mut one: sys::v4l2_ext_control = zeroed();
    one.id = id;
    if wide {
        one.__bindgen_anon_1.value64 = value;
    } else {
        one.__bindgen_anon_1.value = value as i32;
    }
    let mut all: sys::v4l2_ext_controls = zeroed();
    all.__bindgen_anon_1.which = id & 0x0fff_0000; // the control's class
    all.count = 1;
    all.controls = &mut one;
    let done = act(&mut all)?;
    // SAFETY: both variants are plain integers, and the kernel wrote the one meant.
    let value = unsafe {
        if wide { one.__bindgen_anon_1.value64 } else { one.__bindgen_anon_1.value.into() }
    };
    Ok((done, value))
}

fn wide(raw_type: u32) -> bool {
    raw_type == sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER64
}

fn value(node: &Node, raw: &sys::v4l2_query_ext_ctrl) -> Option<i64> {
    if raw.flags & sys::V4L2_CTRL_FLAG_WRITE_ONLY != 0 {
        return None;
    }
    let read = |all: &mut sys::v4l2_ext_controls| call(node.fd(), vidioc::VIDIOC_G_EXT_CTRLS, all);
    with_one(raw.id, 0, wide(raw.type_), read).ok().map(|(_, value)| value)
}

fn write(node: &Node, control: &Control, value: i64) -> io::Result<()> {
    let mut raw: sys::v4l2_query_ext_ctrl = zeroed();
    raw.id = control.id;
    call(node.fd(), vidioc::VIDIOC_QUERY_EXT_CTRL, &mut raw)?;
    let set = |all: &mut sys::v4l2_ext_controls| call(node.fd(), vidioc::VIDIOC_S_EXT_CTRLS, all);
    with_one(control.id, value, wide(raw.type_), set).map(|_| ())
}

/// Whether the camera's own shutter is closed; `None` where it does not tell.
pub fn shutter_closed(node: &Node) -> Option<bool> {
    let read = |all: &mut sys::v4l2_ext_controls| call(node.fd(), vidioc::VIDIOC_G_EXT_CTRLS, all);
    with_one(sys::V4L2_CID_PRIVACY, 0, false, read).ok().map(|(_, value)| value != 0)
}

/// Sets one control of a node.
///
/// # Errors
/// The control is unknown (with the names there are), the value is none of
/// its values, or the driver refuses it.
pub fn set(node: &Node, known: &[Control], name: &str, value: &ControlValue) -> Result<()> {
    let Some(control) = known.iter().find(|c| c.name == name) else {
        let names = || known.iter().map(|c| &*c.name);
        let near = nearest(name, names());
        let names = names().collect::<Vec<_>>().join(", ");
        bail!("control {name}: unknown{near}; the camera has {names}");
    };
    let number = control.number(value).with_context(|| format!("control {name}"))?;
    write(node, control, number).map_err(|error| match error.raw_os_error() {
        Some(libc::EACCES) => anyhow!("control {name}: read-only now, an automatic holds it"),
        Some(libc::EBUSY) => anyhow!("control {name}: locked while the camera streams"),
        _ => anyhow!("control {name} = {number}: {error}"),
    })
}

/// Sets all of `wanted`; returns what could not be set, in words.
///
/// Switches and menus go first, for an automatic must be off before its number
/// is free; what is refused is tried once more at the end.
pub fn apply(path: &Path, wanted: &BTreeMap<String, ControlValue>) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let node = match Node::open(path) {
        Ok(node) => node,
        Err(error) => return vec![format!("controls: open {}: {error}", path.display())],
    };
    let known = list(&node);
    let mut order: Vec<_> = wanted.iter().collect();
    let late = |name: &str| known.iter().any(|c| c.name == name && c.kind == Kind::Number);
    order.sort_by_key(|(name, _)| late(name));
    order.retain(|(name, value)| set(&node, &known, name, value).is_err());
    order
        .into_iter()
        .filter_map(|(name, value)| set(&node, &known, name, value).err())
        .map(|error| format!("{error:#}"))
        .collect()
}

/// Sets a control of the camera at `port`, live. Blocks for as long as the driver takes.
///
/// # Errors
/// Nothing is plugged in there, or as [`set`].
pub fn set_at(port: &str, name: &str, value: &ControlValue) -> Result<()> {
    let found = discovery::here();
    let camera = discovery::at(&found, port).with_context(|| format!("port {port} absent"))?;
    let node = Node::open(&camera.node).with_context(|| format!("camera at {port}: open"))?;
    set(&node, &list(&node), name, value).with_context(|| format!("camera at {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: Kind, min: i64, max: i64) -> Control {
        let menu = vec![(1, "Manual Mode".into()), (3, "Aperture Priority Mode".into())];
        Control {
            name: "c".into(),
            id: 1,
            kind,
            min,
            max,
            step: 1,
            default: 0,
            value: None,
            menu: if kind == Kind::Menu { menu } else { Vec::new() },
        }
    }

    /// Names are those of v4l2-ctl.
    #[test]
    fn keys_are_as_v4l2_ctl_prints_them() {
        assert_eq!(key("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(key("White Balance, Auto & Preset"), "white_balance_auto_preset");
    }

    /// Numbers within their range, menus by text or number, switches by truth.
    #[test]
    fn values_must_fit_their_control() {
        use ControlValue::{Entry, Number, Switch};
        let number = control(Kind::Number, 3, 2047);
        assert_eq!(number.number(&Number(200)).unwrap(), 200);
        assert!(number.number(&Number(2)).unwrap_err().to_string().contains("3 to 2047"));
        assert!(number.number(&Switch(true)).is_err());
        let menu = control(Kind::Menu, 0, 3);
        assert_eq!(menu.number(&Entry("manual mode".into())).unwrap(), 1);
        assert_eq!(menu.number(&Number(3)).unwrap(), 3);
        let wrong = menu.number(&Entry("Manual".into())).unwrap_err().to_string();
        assert!(wrong.contains("Manual Mode, Aperture Priority Mode"), "{wrong}");
        assert_eq!(control(Kind::Switch, 0, 1).number(&Switch(true)).unwrap(), 1);
        assert_eq!(control(Kind::Button, 0, 0).number(&Switch(true)).unwrap(), 1);
    }

    /// An unknown name is answered with the known ones.
    #[test]
    fn unknown_control_lists_the_known_ones() {
        let node = Node::open(Path::new("/dev/null")).unwrap();
        let known = [Control { name: "focus_absolute".into(), ..control(Kind::Number, 0, 9) }];
        let error = set(&node, &known, "focus_absolut", &ControlValue::Number(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "control focus_absolut: unknown; did you mean \"focus_absolute\"?; \
             the camera has focus_absolute"
        );
    }

    /// A node without controls reports each wish, and nothing panics.
    #[test]
    fn every_wish_that_fails_is_reported() {
        let wish = |n: i64| ControlValue::Number(n);
        let wanted = BTreeMap::from([("gain".to_owned(), wish(1)), ("focus".to_owned(), wish(2))]);
        assert_eq!(apply(Path::new("/dev/null"), &wanted).len(), 2);
        assert_eq!(apply(Path::new("/nonexistent"), &wanted).len(), 1);
    }
}
