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

#[test]
fn what_grows_with_the_store_is_measured() {
    let mut place = Place::new();
    place.env.push(("WORKDIR".into(), place.path().display().to_string()));
    let figure = |phase: &str, numbers: &[&str]| {
        let mut args = vec!["bench", "driver", "mainspring-sqlite", phase];
        args.extend(numbers);
        let said = place.call(&args);
        assert_eq!(said.code, 0, "{said:?}");
        let figure: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(figure["phase"], phase);
        (figure["n"].as_u64().unwrap(), figure["note"].as_str().unwrap().to_owned())
    };
    assert_eq!(place.call(&["bench", "driver", "mainspring-sqlite", "setup"]).code, 0);
    let (n, told) = figure("start", &["700"]);
    assert!(n == 700 && told.contains("the first job begun after 0."), "{told}");
    let (n, told) = figure("lists", &["300"]);
    assert_eq!(n, 300);
    for list in ["jobs ", "completed of a kind ", "jobs in the middle ", "schedules ", "stats "] {
        let part = told.split("; ").find(|part| part.starts_with(list)).unwrap_or_else(|| panic!("{told}"));
        assert!(part.contains(" ms, at most "), "{part}");
    }
    // What the phases say was there is there: 700 and the first, 300, and the schedules of two phases.
    let (n, told) = figure("idle-schedules", &["1200", "1"]);
    assert!(n == 1200 && told.contains("% of one processor"), "{told}");
    let file = place.path().join("mainspring-sqlite.db").display().to_string();
    let counted = place.call(&["stats", "--json", "--store", &file]);
    assert!(counted.out.contains("\"total\": 1001"), "{}", counted.out);
    let schedules = place.json(&["schedule", "list", "--store", &file]);
    assert_eq!(schedules.as_array().map(Vec::len), Some(1200));
}

#[test]
fn the_pages_are_timed_over_a_history_that_was_really_run() {
    let mut place = Place::new();
    let scratch = tempfile::tempdir().unwrap();
    place.env.push(("TMPDIR".into(), scratch.path().display().to_string()));
    let said = place.call(&["bench", "--phase", "pages", "--history", "2000", "--json"]);
    // 1 says that a page was slow, which on a loaded machine is no news; everything else is a failure.
    assert!(said.code == 0 || said.code == 1 && said.err.is_empty(), "{said:?}");
    let figures: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let report = &figures[0]["pages"];
    // What was asked for, forty batches of fifty, and the runs of twenty schedules.
    assert_eq!(report["jobs"], 2_000 + 40 * 50 + 20 * 20);
    let pages = report["pages"].as_array().unwrap();
    assert!(pages.len() >= 45, "{}", pages.len());
    for page in pages {
        assert!(page["p50_ms"].as_f64().unwrap() > 0.0 && page["bytes"].as_u64().unwrap() > 2, "{page}");
        assert!(page["p50_ms"].as_f64() <= page["p95_ms"].as_f64(), "{page}");
    }
    assert!(report["idle_mb"].as_u64().unwrap() > 0 && report["rate"].as_f64().unwrap() > 1.0, "{report}");
}

#[test]
fn the_servers_memory_is_told_idle_and_under_requests_that_were_all_answered() {
    let mut place = Place::new();
    place.env.push(("WORKDIR".into(), place.path().display().to_string()));
    assert_eq!(place.call(&["bench", "driver", "mainspring-sqlite", "setup"]).code, 0);
    let said = place.call(&["bench", "driver", "mainspring-sqlite", "server", "200", "2", "20"]);
    assert_eq!(said.code, 0, "{said:?}");
    let figure: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&figure["phase"], figure["n"].as_u64()), (&"server".into(), Some(40)));
    assert!(
        figure["p50_ms"].as_f64().unwrap() > 0.0 && figure["p50_ms"].as_f64() <= figure["p99_ms"].as_f64()
    );
    // The memory is that of another process, idle and after the requests.
    let note = figure["note"].as_str().unwrap();
    let number = |before: &str, after: &str| -> u64 {
        let end = note.find(after).unwrap_or_else(|| panic!("no {after:?} in {note}"));
        let text = &note[note[..end].rfind(before).expect("a number") + before.len()..end];
        text.parse().unwrap_or_else(|_| panic!("{text:?} in {note}"))
    };
    let (idle, busy) = (number("; ", " MiB idle"), number(", ", " MiB after 40 requests at 20 a second"));
    assert!(idle > 0 && busy > 0 && figure["rss_mb"].as_u64().unwrap() >= idle, "{figure}");
    let file = place.path().join("mainspring-sqlite.db").display().to_string();
    let counted = place.call(&["stats", "--json", "--store", &file]);
    assert!(counted.out.contains("\"total\": 200"), "{}", counted.out);
}

#[test]
fn a_day_in_small_keeps_memory_store_and_latency_where_they_were() {
    let mut place = Place::new();
    let scratch = tempfile::tempdir().unwrap();
    place.env.push(("TMPDIR".into(), scratch.path().display().to_string()));
    let said = place.call(&["bench", "--phase", "day", "--jobs", "20000", "--json"]);
    // 1 says that something grew; that it is told rightly is looked at below.
    assert!(matches!(said.code, 0 | 1) && said.err.is_empty(), "{said:?}");
    let figures: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let (figure, day) = (&figures[0], &figures[0]["day"]);
    assert_eq!(figure["n"], 20_000);
    let tenths = day["tenths"].as_array().unwrap();
    assert_eq!(tenths.len(), 10);
    assert_eq!(tenths[9]["jobs"], 20_000);
    // So few jobs fill the file's log only after the first tenth: here the third is what counts.
    for what in ["rss_mb", "size_mb"] {
        let (third, last) = (tenths[2][what].as_f64().unwrap(), tenths[9][what].as_f64().unwrap());
        assert!(last < third * 1.25, "{what} grew from {third} to {last}: {tenths:#?}");
    }
    assert!(["rss", "size", "p50"].iter().all(|what| day["ratios"][what].as_f64().unwrap() > 0.0), "{day}");
    assert!(
        tenths.iter().all(|t| t["p50_ms"].as_f64().unwrap() > 0.0 && t["size_mb"].as_f64().unwrap() > 0.1)
    );
    assert_eq!(day["flat"] == true, said.code == 0, "{day}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
