//! Targets that misbehave: each must end as a classed error, or a cut answer, in time.
#![allow(
    clippy::disallowed_methods,
    reason = "hostile servers really wait, and the test measures that the client does not"
)]

mod serve;

use mainspring_outbound::{Client, Error, Guard, HEAD, Phase, Settings};
use serve::{Script, Server, client, get};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_millis(400);

/// Sends with [`LIMIT`] and checks that it was kept.
async fn timed(url: &str) -> Result<mainspring_outbound::Response, Error> {
    let mut request = get(url);
    request.timeout = LIMIT;
    let begun = Instant::now();
    let answer = client().send(request).await;
    assert!(begun.elapsed() < LIMIT + Duration::from_millis(500), "took {:?}", begun.elapsed());
    answer
}

fn phase(answer: Result<mainspring_outbound::Response, Error>) -> Phase {
    match answer {
        Err(Error::Timeout { phase, after }) => {
            assert_eq!(after, LIMIT);
            phase
        }
        other => panic!("expected a time-out, got {other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_hangs_ends_in_time() {
    let server = Server::start(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    assert_eq!(phase(timed(&server.url("/")).await), Phase::Head);
}

#[tokio::test]
async fn a_server_that_hangs_in_the_handshake_ends_in_time() {
    let server = Server::start(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    assert_eq!(phase(timed(&server.url("/").replace("http:", "https:")).await), Phase::Tls);
}

#[tokio::test]
async fn a_head_that_drips_ends_in_time() {
    let server = Server::start(|mut stream, _| async move {
        for byte in "HTTP/1.1 200 OK\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(phase(timed(&server.url("/")).await), Phase::Head);
}

#[tokio::test]
async fn a_body_that_drips_ends_in_time() {
    let server = Server::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        while stream.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(phase(timed(&server.url("/")).await), Phase::Body);
}

#[tokio::test]
async fn endless_interim_answers_end_in_time() {
    let server = Server::start(|mut stream, _| async move {
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(phase(timed(&server.url("/")).await), Phase::Head);
}

#[tokio::test(start_paused = true)]
async fn time_is_the_runtimes_so_a_test_need_not_wait() {
    let server = Server::start(|stream, _| async move {
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        drop(stream);
    })
    .await;
    let mut request = get(&server.url("/"));
    request.timeout = Duration::from_secs(3_600);
    let begun = Instant::now();
    assert!(matches!(client().send(request).await, Err(Error::Timeout { .. })));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Hangs up with a reset instead of an end.
async fn reset(stream: tokio::net::TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_reset_is_a_broken_answer_before_and_in_the_body() {
    let before = Server::start(|stream, _| reset(stream)).await;
    let error = timed(&before.url("/")).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    let within = Server::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        reset(stream).await;
    })
    .await;
    let error = timed(&within.url("/")).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)) && error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_body_shorter_than_promised_is_broken_not_cut() {
    let server = Server::fixed("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    assert!(matches!(timed(&server.url("/")).await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn what_is_not_http_is_broken() {
    for text in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "hello\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", ""] {
        let server = Server::fixed(text).await;
        let error = timed(&server.url("/")).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{text:?}: {error}");
    }
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!";
    assert!(matches!(timed(&Server::fixed(both).await.url("/")).await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    for head in [
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 * HEAD)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1000)),
        format!("HTTP/1.1 200 {}\r\n\r\n", "y".repeat(2 * HEAD)),
    ] {
        let error = timed(&Server::fixed(head).await.url("/")).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge), "{error}");
    }
    let most = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "y".repeat(HEAD - 200));
    assert_eq!(timed(&Server::fixed(most).await.url("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_endless_body_is_cut_and_the_connection_closed() {
    let (told, gone) = tokio::sync::oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(told)));
    let server = Server::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let mut sent = 0usize;
            while stream.write_all(&[b'y'; 65_536]).await.is_ok() {
                sent += 65_536;
            }
            let told = told.lock().unwrap().take();
            told.into_iter().for_each(|t| t.send(sent).unwrap());
        }
    })
    .await;
    let answer = timed(&server.url("/")).await.unwrap();
    assert!(answer.cut && answer.body.len() == mainspring_outbound::BODY);
    let sent = tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap().unwrap();
    assert!(sent < 64 << 20, "read on for {sent} bytes");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_whole() {
    let server = Server::fixed("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
    for (keep, cut) in [(10, false), (11, false), (9, true), (0, true)] {
        let mut request = get(&server.url("/"));
        request.keep = keep;
        let answer = client().send(request).await.unwrap();
        assert_eq!((answer.body.len(), answer.cut), (keep.min(10), cut), "{keep}");
    }
}

#[tokio::test]
async fn a_compressed_bomb_is_kept_as_it_was_sent() {
    // What a gzip bomb begins with; nothing is decoded, so it stays as small as it is.
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n".to_vec();
    answer.extend_from_slice(&[0x1f, 0x8b, 0x08, 0x00]);
    let got = timed(&Server::fixed(answer).await.url("/")).await.unwrap();
    assert_eq!(
        (&got.body[..], &got.headers["content-encoding"]),
        (&[0x1f, 0x8b, 8, 0][..], &"gzip"[..].parse().unwrap())
    );
}

#[tokio::test]
async fn a_redirect_is_the_answer_and_is_not_followed() {
    let server = Server::fixed("HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n").await;
    let answer = timed(&server.url("/")).await.unwrap();
    assert_eq!((answer.status.as_u16(), server.seen()), (302, 1));
}

#[tokio::test]
async fn a_closed_port_and_a_missing_name_have_their_own_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=s3cret", listener.local_addr().unwrap());
    drop(listener);
    let error = timed(&url).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && !error.to_string().contains("s3cret"), "{error}");
    let nowhere = Script::new(&[&[]]);
    let client = Client::new(Settings { resolver: nowhere, ..Settings::default() }).unwrap();
    let error = client.send(get("http://nowhere.test/")).await.unwrap_err();
    assert!(matches!(&error, Error::Dns { host, .. } if host == "nowhere.test"), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_is_closed() {
    let server = Server::fixed("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let resolver = Script::new(&[&["127.0.0.77", "127.0.0.1"]]);
    let guard = Guard::new(&["127.0.0.0/8"]).unwrap();
    let client = Client::new(Settings { guard, resolver, ..Settings::default() }).unwrap();
    let url = format!("http://two.test:{}/", server.address.port());
    assert_eq!(client.send(get(&url)).await.unwrap().address, server.address);
}

#[tokio::test]
async fn giving_up_closes_the_connection() {
    let (told, gone) = tokio::sync::oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(told)));
    let server = Server::start(move |mut stream, _| {
        let told = told.clone();
        async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
            let told = told.lock().unwrap().take();
            told.into_iter().for_each(|t| t.send(()).unwrap());
        }
    })
    .await;
    let sending = tokio::spawn({
        let request = get(&server.url("/"));
        async move { client().send(request).await }
    });
    while server.seen() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sending.abort();
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap().unwrap();
}
