//! Passwords, certificates, rights.

use floorcast::model::Value;
use floorcast::status::State;

use crate::rig::Rig;
use crate::support::mosquitto::{Mosquitto, shell};

/// A certificate authority, a broker for 127.0.0.1 and `localhost`, a box, and
/// another authority that signed neither.
const CERTIFICATES: &str = r#"
new() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj "/CN=$1"; }
root() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout $1.key -out $1.pem -subj "/CN=$1"; }
sign() { openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out $1.pem -extfile $1.ext; }
root ca; root other; new broker; new box
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > broker.ext
printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n' > box.ext
sign broker; sign box
"#;

fn tls_broker() -> Mosquitto {
    let mut broker = Mosquitto::with(|dir, _| {
        shell(dir, CERTIFICATES);
        let at = dir.display();
        format!(
            "cafile {at}/ca.pem\ncertfile {at}/broker.pem\nkeyfile {at}/broker.key\n\
             require_certificate true\nuse_identity_as_username true\n"
        )
    });
    let at = broker.dir.path().display().to_string();
    let path = |name: &str| format!("{at}/{name}");
    let own = ["--cafile", &path("ca.pem"), "--cert", &path("box.pem"), "--key", &path("box.key")];
    broker.publisher = own.map(str::to_owned).to_vec();
    broker
}

fn tls(broker: &Mosquitto, host: &str, version: &str, ca: &str, identity: bool) -> String {
    let at = broker.dir.path().display();
    let mut text = format!(
        "url = \"mqtts://{host}:{}\"\nversion = \"{version}\"\nca_file = \"{at}/{ca}\"\n",
        broker.port
    );
    if identity {
        text += &format!("cert_file = \"{at}/box.pem\"\nkey_file = \"{at}/box.key\"\n");
    }
    text + "[[mqtt.tag]]\nname = \"n\"\ntopic = \"t/n\"\n"
}

/// TLS with certificates on both sides, by name and by address.
#[tokio::test]
async fn certificates_on_both_sides() {
    let broker = tls_broker();
    for (version, host) in [("5", "127.0.0.1"), ("3.1.1", "localhost")] {
        let mut rig = Rig::live(&tls(&broker, host, version, "ca.pem", true)).await;
        broker.publish("t/n", "4", &[]);
        assert_eq!(rig.value("n").await, Value::Int(4));
        rig.stop().await;
    }
}

/// A broker that another authority signed, a box without its certificate, a
/// missing file: each has its own reason, and none is let through.
#[tokio::test]
async fn broken_trust_is_refused_with_its_reason() {
    let broker = tls_broker();
    for version in ["5", "3.1.1"] {
        for (ca, identity, why) in [
            ("other.pem", true, "UnknownIssuer"),
            ("ca.pem", false, "certificate"),
            ("none.pem", true, "ca_file"),
            ("box.key", true, "holds no certificate"),
        ] {
            let rig = Rig::start(&tls(&broker, "localhost", version, ca, identity));
            let is = |state, reason: &str| state == State::Connecting && !reason.is_empty();
            let reason = rig.state(is).await;
            assert!(reason.to_lowercase().contains(&why.to_lowercase()), "{ca}: {reason}");
            rig.stop().await;
        }
    }
}

/// A certificate for another name is refused, unless that name is configured.
#[tokio::test]
async fn name_of_the_certificate_is_checked() {
    let broker = tls_broker();
    let text = tls(&broker, "127.0.0.1", "5", "ca.pem", true);
    let named = |name: &str| text.replace("ca_file", &format!("server_name = \"{name}\"\nca_file"));
    let rig = Rig::start(&named("plant.example"));
    let reason = rig.state(|_, why| !why.is_empty()).await;
    assert!(reason.contains("not valid for name"), "{reason}");
    Rig::live(&named("localhost")).await.stop().await;
}

/// A wrong password is named as such; once the file is right, we are in
/// without a restart. The password appears in no reason.
async fn password(version: &str) {
    let mut broker = Mosquitto::with(|dir, _| {
        shell(dir, "touch users && mosquitto_passwd -b users press 'right-one' && chmod 600 users");
        format!("allow_anonymous false\npassword_file {}/users\n", dir.display())
    });
    broker.publisher = ["-u", "press", "-P", "right-one"].map(str::to_owned).to_vec();
    let file = broker.file("secret");
    std::fs::write(&file, "wrong-one\n").unwrap();
    let mut rig = Rig::start(&format!(
        "url = \"mqtt://127.0.0.1:{}\"\nversion = \"{version}\"\nusername = \"press\"\n\
         password_file = \"{}\"\n[[mqtt.tag]]\nname = \"n\"\ntopic = \"t/n\"\n",
        broker.port,
        file.display()
    ));
    let reason = rig.state(|_, why| !why.is_empty()).await;
    assert!(reason.contains("not authorized") && !reason.contains("wrong-one"), "{reason}");
    std::fs::write(&file, "right-one\r\n").unwrap();
    rig.state(|state, _| state == State::Live).await;
    broker.publish("t/n", "2", &[]);
    assert_eq!(rig.value("n").await, Value::Int(2));
    std::fs::remove_file(&file).unwrap();
    broker.kill();
    rig.state(|_, why| why.contains("password_file")).await;
}

#[tokio::test]
async fn wrong_password_by_version_5() {
    password("5").await;
}

#[tokio::test]
async fn wrong_password_by_version_3_1_1() {
    password("3.1.1").await;
}

/// A subscription that the broker refuses is named in the status, turns only
/// its own tag bad, and is granted without a restart once the rights are there.
async fn refused(version: &str) {
    let mut broker = Mosquitto::with(|dir, _| {
        shell(dir, "mosquitto_ctrl dynsec init dynsec.json boss boss-pw");
        let plugin = "for p in /usr/lib/*/mosquitto_dynamic_security.so; do echo $p; done > plugin";
        shell(dir, plugin);
        let plugin = std::fs::read_to_string(dir.join("plugin")).unwrap();
        format!(
            "allow_anonymous false\nplugin {}\nplugin_opt_config_file {}/dynsec.json\n",
            plugin.trim(),
            dir.display()
        )
    });
    let control = |port: u16, commands: &[&str]| {
        for command in commands {
            let at = format!("mosquitto_ctrl -h 127.0.0.1 -p {port} -u boss -P boss-pw dynsec");
            shell(std::path::Path::new("/"), &format!("{at} {command}"));
        }
    };
    let all = "publishClientSend '#' allow";
    control(
        broker.port,
        &[
            "createClient box -p box-pw",
            "createRole viewer",
            "addRoleACL viewer subscribePattern open/# allow",
            "addRoleACL viewer publishClientReceive '#' allow",
            &format!("addRoleACL viewer {all}"),
            "addClientRole box viewer",
        ],
    );
    broker.publisher = ["-u", "box", "-P", "box-pw"].map(str::to_owned).to_vec();
    let file = broker.file("secret");
    std::fs::write(&file, "box-pw").unwrap();
    let mut rig = Rig::start(&format!(
        "url = \"mqtt://127.0.0.1:{}\"\nversion = \"{version}\"\nusername = \"box\"\n\
         password_file = \"{}\"\n\
         [[mqtt.tag]]\nname = \"open\"\ntopic = \"open/n\"\n\
         [[mqtt.tag]]\nname = \"shut\"\ntopic = \"shut/n\"\n",
        broker.port,
        file.display()
    ));
    let reason = rig.state(|state, _| state == State::NoSignal).await;
    assert!(reason.starts_with("subscription to shut/n refused"), "{reason}");
    assert!(rig.bad("shut").await.starts_with("subscription refused"));
    broker.publish("open/n", "1", &[]);
    assert_eq!(rig.value("open").await, Value::Int(1));
    control(broker.port, &["addRoleACL viewer subscribePattern shut/# allow"]);
    // The broker ends the sessions of those whose rights changed; where it
    // does not, we ask again.
    rig.state(|state, _| state == State::Live).await;
    broker.publish("shut/n", "2", &[]);
    assert_eq!(rig.value("shut").await, Value::Int(2));
}

#[tokio::test]
async fn refused_subscription_by_version_5() {
    refused("5").await;
}

#[tokio::test]
async fn refused_subscription_by_version_3_1_1() {
    refused("3.1.1").await;
}
