//! The address of a database: read strictly, so that a typing error is named instead of guessed at.
//!
//! `postgres://user:password@host:port/database?sslmode=verify-full&schema=mainspring`, with several
//! hosts parted by commas where one may take over from another. Nothing here opens a connection
//! (see [`crate::link`]), and no text made here ever holds the password.

use mainspring_core::StoreError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The form every refusal shows.
const FORM: &str = "postgres://user:password@host:5432/database";
/// Parameters an address may carry.
const PARAMETERS: [&str; 4] = ["application_name", "schema", "sslmode", "sslrootcert"];
/// Values of `sslmode`.
const SSL_MODES: [&str; 4] = ["disable", "prefer", "require", "verify-full"];

/// How sure the connection must be of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Disable,
    /// TLS when the server offers it; the server is not checked.
    Prefer,
    /// TLS always; the server is not checked.
    Require,
    /// TLS always, and the certificate must fit the host's name.
    VerifyFull,
}

impl Tls {
    fn as_str(self) -> &'static str {
        match self {
            Tls::Disable => "disable",
            Tls::Prefer => "prefer",
            Tls::Require => "require",
            Tls::VerifyFull => "verify-full",
        }
    }
}

/// A database's address, understood.
#[derive(Clone)]
pub(crate) struct Address {
    /// What the driver is given.
    pub config: tokio_postgres::Config,
    /// Where the tables are.
    pub schema: String,
    /// Certificates and how they are checked.
    pub tls: Arc<ClientConfig>,
    /// The address for people, without its password.
    pub shown: String,
    /// The same address in the variables that PostgreSQL's own programs read: no password stands on a
    /// command line, where everybody on the machine sees it.
    pub variables: Vec<(&'static str, String)>,
}

fn bad(text: impl std::fmt::Display) -> StoreError {
    StoreError::Address(format!("the store's address cannot be used: {text}"))
}

impl Address {
    /// Reads `url`; `limit` is the longest a call may take.
    pub fn parse(url: &str, limit: Duration) -> Result<Address, StoreError> {
        let rest = match url.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => rest,
            Some((scheme, _)) => {
                return Err(bad(format!("unknown scheme {scheme:?}; write {FORM}")));
            }
            None => return Err(bad(format!("it has no scheme; write {FORM}"))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let mut config = tokio_postgres::Config::new();
        let user = read_user(&mut config, user)?;
        let several = read_hosts(&mut config, hosts)?;
        let database = decode(database, "database")?;
        if database.is_empty() {
            return Err(bad(format!("the database's name is missing; write {FORM}")));
        }
        if database.contains('/') {
            return Err(bad(format!("the database's name {database:?} contains a slash; write {FORM}")));
        }
        config.dbname(&database);
        let parameters = Parameters::read(query)?;
        parameters.configure(&mut config, limit);
        if several {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let tls = Arc::new(tls_config(parameters.tls, parameters.root.as_deref())?);
        let shown = format!("postgres://{user}@{hosts}/{database}");
        let variables = variables(&config, &parameters, several);
        Ok(Address { config, schema: parameters.schema, tls, shown, variables })
    }
}

fn variables(
    config: &tokio_postgres::Config,
    parameters: &Parameters,
    several: bool,
) -> Vec<(&'static str, String)> {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let ports = config.get_ports().iter().map(ToString::to_string);
    let mut all = vec![
        ("PGHOST", hosts.collect::<Vec<_>>().join(",")),
        ("PGPORT", ports.collect::<Vec<_>>().join(",")),
        ("PGUSER", config.get_user().unwrap_or_default().to_owned()),
        ("PGDATABASE", config.get_dbname().unwrap_or_default().to_owned()),
        ("PGSSLMODE", parameters.tls.as_str().to_owned()),
        ("PGAPPNAME", parameters.application.clone()),
    ];
    if let Some(password) = config.get_password() {
        all.push(("PGPASSWORD", String::from_utf8_lossy(password).into_owned()));
    }
    if parameters.tls == Tls::VerifyFull {
        all.push(("PGSSLROOTCERT", parameters.root.clone().unwrap_or_else(|| "system".into())));
    }
    if several {
        all.push(("PGTARGETSESSIONATTRS", "read-write".into()));
    }
    all
}

/// Sets user and password; gives the user for people.
fn read_user(config: &mut tokio_postgres::Config, text: Option<&str>) -> Result<String, StoreError> {
    let Some(text) = text else {
        return Err(bad(format!("the user is missing; write {FORM}")));
    };
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let user = decode(user, "user")?;
    if user.is_empty() {
        return Err(bad(format!("the user is missing; write {FORM}")));
    }
    config.user(&user);
    if let Some(password) = password {
        config.password(decode(password, "password")?);
    }
    Ok(user)
}

/// Sets hosts and ports; true when there are several.
fn read_hosts(config: &mut tokio_postgres::Config, hosts: &str) -> Result<bool, StoreError> {
    let mut count = 0;
    for part in hosts.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) =
                    v6.split_once(']').ok_or_else(|| bad(format!("{part:?} lacks its closing bracket")))?;
                (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest)))
            }
            None => match part.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (part, None),
            },
        };
        if host.is_empty() {
            return Err(bad(format!("the host is missing; write {FORM}")));
        }
        let port = match port {
            None => 5432,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(bad(format!(
                        "the port {text:?} of host {host} is not a number from 1 to 65535"
                    )));
                }
            },
        };
        let host = decode(host, "host")?;
        match host.starts_with('/') {
            true => config.host_path(&host),
            false => config.host(&host),
        };
        config.port(port);
        count += 1;
    }
    Ok(count > 1)
}

/// What follows the question mark.
struct Parameters {
    tls: Tls,
    root: Option<String>,
    schema: String,
    application: String,
}

impl Parameters {
    fn read(query: &str) -> Result<Parameters, StoreError> {
        let mut found = Parameters {
            tls: Tls::Prefer,
            root: None,
            schema: "mainspring".into(),
            application: "mainspring".into(),
        };
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value, "parameter")?;
            match name {
                "sslmode" => found.tls = read_mode(&value)?,
                "sslrootcert" => found.root = Some(value),
                "application_name" => found.application = value,
                "schema" => found.schema = read_schema(value)?,
                _ => return Err(bad(unknown("parameter", name, &PARAMETERS))),
            }
        }
        if found.root.is_some() && found.tls != Tls::VerifyFull {
            return Err(bad("sslrootcert is used with sslmode=verify-full only; add it"));
        }
        Ok(found)
    }

    /// Settings of every session. What a database or a role may have set otherwise is put right:
    /// the isolation our locks are written for, plans that do not change their mind on tables that
    /// were empty when they were made, and ends for what a lost process leaves behind.
    fn configure(&self, config: &mut tokio_postgres::Config, limit: Duration) {
        let ms = limit.as_millis();
        config.ssl_mode(match self.tls {
            Tls::Disable => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyFull => SslMode::Require,
        });
        config.application_name(&self.application);
        config.connect_timeout(limit);
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(limit * 3);
        config.options(format!(
            "-c search_path={} -c default_transaction_isolation=read\\ committed -c jit=off \
             -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
             -c statement_timeout={ms} -c lock_timeout={ms} \
             -c idle_in_transaction_session_timeout={} -c client_min_messages=warning",
            self.schema,
            ms * 2,
        ));
    }
}

fn read_mode(value: &str) -> Result<Tls, StoreError> {
    Ok(match value {
        "disable" => Tls::Disable,
        "prefer" => Tls::Prefer,
        "require" => Tls::Require,
        "verify-full" => Tls::VerifyFull,
        _ => return Err(bad(unknown("sslmode", value, &SSL_MODES))),
    })
}

fn read_schema(value: String) -> Result<String, StoreError> {
    let first = value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !first || !rest || value.len() > 63 || value.starts_with("pg_") {
        return Err(bad(format!(
            "the schema {value:?} is not a plain name: 1 to 63 of a-z, 0-9 and _, not beginning with a digit or pg_"
        )));
    }
    Ok(value)
}

/// "unknown … ; did you mean …? known are …".
fn unknown(what: &str, got: &str, known: &[&str]) -> String {
    let near = known.iter().map(|k| (distance(k, got), k)).min().filter(|(d, _)| *d <= 3);
    let hint = near.map_or(".".to_owned(), |(_, k)| format!(", did you mean {k}?"));
    format!("unknown {what} {got:?}{hint} Known are: {}", known.join(", "))
}

/// Edits between two words (Wagner and Fischer 1974), one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = (corner + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}

/// Undoes percent signs. The error names the part, not its text: it may be a password.
fn decode(text: &str, part: &str) -> Result<String, StoreError> {
    let wrong = || {
        bad(format!("the {part} has a percent sign that is not followed by two hex digits; write % as %25"))
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let pair = [bytes.next().ok_or_else(wrong)?, bytes.next().ok_or_else(wrong)?];
        let hex = std::str::from_utf8(&pair).map_err(|_| wrong())?;
        out.push(u8::from_str_radix(hex, 16).map_err(|_| wrong())?);
    }
    let out = String::from_utf8(out).map_err(|_| bad(format!("the {part} is not UTF-8")))?;
    match out.contains('\0') {
        true => Err(bad(format!("the {part} contains a NUL character"))),
        false => Ok(out),
    }
}

fn tls_config(tls: Tls, root: Option<&str>) -> Result<ClientConfig, StoreError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| StoreError::Internal(format!("TLS: {e}")))?;
    if tls != Tls::VerifyFull {
        let verifier = Arc::new(AnyServer(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match root {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unreadable = |e: &dyn std::fmt::Display| bad(format!("sslrootcert {path}: {e}"));
            for cert in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                roots.add(cert.map_err(|e| unreadable(&e))?).map_err(|e| unreadable(&e))?;
            }
            if roots.is_empty() {
                return Err(bad(format!("sslrootcert {path}: there is no certificate in it")));
            }
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `require` means encrypted, not verified, as in PostgreSQL's own clients: the signature of the
/// handshake is checked, whose certificate it is is not.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, StoreError> {
        Address::parse(url, Duration::from_secs(5))
    }

    #[test]
    fn a_full_address_is_understood() {
        let a = parse("postgres://me:p%40ss@db.example:6000/jobs?sslmode=require&schema=ms_test").unwrap();
        assert_eq!(a.config.get_user(), Some("me"));
        assert_eq!(a.config.get_password(), Some(b"p@ss".as_slice()));
        assert_eq!((a.config.get_dbname(), a.config.get_ports()), (Some("jobs"), [6000u16].as_slice()));
        assert_eq!(a.config.get_ssl_mode(), SslMode::Require);
        assert_eq!((a.schema.as_str(), a.shown.as_str()), ("ms_test", "postgres://me@db.example:6000/jobs"));
        let two = parse("postgresql://me@a,b:5433/jobs").unwrap();
        assert_eq!(two.config.get_ports(), [5432, 5433]);
        assert_eq!(two.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let v6 = parse("postgres://me@[::1]:5433/jobs").unwrap();
        assert_eq!(v6.config.get_hosts(), [tokio_postgres::config::Host::Tcp("::1".into())]);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_the_password_is_not() {
        for (url, why) in [
            ("mysql://me:secret@h/d", "unknown scheme \"mysql\""),
            ("me:secret@h/d", "no scheme"),
            ("postgres://me:secret@/d", "the host is missing"),
            ("postgres://h/d", "the user is missing"),
            ("postgres://:secret@h/d", "the user is missing"),
            ("postgres://me:secret@h:54x2/d", "the port \"54x2\" of host h"),
            ("postgres://me:secret@h:70000/d", "the port \"70000\""),
            ("postgres://me:secret@h:0/d", "the port \"0\""),
            ("postgres://me:secret@h", "the database's name is missing"),
            ("postgres://me:secret@h/a/b", "contains a slash"),
            ("postgres://me:secret%zz@h/d", "the password has a percent sign"),
            ("postgres://me:secret@h/d?sslmode=requird", "did you mean require?"),
            ("postgres://me:secret@h/d?sslmod=require", "did you mean sslmode?"),
            ("postgres://me:secret@h/d?schema=Robert", "the schema \"Robert\""),
            ("postgres://me:secret@h/d?sslrootcert=/nowhere", "sslmode=verify-full only"),
            ("postgres://me:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere", "sslrootcert /nowhere"),
            ("postgres://me:secret@[::1/d", "closing bracket"),
        ] {
            let Err(StoreError::Address(text)) = parse(url) else { panic!("{url} was taken") };
            assert!(text.contains(why), "{url}: {text}");
            assert!(!text.contains("secret"), "{url}: {text}");
        }
    }
}
