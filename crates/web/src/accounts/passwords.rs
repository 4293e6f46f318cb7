//! Passwords: argon2id with the parameters OWASP asks for (19 MiB, two passes, one lane). Hashing
//! takes memory and time by design, so only a few run at once and never on a thread that serves.

use crate::access::random;
use crate::problem::{Problem, Result};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use mainspring_core::StoreError;
use std::sync::LazyLock;
use tokio::sync::Semaphore;

/// Shortest and longest password, in bytes.
pub const LENGTH: std::ops::RangeInclusive<usize> = 10..=128;

/// Hashes at the same time.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

fn argon() -> Result<Argon2<'static>> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn failed(e: impl std::fmt::Display) -> Problem {
    StoreError::Internal(format!("hashing a password: {e}")).into()
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let _turn = TURNS.acquire().await.map_err(failed)?;
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// Refuses what is too short or too long to be one.
pub fn check(password: &str) -> Result<()> {
    if LENGTH.contains(&password.len()) {
        return Ok(());
    }
    let text = format!("{} bytes; {} to {} are allowed", password.len(), LENGTH.start(), LENGTH.end());
    Err(Problem::invalid("password", text))
}

/// What is kept of a password.
pub async fn hash(password: &str) -> Result<String> {
    check(password)?;
    let password = password.to_owned();
    apart(move || {
        let salt = random::<16>()?;
        let salt = SaltString::encode_b64(&salt).map_err(failed)?;
        Ok(argon()?.hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
    })
    .await
}

/// Whether this is the password. Without a hash it takes as long and says no, so that the time of an
/// answer does not tell which addresses have an account.
pub async fn verify(password: &str, kept: Option<String>) -> Result<bool> {
    if password.len() > *LENGTH.end() {
        return Ok(false);
    }
    let password = password.to_owned();
    let known = kept.is_some();
    let kept = match kept {
        Some(kept) => kept,
        None => hash("nobody has this password").await?,
    };
    let right = apart(move || {
        let parsed = PasswordHash::new(&kept).map_err(failed)?;
        Ok(argon()?.verify_password(password.as_bytes(), &parsed).is_ok())
    })
    .await?;
    Ok(right && known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_and_recognised() {
        let kept = hash("correct horse").await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash("correct horse").await.unwrap(), "each has its own salt");
        assert!(verify("correct horse", Some(kept.clone())).await.unwrap());
        assert!(!verify("correct house", Some(kept)).await.unwrap());
        assert!(!verify("nobody has this password", None).await.unwrap());
        assert_eq!(check("short").unwrap_err().field.as_deref(), Some("password"));
        assert!(check(&"x".repeat(129)).is_err() && check(&"x".repeat(128)).is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn few_passwords_are_hashed_at_once() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let most = TURNS.available_permits();
        let work = || {
            MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let salt = SaltString::encode_b64(b"a salt of a test").map_err(failed)?;
            argon()?.hash_password(b"a password", &salt).map_err(failed)?;
            NOW.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let all: Vec<_> = (0..4 * most).map(|_| tokio::spawn(apart(work))).collect();
        for one in all {
            one.await.expect("no panic").expect("hashed");
        }
        let seen = MOST.load(Ordering::SeqCst);
        assert!((1..=most).contains(&seen) && most <= 8, "{seen} at once, {most} are allowed");
    }
}
