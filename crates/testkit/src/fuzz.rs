//! Input that nobody would send: bytes made from a kept corpus by small changes, thousands a second.
//!
//! A target is a function from bytes to a number that says what became of them (which error, which
//! shape of result). Input that leads to a new number is kept for the run and changed further, so that
//! the search goes where something happens. A panic ends the test; the input is written down in the
//! corpus, which is committed, and is tried first from then on.
//!
//! Each target has a few thousand rounds in every test run; `MAINSPRING_FUZZ_SECONDS=600` goes on for
//! so long, `MAINSPRING_SEED=7` goes another way. It needs no tool chain of its own, and so also finds
//! less than one that sees into the program would: what is missed there is for longer runs.

use crate::dice::{Dice, seed_from_environment};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Inputs that are kept for further changes.
const POOL: usize = 512;
/// The longest input.
const LONGEST: usize = 64 << 10;
/// Numbers at which programs change their minds.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "59",
    "60",
    "127",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e308",
    "0x7f",
];

/// A target.
pub struct Fuzz {
    corpus: PathBuf,
    words: Vec<&'static str>,
    rounds: u64,
}

impl Fuzz {
    /// The target whose corpus is the folder `corpus` (of the caller's crate: `CARGO_MANIFEST_DIR`),
    /// with words that mean something to it.
    pub fn new(manifest: &str, corpus: &str, words: &[&'static str]) -> Fuzz {
        let corpus = Path::new(manifest).join("tests/corpus").join(corpus);
        Fuzz { corpus, words: words.to_vec(), rounds: 4_000 }
    }

    /// As many rounds in a usual run.
    pub fn rounds(mut self, rounds: u64) -> Fuzz {
        self.rounds = rounds;
        self
    }

    /// Tries the corpus, then changes of it; gives how many inputs were tried.
    pub fn run<T: Hash>(&self, mut target: impl FnMut(&[u8]) -> T) -> u64 {
        let mut pool = self.read();
        assert!(!pool.is_empty(), "{} holds no seeds", self.corpus.display());
        let (mut known, mut tried) = (HashSet::new(), 0);
        for input in &pool {
            known.insert(self.one(&mut target, input));
            tried += 1;
        }
        let dice = Dice::new(seed_from_environment().unwrap_or(1));
        let enough = Enough::new(self.rounds);
        while !enough.now(tried) {
            let input = self.change(&dice, &pool);
            tried += 1;
            if known.insert(self.one(&mut target, &input)) {
                match pool.len() < POOL {
                    true => pool.push(input),
                    false => {
                        let place = dice.below(POOL as u64) as usize;
                        pool[place] = input;
                    }
                }
            }
        }
        tried
    }

    fn read(&self) -> Vec<Vec<u8>> {
        let files =
            std::fs::read_dir(&self.corpus).unwrap_or_else(|e| panic!("{}: {e}", self.corpus.display()));
        let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        paths.sort();
        let mut pool = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path).expect("the corpus can be read");
            // A list of seeds, one a line, or one seed as it is.
            match path.extension().is_some_and(|e| e == "lines") {
                true => {
                    pool.extend(bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec))
                }
                false => pool.push(bytes),
            }
        }
        pool
    }

    fn one<T: Hash>(&self, target: &mut impl FnMut(&[u8]) -> T, input: &[u8]) -> u64 {
        match catch_unwind(AssertUnwindSafe(|| target(input))) {
            Ok(became) => number(&became),
            Err(why) => {
                let name = format!("crash-{:016x}", number(&input));
                let path = self.corpus.join(name);
                let _ = std::fs::write(&path, input);
                let text = why.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| why.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                panic!("{text}\ninput: {}\nkept in {}", input.escape_ascii(), path.display());
            }
        }
    }

    fn change(&self, dice: &Dice, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = dice.pick(pool).clone();
        for _ in 0..=dice.below(4) {
            let at = dice.below(input.len() as u64 + 1) as usize;
            let end = at + dice.below((input.len() - at) as u64 + 1).min(16) as usize;
            match dice.below(9) {
                0 if at < input.len() => input[at] ^= 1 << dice.below(8),
                1 if at < input.len() => input[at] = dice.below(256) as u8,
                2 => drop(input.drain(at..end)),
                3 => insert(&mut input, at, &[dice.below(256) as u8]),
                4 => {
                    let span = input[at..end].to_vec();
                    let times = 1 + dice.below(if dice.once_in(50) { 200 } else { 4 }) as usize;
                    insert(&mut input, at, &span.repeat(times));
                }
                5 if !self.words.is_empty() => {
                    let word = dice.word(&self.words);
                    insert(&mut input, at, word.as_bytes());
                }
                6 => {
                    let number = dice.word(&NUMBERS);
                    input.splice(at..end, number.bytes());
                }
                7 => {
                    let other = dice.pick(pool);
                    let from = dice.below(other.len() as u64 + 1) as usize;
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                _ => input.truncate(at.max(1)),
            }
        }
        input.truncate(LONGEST);
        input
    }
}

fn insert(input: &mut Vec<u8>, at: usize, what: &[u8]) {
    input.splice(at..at, what.iter().copied());
}

fn number(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// When a run has done enough.
struct Enough {
    rounds: u64,
    until: Option<(Instant, Duration)>,
}

#[allow(clippy::disallowed_methods, reason = "how long to look for crashes, by real time")]
impl Enough {
    fn new(rounds: u64) -> Enough {
        let seconds = std::env::var("MAINSPRING_FUZZ_SECONDS").ok();
        let seconds = seconds.map(|s| s.parse().expect("MAINSPRING_FUZZ_SECONDS is a whole number"));
        Enough { rounds, until: seconds.map(|s| (Instant::now(), Duration::from_secs(s))) }
    }

    fn now(&self, tried: u64) -> bool {
        match self.until {
            None => tried >= self.rounds,
            Some((begun, length)) => begun.elapsed() >= length,
        }
    }
}
