//! Every committed vector through the machine-readable form: cases on which independent
//! implementations agree.

use mainspring_core::cron::answer_line;
use serde_json::Value;

#[test]
fn every_vector_gives_the_expected_instants() {
    let text = include_str!("data/cron_vectors.jsonl");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let case: Value = serde_json::from_str(line).expect("a vector is JSON");
        let question = serde_json::json!({
            "id": case["id"], "expr": case["expr"], "tz": case["tz"], "from": case["from"], "n": case["n"],
        });
        let answer: Value = serde_json::from_str(&answer_line(&question.to_string())).expect("JSON");
        count += 1;
        if answer["id"] != case["id"] || answer["times"] != case["expected"] {
            wrong.push(format!("{line}\n  got {answer}"));
        }
    }
    assert!(count >= 290, "{count} vectors");
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
