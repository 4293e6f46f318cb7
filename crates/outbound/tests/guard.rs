//! The guard tried from outside: real listeners that must not be reached, names that lie.

mod serve;

use mainspring_outbound::{Client, Error, Guard, Settings};
use serve::{Script, Server, client, client_with, get};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn loopback_is_refused_in_every_spelling_and_nothing_arrives() {
    let server = Server::fixed(OK).await;
    let port = server.address.port();
    let closed = client_with(&[]);
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "127.1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "①②⑦.0.0.1",
    ] {
        match closed.send(get(&format!("http://{host}:{port}/"))).await {
            Err(Error::Refused(refusal)) => {
                let text = refusal.to_string();
                assert!(text.contains("outbound.allow") && text.contains(refusal.rule), "{host}: {text}");
            }
            other => panic!("{host}: {other:?}"),
        }
    }
    assert_eq!(server.seen(), 0);
    assert_eq!(client().send(get(&server.url("/"))).await.unwrap().body, "ok");
}

#[tokio::test]
async fn localhost_is_reached_when_its_address_is_allowed() {
    let server = Server::fixed(OK).await;
    let url = format!("http://localhost:{}/", server.address.port());
    assert_eq!(client().send(get(&url)).await.unwrap().status, 200);
    assert!(matches!(client_with(&["10.0.0.0/8"]).send(get(&url)).await, Err(Error::Refused(_))));
}

fn scripted(allow: &[&str], script: &Arc<Script>) -> Client {
    let guard = Guard::new(allow).unwrap();
    Client::new(Settings { guard, resolver: script.clone(), ..Settings::default() }).unwrap()
}

#[tokio::test]
async fn one_bad_address_among_good_ones_refuses_the_name() {
    for answers in [&["8.8.8.8", "10.0.0.1"][..], &["8.8.8.8", "2606:4700::1", "::ffff:169.254.169.254"][..]]
    {
        let script = Script::new(&[answers]);
        let error = scripted(&[], &script).send(get("http://mixed.test/")).await.unwrap_err();
        assert!(matches!(&error, Error::Refused(r) if r.host == "mixed.test"), "{error}");
    }
}

#[tokio::test]
async fn a_name_is_looked_up_once_per_request_and_judged_again_by_the_next() {
    let server = Server::fixed(OK).await;
    let url = format!("http://rebind.test:{}/", server.address.port());
    // A lying name server: the first answer is allowed, every later one is not.
    let script = Script::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let client = scripted(&["127.0.0.1"], &script);
    assert_eq!(client.send(get(&url)).await.unwrap().address, server.address);
    assert_eq!(script.asked.load(Ordering::SeqCst), 1, "looked up once: nothing can change in between");
    assert!(matches!(client.send(get(&url)).await, Err(Error::Refused(_))));
    assert_eq!((script.asked.load(Ordering::SeqCst), server.seen()), (2, 1));
}

#[tokio::test]
async fn the_host_header_stays_the_name_while_the_connection_goes_to_the_address() {
    let server = Server::start(|mut stream, request| async move {
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len());
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
    })
    .await;
    let script = Script::new(&[&["127.0.0.1"]]);
    let url = format!("http://hooks.test:{}/a?b=c#d", server.address.port());
    let answer = scripted(&["127.0.0.1"], &script).send(get(&url)).await.unwrap();
    let sent = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(sent.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{sent}");
    for line in [
        &format!("host: hooks.test:{}", server.address.port()),
        "accept-encoding: identity",
        "connection: close",
    ] {
        assert_eq!(sent.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {sent}");
    }
}

#[tokio::test]
async fn headers_that_frame_the_message_cannot_be_given() {
    for name in
        ["host", "content-length", "transfer-encoding", "connection", "te", "expect", "proxy-authorization"]
    {
        let mut request = get("http://127.0.0.1/");
        request.headers.insert(http::HeaderName::from_static(name), "x".parse().unwrap());
        let error = client().send(request).await.unwrap_err();
        assert!(
            matches!(&error, Error::Invalid { field: "headers", text } if text.contains(name)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_preview_tells_the_verdict_for_each_address_without_connecting() {
    let server = Server::fixed(OK).await;
    let script = Script::new(&[&["8.8.8.8", "127.0.0.1"]]);
    let url = format!("http://mixed.test:{}/", server.address.port());
    let verdict = scripted(&[], &script).verdict(&get(&url).target, Duration::from_secs(5)).await.unwrap();
    let refused: Vec<bool> = verdict.addresses.iter().map(|(_, r)| r.is_some()).collect();
    assert_eq!((refused, server.seen()), (vec![false, true], 0));
}

#[tokio::test]
async fn proxies_of_the_environment_are_ignored() {
    // Set for a child, because the environment of a running test program cannot be changed safely.
    if std::env::var_os("OUTBOUND_TEST_CHILD").is_some() {
        let server = Server::fixed(OK).await;
        assert_eq!(client().send(get(&server.url("/"))).await.unwrap().body, "ok");
        return;
    }
    let trap = Server::fixed("HTTP/1.1 500 Trap\r\ncontent-length: 0\r\n\r\n").await;
    let proxy = format!("http://{}", trap.address);
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proxies_of_the_environment_are_ignored"])
        .env("OUTBOUND_TEST_CHILD", "1")
        .envs([("http_proxy", &proxy), ("HTTP_PROXY", &proxy), ("ALL_PROXY", &proxy), ("all_proxy", &proxy)])
        .output()
        .await
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(trap.seen(), 0);
}

/// Says where to go next; what it was asked comes back as the body at the end.
async fn redirecting(status: u16, to: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Server {
    let hop = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Server::start(move |mut stream, request| {
        let next = to(hop.fetch_add(1, Ordering::SeqCst));
        async move {
            let text = match next {
                Some(to) => format!("HTTP/1.1 {status} Go\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
                None => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{request}", request.len()),
            };
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_redirect_is_an_answer_unless_following_was_asked_for() {
    let inner = Server::fixed(OK).await;
    let to = format!("http://127.0.0.2:{}/inner", inner.address.port());
    let server = redirecting(302, move |_| Some(to.clone())).await;
    let answer = client().send(get(&server.url("/"))).await.unwrap();
    assert_eq!((answer.status.as_u16(), server.seen(), inner.seen()), (302, 1, 0));
}

#[tokio::test]
async fn every_redirect_is_judged_again() {
    let inner = Server::fixed(OK).await;
    let port = inner.address.port();
    // Allowed is the first server's port on 127.0.0.1 only.
    for to in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("//2130706433:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let server = redirecting(307, {
            let to = to.clone();
            move |_| Some(to.clone())
        })
        .await;
        let only = client_with(&[&format!("127.0.0.1:{}", server.address.port())]);
        let mut request = get(&server.url("/"));
        request.follow = 5;
        let error = only.send(request).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{to}: {error}");
        assert_eq!(server.seen(), 1, "{to}");
    }
    for to in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://a@b/", "/\\evil.example"] {
        let server = redirecting(302, move |_| Some(to.to_owned())).await;
        let mut request = get(&server.url("/"));
        request.follow = 5;
        let error = client().send(request).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "url", .. }), "{to}: {error}");
    }
    assert_eq!(inner.seen(), 0);
}

#[tokio::test]
async fn a_name_that_moves_inside_between_redirects_is_refused() {
    let server = redirecting(302, |_| Some("/next".to_owned())).await;
    let script = Script::new(&[&["127.0.0.1"], &["127.0.0.1"], &["10.0.0.1"]]);
    let mut request = get(&format!("http://moves.test:{}/", server.address.port()));
    request.follow = 5;
    let error = scripted(&["127.0.0.1"], &script).send(request).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(r) if r.address.to_string() == "10.0.0.1"), "{error}");
    assert_eq!((script.asked.load(Ordering::SeqCst), server.seen()), (3, 2));
}

#[tokio::test]
async fn redirects_end() {
    let server = redirecting(301, |n| Some(format!("/{n}"))).await;
    for (asked, seen) in [(1, 2), (3, 4), (200, 6)] {
        let before = server.seen();
        let mut request = get(&server.url("/"));
        request.follow = asked;
        let error = client().send(request).await.unwrap_err();
        assert!(matches!(error, Error::Redirects(_)), "{error}");
        assert_eq!(server.seen() - before, seen, "{asked}");
    }
}

#[tokio::test]
async fn credentials_and_bodies_go_no_further_than_they_should() {
    let elsewhere = redirecting(200, |_| None).await;
    let post = |url: &str| {
        let mut request = get(url);
        request.method = http::Method::POST;
        request.body = "a body".into();
        request.follow = 3;
        for (name, value) in [("authorization", "Bearer s3cret"), ("cookie", "a=b"), ("x-api-key", "k3y")] {
            request.headers.insert(name, value.parse().unwrap());
        }
        request
    };
    for (status, to, kept, body) in [
        (302, elsewhere.url("/"), false, false),
        (307, elsewhere.url("/"), false, true),
        (302, "/same".to_owned(), true, false),
        (308, "/same".to_owned(), true, true),
    ] {
        let server = redirecting(status, {
            let to = to.clone();
            move |n| (n == 0).then(|| to.clone())
        })
        .await;
        let answer = client().send(post(&server.url("/"))).await.unwrap();
        let sent = String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!(sent.contains("s3cret") && sent.contains("k3y") && sent.contains("a=b"), kept, "{sent}");
        assert_eq!(
            !sent.contains("s3cret") && !sent.contains("k3y") && !sent.contains("a=b"),
            !kept,
            "{sent}"
        );
        assert_eq!(sent.ends_with("a body") && sent.starts_with("POST "), body, "{status}: {sent}");
        assert_eq!(sent.starts_with("GET "), !body, "{status}: {sent}");
    }
}

#[tokio::test]
async fn the_own_port_is_closed_on_every_address_of_this_machine() {
    let server = Server::start(|_, _| async {}).await;
    let port = server.address.port();
    let guard = Guard::new(&["0.0.0.0/0", "::/0"]).unwrap();
    guard.own_ports.add(port);
    let client = Client::new(Settings { guard, ..Settings::default() }).unwrap();
    for host in ["127.0.0.1", "localhost", "127.8.8.8", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]"] {
        match client.send(get(&format!("http://{host}:{port}/"))).await {
            Err(Error::Refused(refusal)) => assert!(refusal.to_string().contains("own port"), "{refusal}"),
            other => panic!("{host}: {other:?}"),
        }
    }
    assert_eq!(server.seen(), 0);
}
