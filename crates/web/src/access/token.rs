//! Random secrets that are shown once and kept as a hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainspring_core::StoreError;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// 256 random bits as text that fits into an address or a header. Never printed by accident.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A new one.
    pub fn random() -> Result<Secret, StoreError> {
        Ok(Secret(URL_SAFE_NO_PAD.encode(random::<32>()?)))
    }

    /// Its text, to be shown or sent once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Bytes that nobody can foretell. Chance elsewhere is drawn from a seed so that a failure can be
/// replayed; what protects people must not be.
#[allow(clippy::disallowed_methods, reason = "secrets come from the operating system")]
pub fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    let failed = |e| StoreError::Internal(format!("the system gives no random bytes: {e}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The hash of a secret, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash(pub Vec<u8>);

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Hash, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Hash;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the bytes of a hash")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Hash, E> {
                Ok(Hash(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Hash, E> {
                Ok(Hash(bytes))
            }
        }
        d.deserialize_byte_buf(Bytes)
    }
}

/// What is kept of a secret. A fast hash is right for 256 random bits: there is nothing to guess.
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// Whether two hashes are the same, in a time that does not tell where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_do_not_show() {
        let (a, b) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(a.reveal().len(), 43);
        assert!(!format!("{a:?}").contains(a.reveal()));
        assert!(same(&hash(a.reveal()), &hash(a.reveal())) && !same(&hash(a.reveal()), &hash(b.reveal())));
    }
}
