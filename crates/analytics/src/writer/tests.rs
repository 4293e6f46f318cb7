//! What is written of worked and of made-up activities, in every form.

use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation;

use super::*;
use crate::grounding::Evidence;

const PAGE: &str = "https://git.example/acme/press";

fn entry<'a>(id: Id<'a>, message: &'a str, author: &'a str) -> Entry<'a> {
    let author = Some(author);
    Entry { id, message, address: PAGE, author, by_bot: false, labels: vec![], size: Size::default() }
}

fn activity(entries: Vec<Entry<'_>>) -> Activity<'_> {
    Activity { repository: "acme/press", address: PAGE, entries }
}

fn week() -> Activity<'static> {
    let mut entries = vec![
        entry(Id::Pull(11), "fix: no crash on an empty file (#11)", "ann"),
        entry(Id::Pull(12), "feat(api): export to CSV", "ben"),
        entry(Id::Pull(13), "feat!: drop the old config\n\nBREAKING CHANGE: rename it", "ann"),
        entry(Id::Issue(9), "Wrong totals in March", "cleo"),
        entry(Id::Commit("3f2a9bc01d"), "docs: how to export", "ben"),
        entry(Id::Pull(14), "Bump serde from 1.0.1 to 1.0.2", "dependabot[bot]"),
        entry(Id::Pull(15), "chore(deps): bump serde from 1.0.2 to 1.0.3", "dependabot[bot]"),
        entry(Id::Pull(16), "chore(deps): update dependency vite to v7", "renovate[bot]"),
        entry(Id::Commit("aaaaaaa1"), "Merge branch 'main' into x", "ann"),
        entry(Id::Pull(17), "Translations", "weblate"),
    ];
    for entry in &mut entries {
        entry.by_bot = entry.author.is_some_and(|author| crate::changes::is_bot(author, false, &[]));
    }
    activity(entries)
}

#[test]
fn a_week_is_told_by_its_weight() {
    let draft = draft(&week()).unwrap();
    assert_eq!(draft.title, "press: Breaking: Drop the old config, and 4 more changes");
    let told = |(name, bullets): &(&'static str, Vec<Bullet>)| {
        (*name, bullets.iter().map(|b| format!("{} {}", b.label, b.text)).collect::<Vec<_>>())
    };
    let expected = [
        ("What's new", vec!["#13 Breaking: Drop the old config".to_owned(), "#12 Export to CSV".to_owned()]),
        ("Fixed", vec!["#11 No crash on an empty file".to_owned(), "#9 Wrong totals in March".to_owned()]),
        (
            "For contributors",
            vec![
                "3f2a9bc How to export".to_owned(),
                "#16 2 dependencies updated: serde 1.0.3, vite v7".to_owned(),
            ],
        ),
    ];
    assert_eq!(draft.sections.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(draft.thanks, ["ann", "ben", "cleo"]);

    let article = markdown(&draft);
    assert!(
        article
            .starts_with("What changed in [acme/press](https://git.example/acme/press).\n\n## What's new\n")
    );
    assert!(article.contains("- Export to CSV ([#12](https://git.example/acme/press))\n"));
    assert!(article.ends_with("\nThanks to ann, ben and cleo.\n"));
}

#[test]
fn what_the_rules_write_is_grounded_in_the_facts() {
    let week = week();
    let draft = draft(&week).unwrap();
    let mut facts = Evidence::of(["acme/press", PAGE, "4 changes", "2 dependencies"]);
    for entry in &week.entries {
        for fact in [entry.message, entry.address, entry.author.unwrap_or_default(), &entry.id.shown()] {
            facts.add(fact);
        }
    }
    assert_eq!(facts.check(&markdown(&draft)), []);
    assert_eq!(facts.check(&plain(&draft, LINKEDIN)), []);
    assert_eq!(facts.check(&draft.title), []);
}

#[test]
fn nothing_to_tell_is_no_draft() {
    assert_eq!(draft(&activity(vec![])), None);
    let merge = entry(Id::Commit("abc1234"), "Merge branch 'main' into x", "ann");
    let bot = Entry { by_bot: true, ..entry(Id::Pull(1), "Translations", "weblate") };
    assert_eq!(draft(&activity(vec![merge, bot, entry(Id::Pull(2), "\n", "ann")])), None);
    let only = draft(&activity(vec![entry(Id::Pull(3), "Bump a from 1 to 2", "x")])).unwrap();
    assert_eq!(only.title, "press: 1 dependency updated: a 2");
}

#[test]
fn hostile_titles_are_shown_and_not_obeyed() {
    let titles = [
        "<script>alert(1)</script> [x](javascript:alert(1))",
        "{% embed https://evil.example %} {{ page }}",
        "`code` *bold* _it_ ![i](x)\u{202e}txt.exe",
        "see https://evil.example/issues/77 and GH-77, other/repo#78, (#79) @everyone",
    ];
    let entries = titles
        .iter()
        .map(|title| Entry { address: "javascript:alert(1)", ..entry(Id::Pull(1), title, "an<b>n @all") });
    let draft = draft(&activity(entries.collect())).unwrap();
    let article = markdown(&draft);
    for sign in [
        "<script",
        "x](javascript",
        "{%",
        "{{",
        "i](x)",
        "evil.example",
        "77",
        "78",
        "79",
        "@everyone",
        "\u{202e}",
    ] {
        assert!(!article.contains(sign), "{sign} in {article}");
    }
    assert!(article.contains("\\`code\\` \\*bold\\* \\_it\\_"));
    assert!(article.contains("Thanks to anbnall."));
    let posts = thread(&draft, BLUESKY);
    assert!(posts.iter().flat_map(|post| &post.facets).all(|facet| facet.address == PAGE));
}

#[test]
fn a_thread_for_bluesky_links_bytes_and_one_for_mastodon_addresses() {
    let title = "feat: größere Übersicht 👩‍👩‍👧 überall";
    let draft = draft(&activity(vec![entry(Id::Pull(5), title, "ann")])).unwrap();
    let [post] = &thread(&draft, BLUESKY)[..] else { panic!("one post is enough") };
    assert_eq!(post.facets.len(), 2);
    assert_eq!(&post.text[post.facets[0].start..post.facets[0].end], "acme/press");
    assert_eq!(&post.text[post.facets[1].start..post.facets[1].end], "#5");
    assert!(post.text.contains("• Größere Übersicht 👩‍👩‍👧 überall (#5)\nThanks to ann."));
    let [post] = &thread(&draft, MASTODON)[..] else { panic!("one post is enough") };
    assert!(post.text.contains("überall https://git.example/acme/press\n") && post.facets.is_empty());
}

/// What Mastodon counts: letters as readers see them, after each address became 23 of them.
fn mastodon(text: &str) -> usize {
    let counted = |word: &str| match word.trim_end() {
        address if address.starts_with("https://") => word.replace(address, &"x".repeat(23)),
        _ => word.to_owned(),
    };
    text.split_inclusive([' ', '\n']).map(counted).collect::<String>().graphemes(true).count()
}

fn ids_in(text: &str) -> Vec<u64> {
    let after =
        text.split('#').skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    after.filter(|digits| !digits.is_empty()).map(|digits| digits.parse().unwrap_or(u64::MAX)).collect()
}

fn titles() -> impl Strategy<Value = Vec<(u64, String, bool)>> {
    let title = prop_oneof![
        "(feat|fix|docs|chore)?(\\(a\\))?!?: [a-z ]{1,40}( \\(#[0-9]{1,3}\\))?",
        "[A-Za-z #@/()-]{0,20}(#|GH-|gh-|x#|https://a.example/issues/)[0-9]{1,3}[a-z #]{0,20}",
        "\\PC{0,80}",
        "Bump [a-d#]{1,3} from 1 to [0-9]{1,2}",
        "(👩‍👩‍👧|é|e\u{301}|漢字| ){1,200}",
    ];
    prop::collection::vec((1u64..200, title, any::<bool>()), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_form_names_an_id_outside_of_the_window(titles in titles()) {
        let entries = titles.iter().map(|(id, title, pull)| {
            entry(if *pull { Id::Pull(*id) } else { Id::Issue(*id) }, title, "ann")
        });
        if let Some(draft) = draft(&activity(entries.collect())) {
            let mut texts = vec![draft.title.clone(), markdown(&draft), plain(&draft, LINKEDIN)];
            texts.extend(thread(&draft, MASTODON).into_iter().chain(thread(&draft, BLUESKY)).map(|post| post.text));
            for text in texts {
                // The entities of markdown have a # of their own.
                let text = text.replace("&#123;", "").replace("&#125;", "");
                for id in ids_in(&text) {
                    prop_assert!(titles.iter().any(|(known, ..)| *known == id), "#{} in {}", id, text);
                }
                prop_assert!(!text.contains("a.example"));
            }
        }
    }

    #[test]
    fn each_form_fits_its_network(titles in titles()) {
        let entries = titles.iter().map(|(id, title, _)| entry(Id::Pull(*id), title, "ann"));
        if let Some(draft) = draft(&activity(entries.collect())) {
            prop_assert!(draft.title.graphemes(true).count() <= 128 && !draft.title.contains('\n'));
            let post = plain(&draft, LINKEDIN);
            let escaped = post.chars().filter(|c| "|{}@[]()<>#\\*_~".contains(*c)).count();
            prop_assert!(post.chars().count() + escaped <= LINKEDIN);
            let posts = thread(&draft, MASTODON);
            prop_assert!(posts.len() <= 12);
            for post in &posts {
                prop_assert!(mastodon(&post.text) <= 500 && !post.text.is_empty(), "{} {}", mastodon(&post.text), post.text.len());
            }
            let bullets: usize = draft.sections.iter().map(|(_, bullets)| bullets.len()).sum();
            let posts = thread(&draft, BLUESKY);
            for post in &posts {
                prop_assert!(post.text.graphemes(true).count() <= 300 && post.text.len() <= 3_000);
                for facet in &post.facets {
                    let label = post.text.get(facet.start..facet.end);
                    prop_assert!(label.is_some_and(|label| label.starts_with('#') || label == "acme/press"));
                }
            }
            // What is not linked is counted.
            let linked = posts.iter().map(|post| post.facets.len()).sum::<usize>() - 1;
            let last = &posts.last().unwrap().text;
            let told = last.rsplit_once("… and ").and_then(|(_, rest)| rest.strip_suffix(" more.")?.parse::<usize>().ok());
            prop_assert_eq!(linked + told.unwrap_or(0), bullets);
        }
    }
}
