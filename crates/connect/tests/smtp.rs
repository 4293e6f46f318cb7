//! Mail over a real server: encrypted or not at all, signed in, refused, later, and cut off.

use mainspring_connect::smtp::{self, Security, Server};
use mainspring_connect::{Class, Error, Mail, Receipt, Secret};
use mainspring_outbound::{Client, Guard, Settings};
use mainspring_testkit::outside::{CA, MailServer};

fn client(allow: &[&str]) -> Client {
    let settings =
        Settings { guard: Guard::new(allow).unwrap(), extra_roots: Some(CA.into()), ..Settings::default() };
    Client::new(settings).unwrap()
}

fn mail(to: &str) -> Mail {
    Mail {
        from: "Mainspring <engine@example.com>".into(),
        to: vec![to.into()],
        reply_to: Some("ops@example.com".into()),
        subject: "Import failed: 3 in a row, größer".into(),
        text: ".hidden dot\nplain ü".into(),
        html: "<p>plain &uuml;</p>".into(),
        id: "ntc_7_1".into(),
        at: "2026-07-01T12:00:00Z".parse().unwrap(),
    }
}

async fn send(server: &Server, to: &str) -> Result<Receipt, Error> {
    smtp::send(&client(&["127.0.0.0/8"]), server, &mail(to)).await
}

fn at(port: u16, security: Security, login: Option<(&str, &str)>) -> Server {
    let login = login.map(|(user, password)| (user.to_owned(), Secret::new(password)));
    Server { host: "127.0.0.1".into(), port, security, login }
}

#[tokio::test]
async fn a_mail_arrives_encrypted_and_signed_in_with_both_faces() {
    for (flag, security) in [("--start-tls", Security::StartTls), ("--tls", Security::Tls)] {
        let real = MailServer::start(&[flag, "--login=ada:hunter2hunter2"]);
        let server = at(real.port, security, Some(("ada", "hunter2hunter2")));
        let receipt = send(&server, "Ops <ops@example.org>").await.unwrap();
        assert!(receipt.text.contains("queued as 4F1"), "{receipt:?}");
        let got = real.wait_for(1).remove(0);
        assert!(got.encrypted && got.signed_in, "{got:?}");
        assert_eq!(
            (got.sender.as_str(), got.recipients.as_slice()),
            ("engine@example.com", &["ops@example.org".to_owned()][..])
        );
        assert_eq!(
            (got.subject.as_str(), got.id.as_str()),
            ("Import failed: 3 in a row, größer", "<ntc_7_1@example.com>")
        );
        assert_eq!(got.text.replace("\r\n", "\n").trim_end(), ".hidden dot\nplain ü");
        assert!(
            got.html.contains("<p>plain &uuml;</p>") && got.headers.contains(&"auto-submitted".to_owned())
        );

        let wrong = at(real.port, security, Some(("ada", "wrong password")));
        let error = send(&wrong, "ops@example.org").await.unwrap_err();
        assert_eq!(error.class, Class::Fatal, "{error}");
        assert!(
            error.text.contains("did not let ada in") && !error.text.contains("wrong password"),
            "{error}"
        );
        assert_eq!(real.all().len(), 1);
    }
}

#[tokio::test]
async fn without_encryption_nothing_is_sent_that_should_be() {
    let real = MailServer::start(&[]);
    let error = send(&at(real.port, Security::StartTls, None), "ops@example.org").await.unwrap_err();
    assert!(error.class == Class::Fatal && error.text.contains("does not offer STARTTLS"), "{error}");
    let error = send(&at(real.port, Security::None, Some(("a", "b"))), "ops@example.org").await.unwrap_err();
    assert!(error.class == Class::Fatal && error.text.contains("without encryption"), "{error}");
    assert_eq!(real.all().len(), 0);
    send(&at(real.port, Security::None, None), "ops@example.org").await.unwrap();
    assert!(!real.wait_for(1)[0].encrypted);
    // A certificate that nobody vouches for is no encryption either.
    let tls = MailServer::start(&["--start-tls"]);
    let stranger =
        Client::new(Settings { guard: Guard::new(&["127.0.0.0/8"]).unwrap(), ..Settings::default() });
    let server = at(tls.port, Security::StartTls, None);
    let error = smtp::send(&stranger.unwrap(), &server, &mail("ops@example.org")).await.unwrap_err();
    assert!(error.text.contains("no safe connection"), "{error}");
    assert_eq!(tls.all().len(), 0);
}

#[tokio::test]
async fn what_the_server_says_decides_what_may_follow() {
    let real = MailServer::start(&["--answers=451 4.7.1 try again later|554 5.7.1 spam|silence"]);
    let server = at(real.port, Security::None, None);
    let later = send(&server, "ops@example.org").await.unwrap_err();
    assert!(matches!(later.class, Class::Retry(None)) && later.text.contains("try again later"), "{later}");
    let spam = send(&server, "ops@example.org").await.unwrap_err();
    assert!(spam.class == Class::Fatal && spam.text.contains("spam"), "{spam}");
    let nobody = send(&server, "nobody@example.org").await.unwrap_err();
    assert!(nobody.class == Class::Fatal && nobody.text.contains("nobody@example.org"), "{nobody}");
    assert_eq!(real.all().len(), 0, "nothing of that was taken");
    let unknown = send(&server, "ops@example.org").await.unwrap_err();
    assert_eq!(unknown.class, Class::Unknown, "{unknown}");
    assert_eq!(real.wait_for(1).len(), 1, "it was taken, and nobody could know");
    send(&server, "ops@example.org").await.unwrap();
    let gone = at(1, Security::None, None);
    let away = send(&gone, "ops@example.org").await.unwrap_err();
    assert!(matches!(away.class, Class::Retry(_)), "{away}");
}

#[tokio::test]
async fn the_guard_stands_before_mail_too() {
    let real = MailServer::start(&[]);
    let error = smtp::send(&client(&[]), &at(real.port, Security::None, None), &mail("a@example.org"))
        .await
        .unwrap_err();
    assert!(error.class == Class::Fatal && error.text.contains("outbound.allow"), "{error}");
    for host in ["", "a b", "a/b", "a@b", "a?b"] {
        let server = Server { host: host.into(), ..at(25, Security::None, None) };
        assert_eq!(server.check().unwrap_err().class, Class::Fatal, "{host:?}");
    }
    assert_eq!(real.all().len(), 0);
}
