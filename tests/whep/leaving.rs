//! Seats: taken, given up, taken away.

use std::time::{Duration, Instant};

use floorcast::web::whep::gate;
use floorcast::web::{Patience, Tuning};
use tokio::time::timeout;

use crate::client::{Notice, Refused, Viewer, http};
use crate::house::{House, PLAIN, SOON, offer};
use crate::joining::frame;

async fn refused(url: &str) -> Refused {
    match Viewer::open(url, PLAIN).await {
        Ok(_) => panic!("a session where none should be"),
        Err(error) => error.downcast::<Refused>().expect("an HTTP refusal"),
    }
}

/// Opens a session and never connects; the status.
async fn never_comes(url: &str) -> u16 {
    let offer = offer();
    let sdp = [("Content-Type", "application/sdp")];
    http("POST", url, &sdp, offer.as_bytes()).await.expect("an answer").status
}

/// Waits until a session is to be had.
async fn seat(url: &str) -> Viewer {
    let got = async {
        loop {
            match Viewer::open(url, PLAIN).await {
                Ok(viewer) => return viewer,
                Err(_) => tokio::time::sleep(Duration::from_millis(30)).await,
            }
        }
    };
    timeout(SOON, got).await.expect("a seat in time")
}

/// Waits for the good-bye.
async fn gone(viewer: &mut Viewer) {
    let gone = async { while !matches!(viewer.next().await, Ok(Notice::Gone)) {} };
    timeout(SOON, gone).await.expect("a good-bye");
}

/// At the limit an open is refused with 503 and the time to wait; who leaves
/// makes room.
#[tokio::test]
async fn the_viewer_limit_is_told_and_leaving_makes_room() {
    let mut house = House::with(2, Tuning::default()).await;
    house.frame(true);
    let mut first = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    let mut second = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut first).await;
    frame(&mut second).await;
    let no = refused(&house.whep).await;
    assert_eq!((no.status, &*no.body), (503, "viewer limit reached"));
    assert!(no.retry_after.is_some_and(|seconds| seconds > 0));
    assert_eq!(first.delete().await.expect("an answer"), 200);
    gone(&mut first).await;
    assert_eq!(first.delete().await.expect("an answer"), 404);
    let mut third = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut third).await;
}

/// Sessions that never connect lose their seats, first to newcomers, then at all.
#[tokio::test]
async fn half_open_sessions_do_not_stay() {
    let patience = Patience { to_connect: Duration::from_millis(300), ..Patience::default() };
    let house = House::with(1, Tuning { patience, gate: None }).await;
    assert_eq!(never_comes(&house.whep).await, 201);
    assert_eq!(refused(&house.whep).await.status, 503);
    let _viewer = seat(&house.whep).await;
}

/// A flood of half-open sessions yields to who comes later.
#[tokio::test]
async fn a_newcomer_takes_the_place_of_the_oldest_half_open_session() {
    let limits = gate::Limits {
        half_open: 2,
        yields_after: Duration::from_millis(200),
        ..gate::Limits::new(10)
    };
    let house = House::with(10, Tuning { gate: Some(limits), ..Tuning::default() }).await;
    for expected in [201, 201, 503] {
        assert_eq!(never_comes(&house.whep).await, expected);
    }
    let _viewer = seat(&house.whep).await;
}

/// A viewer whose machine vanished without a word loses its seat.
#[tokio::test]
async fn a_silent_viewer_is_let_go() {
    let patience = Patience { for_life: Duration::from_millis(500), ..Patience::default() };
    let mut house = House::with(1, Tuning { patience, gate: None }).await;
    house.frame(true);
    let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
    frame(&mut viewer).await;
    assert_eq!(refused(&house.whep).await.status, 503);
    // Not polled any more: no check leaves it.
    let mut next = seat(&house.whep).await;
    frame(&mut next).await;
    drop(viewer);
}

/// On stop, ten viewers are told and everything ends well within five seconds.
#[tokio::test]
async fn stopping_says_good_bye_to_ten_viewers() {
    let mut house = House::open().await;
    house.frame(true);
    let mut viewers = Vec::new();
    for _ in 0..10 {
        let mut viewer = Viewer::open(&house.whep, PLAIN).await.expect("a session");
        frame(&mut viewer).await;
        viewers.push(viewer);
    }
    let asked = Instant::now();
    house.stop.cancel();
    for viewer in &mut viewers {
        gone(viewer).await;
    }
    timeout(SOON, &mut house.served).await.expect("in time").expect("no panic").expect("no error");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
