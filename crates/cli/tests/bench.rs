//! The benchmark measures what really happened: its figures come with a recount of the store, and it
//! leaves nothing behind.

mod support;

use support::Place;

#[test]
fn a_small_benchmark_gives_every_figure_and_removes_its_scratch_file() {
    let mut place = Place::new();
    let scratch = tempfile::tempdir().unwrap();
    place.env.push(("TMPDIR".into(), scratch.path().display().to_string()));
    let phases = ["batch", "drain", "drain-after", "drain-keyed", "drain-limited"];
    let mut args = vec!["bench", "--jobs", "1500", "--history", "500", "--json"];
    args.extend(phases.iter().flat_map(|p| ["--phase", p]));
    let said = place.call(&args);
    assert_eq!(said.code, 0, "{said:?}");
    let figures: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let told: Vec<_> =
        figures.iter().map(|f| (f["phase"].as_str().unwrap(), f["n"].as_u64().unwrap())).collect();
    assert_eq!(told, phases.map(|phase| (phase, 1500)));
    assert!(figures.iter().all(|f| f["rate"].as_f64().unwrap() > 0.0 && f["rss_mb"].as_u64().unwrap() > 0));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_drain_that_does_not_find_its_jobs_is_an_error_and_not_a_figure() {
    let mut place = Place::new();
    let folder = place.path().display().to_string();
    place.env.push(("WORKDIR".into(), folder));
    let driver = |phase: &str, numbers: &[&str]| {
        let mut args = vec!["bench", "driver", "mainspring-sqlite", phase];
        args.extend(numbers);
        place.call(&args)
    };
    assert_eq!(driver("setup", &[]).code, 0);
    assert_eq!(driver("batch", &["50"]).code, 0);
    // More jobs run than the caller says were waiting: something is counted wrongly.
    let said = driver("drain", &["40"]);
    assert!(said.code == 1 && said.err.contains("of 40 jobs ran"), "{said:?}");
    // Every schedule of a storm has its job begun, or there is no figure.
    let said = driver("storm", &["20"]);
    assert!(said.code == 0 && said.out.contains("\"n\":20"), "{said:?}");
    let said = driver("drain-nodes", &["20"]);
    assert!(said.code == 2 && said.err.contains("PostgreSQL only"), "{said:?}");
    let said = driver("polka", &[]);
    assert!(said.code == 2 && said.err.contains("not a phase"), "{said:?}");
    let said = driver("single", &["1"]);
    assert!(said.code == 2 && said.err.contains("needs 2 numbers"), "{said:?}");
}
