//! WHEP over real HTTP and UDP, with clients that are not the page.

#[path = "../benches/whep_load/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "whep/figures.rs"]
mod figures;
#[path = "whep/hostile.rs"]
mod hostile;
#[path = "whep/house.rs"]
mod house;
#[path = "whep/joining.rs"]
mod joining;
#[path = "whep/leaving.rs"]
mod leaving;
#[path = "whep/losing.rs"]
mod losing;
#[path = "whep/others.rs"]
mod others;
#[path = "whep/path.rs"]
mod path;
mod support;
