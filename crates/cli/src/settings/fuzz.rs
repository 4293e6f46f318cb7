//! Configuration files that nobody would write: refused with a place, or read; never a panic.

use super::{Given, load};
use crate::contents;
use mainspring::Registry;
use mainspring_testkit::fuzz::Fuzz;

#[test]
fn fuzz_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.toml");
    let registry = Registry::new();
    let now = "2027-03-13T22:59:30Z".parse().unwrap();
    let words = [
        "[[schedule]]\n",
        "cron = ",
        "\"\"\"",
        "name = ",
        "= [",
        "]]",
        "\u{0}",
        "every = \"",
        "1979-05-27",
        "[a.b]",
        "#",
    ];
    let tried = Fuzz::new(env!("CARGO_MANIFEST_DIR"), "config", &words).rounds(1_500).run(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        let settings = match load(&Given { config: Some(path.clone()), ..Given::default() }) {
            Ok(settings) => settings,
            Err(e) => {
                let text = e.to_string();
                assert!(text.contains("m.toml"), "{text}");
                return (0, text.chars().take(60).collect::<String>());
            }
        };
        match contents::read(&settings, &registry, now) {
            Ok(contents) => (1, contents.schedules.len().to_string()),
            Err(errors) => {
                assert!(!errors.is_empty());
                (2, errors[0].to_string().chars().take(60).collect())
            }
        }
    });
    assert!(tried >= 1_500, "{tried}");
}
