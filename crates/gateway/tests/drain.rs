//! Ending a listener in good order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;
use dockless_gateway::Drain;
use std::time::{Duration, Instant};
use support::{Server, read_one};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn requests_in_flight_are_finished_and_connections_told_to_close() {
    let server = Server::start(|_| {}).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(GET).await.unwrap();
    assert_eq!(read_one(&mut idle).await.header("connection"), None);

    server.gateway.set_drain(Drain { idle_grace: Duration::from_secs(60), deadline: Duration::from_secs(60) });
    server.shutdown.cancel();
    support::wait_until_refused(server.address).await;
    // An idle connection within its grace is still answered, for the last time.
    idle.write_all(GET).await.unwrap();
    let seen = read_one(&mut idle).await;
    assert_eq!((seen.status, seen.header("connection")), (200, Some("close")));
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);

    assert!(!server.served.is_finished());
    server.slow.add_permits(1);
    let seen = read_one(&mut busy).await;
    assert_eq!((seen.status, seen.header("connection")), (200, Some("close")));
    assert_eq!(busy.read(&mut [0; 1]).await.unwrap(), 0);
    drop((idle, busy));
    assert_eq!(server.served.await.unwrap().unwrap().cut, 0);
}

#[tokio::test]
async fn idle_connections_end_after_their_grace() {
    let server = Server::start(|config| config.drain.idle_grace = Duration::from_millis(100)).await;
    let mut idle = server.connect().await;
    idle.write_all(GET).await.unwrap();
    read_one(&mut idle).await;
    let mut fresh: TcpStream = server.connect().await;
    let begin = Instant::now();
    server.shutdown.cancel();
    for stream in [&mut idle, &mut fresh] {
        // The fresh one may not have been accepted yet: then it is reset.
        assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    }
    drop((idle, fresh));
    assert_eq!(server.served.await.unwrap().unwrap().cut, 0);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_outlasts_the_deadline_is_cut_and_counted() {
    let server = Server::start(|config| config.drain.deadline = Duration::from_millis(100)).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut other = server.connect().await;
    other.write_all(GET).await.unwrap();
    read_one(&mut other).await;
    server.shutdown.cancel();
    assert_eq!(server.served.await.unwrap().unwrap().cut, 1);
    assert!(matches!(busy.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}
