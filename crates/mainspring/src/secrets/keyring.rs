//! Sealing: AES-256-GCM with a random nonce, by `ring`.
//!
//! A sealed text is `v1.<key>.<base64 of nonce, text and tag>`, where `<key>` tells which key sealed
//! it (the first eight hexadecimal digits of the SHA-256 of the key, which tell nothing else of it).
//! A ring holds one key or several while one takes over from the other: the first seals, all open.

use super::{Result, Secret, SecretError};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mainspring_core::ProjectId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

/// Bytes of a key.
const KEY: usize = 32;
/// How a sealed text begins.
const VERSION: &str = "v1";

/// One key.
struct Key {
    id: String,
    text: String,
    aead: LessSafeKey,
}

/// The keys that seal and open secrets: see the module's text.
pub struct Keyring {
    /// Never empty.
    keys: Vec<Key>,
    random: SystemRandom,
}

fn unusable(text: &str) -> SecretError {
    SecretError::Key(text.to_owned())
}

impl Key {
    fn of(bytes: &[u8]) -> Result<Key> {
        let aead = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| unusable("a key has 32 bytes"))?;
        let id = Sha256::digest(bytes).iter().take(4).map(|b| format!("{b:02x}")).collect();
        Ok(Key { id, text: STANDARD.encode(bytes), aead: LessSafeKey::new(aead) })
    }
}

impl Keyring {
    /// A ring with one new key.
    pub fn random() -> Result<Keyring> {
        let random = SystemRandom::new();
        let mut bytes = [0; KEY];
        random.fill(&mut bytes).map_err(|_| unusable("the system gives no random bytes"))?;
        Ok(Keyring { keys: vec![Key::of(&bytes)?], random })
    }

    /// Reads keys: each 32 bytes in base64, with blanks or line breaks between them; lines that begin
    /// with `#` are passed over. The error does not hold what was read.
    pub fn parse(text: &str) -> Result<Keyring> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let mut keys: Vec<Key> = Vec::new();
        for word in lines.flat_map(str::split_whitespace) {
            let word = word.trim_end_matches('=');
            let bytes = STANDARD_NO_PAD.decode(word).or_else(|_| URL_SAFE_NO_PAD.decode(word));
            let key = match bytes {
                Ok(bytes) if bytes.len() == KEY => Key::of(&bytes)?,
                Ok(bytes) => {
                    let text = format!("a key has {KEY} bytes in base64, one here has {}", bytes.len());
                    return Err(unusable(&text));
                }
                Err(_) => return Err(unusable("a key is 32 bytes in base64 (openssl rand -base64 32)")),
            };
            if !keys.iter().any(|k| k.id == key.id) {
                keys.push(key);
            }
        }
        match keys.is_empty() {
            true => {
                Err(unusable("there is no key in it; a key is 32 bytes in base64 (openssl rand -base64 32)"))
            }
            false => Ok(Keyring { keys, random: SystemRandom::new() }),
        }
    }

    /// This ring with a new key before the others: it seals from now on.
    pub fn turned(&self) -> Result<Keyring> {
        let mut ring = Keyring::random()?;
        let older: Vec<&str> = self.keys.iter().map(|k| k.text.as_str()).collect();
        ring.keys.extend(Keyring::parse(&older.join(" "))?.keys);
        Ok(ring)
    }

    /// What a key file holds, one key a line, the newest first.
    pub fn text(&self) -> Secret {
        let mut text = String::from(
            "# Seals the secrets of Mainspring. The first key seals, all open. Keep a copy apart from the backups.\n",
        );
        for key in &self.keys {
            text.push_str(&key.text);
            text.push('\n');
        }
        Secret::new(text)
    }

    /// The id of the key that seals.
    pub fn id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    /// The ids of all keys, the one that seals first.
    pub fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.id.as_str()).collect()
    }

    /// Whether a text was sealed with the key that seals now.
    pub fn is_newest(&self, sealed: &str) -> bool {
        key_of(sealed) == Some(self.id())
    }

    /// Seals a value for this project and name.
    pub fn seal(&self, project: ProjectId, name: &str, value: &Secret) -> Result<String> {
        let Some(key) = self.keys.first() else { return Err(unusable("a ring without keys seals nothing")) };
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| unusable("the system gives no random bytes"))?;
        let mut bytes = value.expose().as_bytes().to_vec();
        let sealed = key.aead.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(project, name)),
            &mut bytes,
        );
        sealed.map_err(|_| unusable("sealing failed"))?;
        let whole = [nonce.as_slice(), &bytes].concat();
        Ok(format!("{VERSION}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(whole)))
    }

    /// Opens what was sealed for this project and name. `place` says where the keys came from.
    pub fn open(&self, place: &str, project: ProjectId, name: &str, sealed: &str) -> Result<Secret> {
        let damaged = || SecretError::Damaged(name.to_owned());
        let wanted = key_of(sealed).ok_or_else(damaged)?;
        let text = sealed.rsplit('.').next().unwrap_or("");
        let key = self.keys.iter().find(|key| key.id == wanted).ok_or_else(|| SecretError::WrongKey {
            name: name.to_owned(),
            wanted: wanted.to_owned(),
            place: place.to_owned(),
            held: self.ids().join(", "),
        })?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut rest = rest.to_vec();
        let aad = Aad::from(bound(project, name));
        let opened = key.aead.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut rest);
        let opened = opened.map_err(|_| damaged())?;
        String::from_utf8(opened.to_vec()).map(Secret::new).map_err(|_| damaged())
    }
}

/// The id of the key that a text was sealed with.
fn key_of(sealed: &str) -> Option<&str> {
    let mut parts = sealed.split('.');
    let (version, id) = (parts.next()?, parts.next()?);
    (version == VERSION && parts.next().is_some() && parts.next().is_none()).then_some(id)
}

/// What is sealed with a value besides itself. A number ends at the slash, so no two pairs are alike.
fn bound(project: ProjectId, name: &str) -> Vec<u8> {
    format!("mainspring/{project}/{name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProjectId = ProjectId(7);

    fn opened(ring: &Keyring, project: ProjectId, name: &str, sealed: &str) -> String {
        match ring.open("here", project, name, sealed) {
            Ok(secret) => secret.expose().to_owned(),
            Err(e) => format!("{}: {e}", e.code()),
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_project_and_name_alone() {
        let ring = Keyring::random().unwrap();
        let sealed = ring.seal(P, "token", &Secret::new("hunter2 and more")).unwrap();
        assert!(!sealed.contains("hunter2") && sealed.starts_with(&format!("v1.{}.", ring.id())), "{sealed}");
        assert_ne!(
            sealed,
            ring.seal(P, "token", &Secret::new("hunter2 and more")).unwrap(),
            "a nonce of its own"
        );
        assert_eq!(opened(&ring, P, "token", &sealed), "hunter2 and more");
        for (project, name) in [(ProjectId(8), "token"), (P, "other"), (P, "toke")] {
            assert!(opened(&ring, project, name, &sealed).starts_with("MS0033"), "{project} {name}");
        }
        for at in 0..sealed.len() {
            let mut broken = sealed.clone().into_bytes();
            broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
            let broken = String::from_utf8(broken).unwrap();
            let whole = opened(&ring, P, "token", &broken);
            assert!(whole.starts_with("MS0033"), "byte {at}: {whole}");
        }
        for broken in ["", "v1", "v1.x", "v2.a.b", "v1.a.b.c", &format!("v1.{}.", ring.id())] {
            assert!(opened(&ring, P, "token", broken).starts_with("MS0033"), "{broken}");
        }
    }

    #[test]
    fn a_new_key_seals_and_the_older_one_still_opens() {
        let old = Keyring::random().unwrap();
        let sealed = old.seal(P, "token", &Secret::new("value")).unwrap();
        let new = Keyring::parse(old.turned().unwrap().text().expose()).unwrap();
        assert_eq!((new.ids().len(), new.ids()[1]), (2, old.id()));
        assert_eq!(opened(&new, P, "token", &sealed), "value");
        assert!(!new.is_newest(&sealed) && old.is_newest(&sealed));
        let again = new.seal(P, "token", &Secret::new("value")).unwrap();
        let error = opened(&old, P, "token", &again);
        for part in ["MS0033", new.id(), old.id(), "here", "mainspring secret set token"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn keys_are_read_in_every_spelling_and_refused_without_being_shown() {
        let bytes = [251u8; 32];
        let standard = STANDARD.encode(bytes);
        let plain = Keyring::parse(&standard).unwrap();
        for text in [
            URL_SAFE_NO_PAD.encode(bytes),
            format!("# a key\n\n  {standard}\n"),
            format!("{standard} {standard}"),
        ] {
            assert_eq!(Keyring::parse(&text).unwrap().ids(), plain.ids());
        }
        for (text, why) in
            [("", "no key"), ("# only words", "no key"), ("c2hvcnQ=", "32 bytes"), ("not!base64", "base64")]
        {
            let Err(e) = Keyring::parse(text) else { panic!("{text:?} was taken") };
            assert!(e.to_string().contains(why) && !e.to_string().contains("c2hvcnQ"), "{e}");
        }
    }
}
