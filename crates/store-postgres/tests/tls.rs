//! TLS between node and server: a real server with certificates made for the test, and what each
//! `sslmode` accepts and refuses.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real server")]

use mainspring_core::job::NewJob;
use mainspring_core::reader::Reader;
use mainspring_core::store::Store;
use mainspring_core::{Json, ProjectId, StoreError};
use mainspring_store_postgres::{Options, PostgresStore};
use mainspring_testkit::pg::PrivateCluster;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = made for a test
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[here]
basicConstraints = CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
[elsewhere]
basicConstraints = CA:FALSE
subjectAltName = DNS:db.example
";

/// Certificates in a folder of their own, made by the `openssl` program.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Certificates {
        let certificates = Certificates(tempfile::tempdir().expect("a folder"));
        std::fs::write(certificates.path("config"), CONFIG).expect("written");
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }

    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).current_dir(self.0.path()).stdin(Stdio::null());
        let done = openssl.output().expect("the program openssl, which PostgreSQL's packages bring");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "openssl {arguments}: {said}");
    }

    /// An authority: `NAME.crt` and `NAME.key`.
    fn authority(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -config config -subj /CN={name} -extensions authority -newkey ec -pkeyopt \
             ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {name}.key -out {name}.crt"
        ));
    }

    /// A server's certificate with the names of `section`, signed by `authority`.
    fn server(&self, section: &str, authority: &str) {
        self.openssl(&format!(
            "req -new -config config -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
             -keyout {section}.key -out {section}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {section}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial \
             -days 2 -extfile config -extensions {section} -out {section}.crt"
        ));
    }

    /// Gives the server this certificate; new sessions are shown it.
    fn give(&self, cluster: &PrivateCluster, section: &str) {
        cluster.put("server.crt", &self.read(&format!("{section}.crt")));
        cluster.put("server.key", &self.read(&format!("{section}.key")));
        cluster.sql("ALTER SYSTEM SET ssl = on").expect("set");
        cluster.sql("SELECT pg_reload_conf()").expect("read anew");
        // The server says so when it has read them: sessions that begin then are shown the new one.
        let begun = Instant::now();
        while self.shown(cluster) != self.fingerprint(&format!("{section}.crt")) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the server does not show {section}.crt");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn fingerprint(&self, file: &str) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-fingerprint", "-in"]).arg(self.path(file));
        String::from_utf8_lossy(&openssl.output().expect("openssl").stdout).into_owned()
    }

    /// The fingerprint of what the server shows now; empty while it shows nothing.
    fn shown(&self, cluster: &PrivateCluster) -> String {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-starttls", "postgres", "-connect"]);
        client.arg(format!("127.0.0.1:{}", cluster.port())).stdin(Stdio::null());
        let seen = client.output().expect("openssl");
        std::fs::write(self.path("seen"), seen.stdout).expect("written");
        self.fingerprint("seen")
    }
}

fn with(url: &str, parameters: &str) -> String {
    format!("{url}?{parameters}")
}

async fn refused(url: &str) -> String {
    match PostgresStore::connect(url, Options::default()).await {
        Ok(_) => panic!("{url} was accepted"),
        // Waiting would not help: a node that starts must say so and end.
        Err(StoreError::Address(text)) => text,
        Err(other) => panic!("{other:?}"),
    }
}

/// Enqueues and reads a job, and counts the server's sessions with and without TLS.
async fn works(cluster: &PrivateCluster, url: &str) -> String {
    let store = PostgresStore::connect(url, Options::default()).await.expect("a store");
    let now = jiff::Timestamp::now();
    let job = NewJob::new("work", Json::null());
    let made = store.enqueue(now, ProjectId::DEFAULT, vec![job]).await.expect("enqueued");
    assert!(store.job(ProjectId::DEFAULT, made[0].id).await.expect("read").is_some());
    let sessions = "SELECT string_agg(DISTINCT coalesce(s.version, 'plain'), ',') FROM pg_stat_activity a
        JOIN pg_stat_ssl s USING (pid) WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()";
    let told = cluster.sql(sessions).expect("told");
    store.close().await;
    told
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_is_encrypted_and_a_server_that_is_not_the_one_is_refused() {
    let certificates = Certificates::new();
    for name in ["ours", "theirs"] {
        certificates.authority(name);
    }
    certificates.server("here", "ours");
    certificates.server("elsewhere", "ours");
    let cluster = PrivateCluster::start(false);
    let url = cluster.url();
    // Before it can, TLS is asked for in vain, or done without where that was allowed.
    let without = refused(&with(&url, "sslmode=require")).await;
    assert!(without.contains("does not support TLS") && without.contains("ssl = on"), "{without}");
    assert_eq!(works(&cluster, &with(&url, "sslmode=prefer")).await, "plain");

    certificates.give(&cluster, "here");
    let ours = text(&certificates.path("ours.crt"));
    assert_eq!(works(&cluster, &with(&url, "sslmode=require")).await, "TLSv1.3");
    assert_eq!(works(&cluster, &with(&url, "sslmode=prefer")).await, "TLSv1.3");
    assert_eq!(works(&cluster, &with(&url, "sslmode=disable")).await, "plain");
    assert_eq!(
        works(&cluster, &with(&url, &format!("sslmode=verify-full&sslrootcert={ours}"))).await,
        "TLSv1.3"
    );
    let theirs = text(&certificates.path("theirs.crt"));
    for other in [format!("sslmode=verify-full&sslrootcert={theirs}"), "sslmode=verify-full".into()] {
        let said = refused(&with(&url, &other)).await;
        assert!(said.contains("UnknownIssuer") && said.contains("sslrootcert=FILE"), "{said}");
    }

    certificates.give(&cluster, "elsewhere");
    let said = refused(&with(&url, &format!("sslmode=verify-full&sslrootcert={ours}"))).await;
    assert!(said.contains("not valid for name") && said.contains("write the host as"), "{said}");
    assert_eq!(works(&cluster, &with(&url, "sslmode=require")).await, "TLSv1.3", "encrypted, not verified");
}
