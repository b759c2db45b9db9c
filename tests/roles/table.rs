//! Who may do what, written down by hand from the design and not from the code.

/// Everybody that has topics of its own in the attack.
pub const PEOPLE: [&str; 5] = ["vic", "tom", "eva", "line-1", "box:line-1"];

const OPERATIONS: [&str; 6] = ["validate", "apply", "confirm", "rollback", "get", "schema"];
const COMMANDS: [&str; 11] = [
    "control", "snapshot", "feed", "privacy", "identify", "restart", "logs", "bundle", "probe",
    "write", "update",
];

/// Those that only engineers may give.
const ENGINEERS: [&str; 2] = ["write", "update"];

/// Every topic that is tried.
pub fn topics() -> Vec<String> {
    let mut all = Vec::new();
    for site in ["amber-works", "birch-works"] {
        for id in ["line-1", "line-2"] {
            let at = format!("floorcast/v1/{site}/{id}");
            for topic in ["state", "health/feed/line", "tele/plc/press", "audit", "unknown"] {
                all.push(format!("{at}/{topic}"));
            }
            for topic in ["reported", "desired", "unknown"] {
                all.push(format!("{at}/cfg/{topic}"));
            }
            for me in PEOPLE {
                all.extend(OPERATIONS.map(|op| format!("{at}/cfg/req/{me}/{op}")));
                all.extend(COMMANDS.map(|name| format!("{at}/cmd/{me}/{name}")));
                all.push(format!("{at}/cmd/{me}/unknown"));
                all.push(format!("{at}/cmd/{me}/logs/deeper"));
                all.push(format!("{at}/cfg/req/{me}/apply/deeper"));
                all.push(format!("{at}/cfg/res/{me}/t1"));
                all.push(format!("{at}/cmd/res/{me}/t1"));
                all.push(format!("{at}/cmd/res/{me}/t1/jpeg"));
            }
        }
    }
    for serial in ["sn-1", "sn-2"] {
        all.extend(["hello", "adopt", "result"].map(|t| format!("floorcast/v1/new/{serial}/{t}")));
    }
    let strange =
        ["floorcast", "floorcast/v1", "floorcast/v1/amber-works/state", "a", "/", "$SYS/x"];
    all.extend(strange.map(str::to_owned));
    all
}

/// The topics of both boxes of the site.
fn both(topics: impl Fn(String) -> Vec<String>) -> Vec<String> {
    let ids = ["line-1", "line-2"];
    ids.iter().flat_map(|id| topics(format!("floorcast/v1/amber-works/{id}"))).collect()
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

/// What a viewer reads; it writes nothing.
pub fn viewer_reads() -> Vec<String> {
    sorted(both(|at| {
        let topics = ["state", "health/feed/line", "tele/plc/press", "cfg/reported"];
        topics.map(|topic| format!("{at}/{topic}")).to_vec()
    }))
}

/// What a technician writes.
pub fn technician_writes(me: &str) -> Vec<String> {
    sorted(both(|at| {
        let requests = OPERATIONS.iter().map(|op| format!("{at}/cfg/req/{me}/{op}"));
        let commands = COMMANDS.iter().filter(|name| !ENGINEERS.contains(*name));
        requests.chain(commands.map(|name| format!("{at}/cmd/{me}/{name}"))).collect()
    }))
}

/// What a technician reads.
pub fn technician_reads(me: &str) -> Vec<String> {
    let own = both(|at| {
        vec![
            format!("{at}/cfg/res/{me}/t1"),
            format!("{at}/cmd/res/{me}/t1"),
            format!("{at}/cmd/res/{me}/t1/jpeg"),
        ]
    });
    sorted([viewer_reads(), own].concat())
}

/// What an engineer writes.
pub fn engineer_writes(me: &str) -> Vec<String> {
    let own = both(|at| {
        let commands = ENGINEERS.map(|name| format!("{at}/cmd/{me}/{name}"));
        commands.into_iter().chain([format!("{at}/cfg/desired")]).collect()
    });
    let adopt = ["sn-1", "sn-2"].map(|serial| format!("floorcast/v1/new/{serial}/adopt"));
    sorted([technician_writes(me), own, adopt.to_vec()].concat())
}

/// What an engineer reads.
pub fn engineer_reads(me: &str) -> Vec<String> {
    let own = both(|at| vec![format!("{at}/audit"), format!("{at}/cfg/desired")]);
    let new = topics().into_iter().filter(|topic| topic.starts_with("floorcast/v1/new/")).collect();
    sorted([technician_reads(me), own, new].concat())
}

/// What a box writes.
pub fn box_writes(id: &str) -> Vec<String> {
    let at = format!("floorcast/v1/amber-works/{id}");
    let own = ["state", "health/feed/line", "tele/plc/press", "cfg/reported", "audit"];
    let mut list = own.map(|topic| format!("{at}/{topic}")).to_vec();
    for me in PEOPLE {
        list.push(format!("{at}/cfg/res/{me}/t1"));
        list.push(format!("{at}/cmd/res/{me}/t1"));
        list.push(format!("{at}/cmd/res/{me}/t1/jpeg"));
    }
    sorted(list)
}

/// What a box reads.
pub fn box_reads(id: &str) -> Vec<String> {
    let at = format!("floorcast/v1/amber-works/{id}");
    let mut list = vec![format!("{at}/cfg/desired")];
    for me in PEOPLE {
        list.extend(OPERATIONS.map(|op| format!("{at}/cfg/req/{me}/{op}")));
        // The box itself refuses a command that it does not know.
        let commands = COMMANDS.iter().chain(&["unknown"]);
        list.extend(commands.map(|name| format!("{at}/cmd/{me}/{name}")));
    }
    sorted(list)
}
