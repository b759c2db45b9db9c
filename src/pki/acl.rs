//! Rights: the index in, mosquitto's ACL file out. Pure and deterministic.
//!
//! Every subject has a section of its own under its common name, so there is
//! no pattern that a strange name could stretch. What is not listed is denied.
//! mosquitto grants every subscription and then delivers only what may be read.

use super::index::{Index, Role};
use super::name::Subject;

/// What the commands of a technician are called; `write` is for engineers.
const COMMANDS: [&str; 9] =
    ["control", "snapshot", "feed", "privacy", "identify", "restart", "logs", "bundle", "probe"];

/// Where boxes without a site are.
const NEW: &str = "floorcast/v1/new";

/// The ACL file of a site.
pub fn text(index: &Index) -> String {
    let mut text = format!(
        "# The rights at site {}, written by `floorcast pki` from site.toml: changes here are lost.\n\
         # What is not listed is denied, whoever asks.\n",
        index.site
    );
    let site = format!("floorcast/v1/{}", index.site);
    for id in &index.boxes {
        section(&mut text, "box", &Subject::Box(id.clone()), appliance(&site, id));
    }
    for (name, &role) in &index.users {
        section(&mut text, role.word(), &Subject::User(name.clone()), user(&site, name, role));
    }
    if index.door {
        section(&mut text, "the broker for fresh boxes", &Subject::Door, door());
    }
    text
}

fn section(text: &mut String, what: &str, subject: &Subject, rights: Vec<String>) {
    *text += &format!("\n# {what}\nuser {subject}\n");
    for right in rights {
        *text += &format!("topic {right}\n");
    }
}

fn appliance(site: &str, id: &str) -> Vec<String> {
    let at = format!("{site}/{id}");
    let write = ["state", "health/#", "tele/#", "cfg/reported", "cfg/res/#", "cmd/res/#", "audit"];
    let read = ["cfg/req/+/+", "cfg/desired", "cmd/+/+"];
    let write = write.map(|topic| format!("write {at}/{topic}"));
    let read = read.map(|topic| format!("read {at}/{topic}"));
    write.into_iter().chain(read).collect()
}

fn user(site: &str, me: &str, role: Role) -> Vec<String> {
    let at = format!("{site}/+");
    let mut rights: Vec<String> = ["state", "health/#", "tele/#", "cfg/reported"]
        .iter()
        .map(|topic| format!("read {at}/{topic}"))
        .collect();
    if role >= Role::Technician {
        rights.push(format!("write {at}/cfg/req/{me}/+"));
        rights.push(format!("read {at}/cfg/res/{me}/+"));
        rights.extend(COMMANDS.map(|name| format!("write {at}/cmd/{me}/{name}")));
        rights.push(format!("read {at}/cmd/res/{me}/#"));
    }
    if role >= Role::Engineer {
        // What changes the line, or the box itself.
        rights.push(format!("write {at}/cmd/{me}/write"));
        rights.push(format!("write {at}/cmd/{me}/update"));
        rights.push(format!("readwrite {at}/cfg/desired"));
        rights.push(format!("read {at}/audit"));
        rights.push(format!("write {NEW}/+/adopt"));
        rights.push(format!("read {NEW}/#"));
    }
    rights
}

fn door() -> Vec<String> {
    vec![
        format!("write {NEW}/+/hello"),
        format!("write {NEW}/+/result"),
        format!("read {NEW}/+/adopt"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each role has what the one before has, and each section only its own name.
    #[test]
    fn roles_grow_and_name_nobody_else() {
        let of = |role| user("floorcast/v1/s", "li", role);
        let (viewer, technician, engineer) =
            (of(Role::Viewer), of(Role::Technician), of(Role::Engineer));
        assert!(technician.starts_with(&viewer) && engineer.starts_with(&technician));
        assert!(viewer.iter().all(|right| right.starts_with("read ")));
        let own = |right: &&String| right.contains("/req/") || right.contains("/cmd/");
        assert!(engineer.iter().filter(own).all(|right| right.contains("/li/")));
    }

    /// Same index, same bytes; a name that has no certificate left has no section.
    #[test]
    fn text_follows_the_index() {
        let mut index = Index::new("amber-works", time::Date::MAX);
        index.users.insert("li".into(), Role::Technician);
        index.users.insert("ana".into(), Role::Viewer);
        index.boxes.insert("line-2".into());
        let full = text(&index);
        assert_eq!(full, text(&index.clone()));
        let users: Vec<&str> = full.lines().filter_map(|l| l.strip_prefix("user ")).collect();
        assert_eq!(users, ["box:line-2", "ana", "li"]);
        index.users.remove("li");
        assert!(!text(&index).contains("li\n") && !text(&index).contains("/li/"));
    }
}
