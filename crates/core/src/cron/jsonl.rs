//! The machine-readable form of `next`: one JSON object per line in, one per line out, in order.
//!
//! In: `{"id":…,"expr":"…","tz":"…","from":"2026-03-08T06:00:00Z","n":5}`; `id` may be any JSON
//! value and comes back as it is, `tz` is UTC and `n` 1 when absent, `clock_change` names a policy
//! other than `vixie`; other members are ignored. Out: `{"id":…,"times":[…],
//! "notes":[…]}` with one note (or null) for each time, `warnings` when there are any, or
//! `{"id":…,"error":"…"}`. An expression that never fires gives no times.
//!
//! Reading lines and writing them is the caller's.

use super::{ClockChange, CronExpr};
use crate::zone::Zone;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// The largest `n`.
const MOST: u64 = 1_000;
/// The longest line that is read, in bytes.
const LINE: usize = 64 << 10;

#[derive(Deserialize)]
struct Question {
    expr: String,
    tz: Option<String>,
    from: String,
    n: Option<u64>,
    clock_change: Option<ClockChange>,
}

/// Answers one line; the answer has no line end. Never fails: what is wrong is told in `error`.
pub fn answer_line(line: &str) -> String {
    let (id, result) = if line.len() > LINE {
        (Value::Null, Err(format!("the line has {} bytes, at most {LINE} are read", line.len())))
    } else {
        match serde_json::from_str::<Value>(line) {
            Ok(tree) => {
                let id = tree.get("id").cloned().unwrap_or(Value::Null);
                (
                    id,
                    serde_json::from_value::<Question>(tree)
                        .map_err(|e| e.to_string())
                        .and_then(|q| answer(&q)),
                )
            }
            Err(e) => (Value::Null, Err(format!("not a JSON object: {e}"))),
        }
    };
    // Put together by hand: `id` comes first, and a tree would sort the keys.
    let rest = result.unwrap_or_else(|error| format!("\"error\":{}", Value::from(error)));
    format!("{{\"id\":{id},{rest}}}")
}

/// The members of the answer after `id`.
fn answer(question: &Question) -> Result<String, String> {
    let expr = CronExpr::parse(&question.expr).map_err(|e| e.to_string())?;
    let zone = Zone::get(question.tz.as_deref().unwrap_or("UTC")).map_err(|e| e.to_string())?;
    let from: Timestamp = question
        .from
        .parse()
        .map_err(|_| format!("from: {:?} is not a time; write 2026-03-08T06:00:00Z", question.from))?;
    let n = question.n.unwrap_or(1);
    if n > MOST {
        return Err(format!("n: {n} is too many; ask for at most {MOST}"));
    }
    let policy = question.clock_change.unwrap_or_default();
    let (mut times, mut notes) = (Vec::new(), Vec::new());
    for fire in expr.iter(&zone, from, policy).take(n as usize) {
        times.push(fire.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        notes.push(fire.note.map(|note| note.mark()));
    }
    let mut out = format!("\"times\":{},\"notes\":{}", json!(times), json!(notes));
    let warnings = expr.warnings();
    if !warnings.is_empty() {
        out.push_str(&format!(",\"warnings\":{}", json!(warnings)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::answer_line;

    #[test]
    fn a_question_is_answered_with_times_and_notes() {
        assert_eq!(
            answer_line(
                r#"{"id":"a","expr":"30 2 * * *","tz":"America/New_York","from":"2026-03-07T12:00:00Z","n":2}"#
            ),
            r#"{"id":"a","times":["2026-03-08T07:00:00Z","2026-03-09T06:30:00Z"],"notes":["moved: clock change",null]}"#
        );
        assert_eq!(
            answer_line(r#"{"id":7,"expr":"0 0 30 2 *","tz":"UTC","from":"2026-03-07T12:00:00Z","n":9}"#),
            r#"{"id":7,"times":[],"notes":[]}"#
        );
    }

    #[test]
    fn what_is_wrong_is_told_beside_the_id() {
        for (line, id, text) in [
            (
                r#"{"id":"b","expr":"5/15 * * * *","tz":"UTC","from":"2026-01-01T00:00:00Z","n":1}"#,
                "\"b\"",
                "write 5-59/15",
            ),
            (
                r#"{"id":3,"expr":"* * * * *","tz":"Mars","from":"2026-01-01T00:00:00Z","n":1}"#,
                "3",
                "not a time zone",
            ),
            (
                r#"{"id":3,"expr":"* * * * *","tz":"UTC","from":"yesterday","n":1}"#,
                "3",
                "2026-03-08T06:00:00Z",
            ),
            (
                r#"{"id":3,"expr":"* * * * *","tz":"UTC","from":"2026-01-01T00:00:00Z","n":1001}"#,
                "3",
                "at most 1000",
            ),
            (
                r#"{"id":3,"expr":"* * * * *","tz":"UTC","from":"2026-01-01T00:00:00Z","n":-1}"#,
                "3",
                "invalid value",
            ),
            (r#"{"id":3,"exp":"* * * * *"}"#, "3", "missing field `expr`"),
            ("nonsense", "null", "not a JSON object"),
            ("", "null", "not a JSON object"),
            ("[1,2]", "null", ""),
        ] {
            let answer = answer_line(line);
            assert!(answer.starts_with(&format!("{{\"id\":{id},\"error\":\"")), "{line}: {answer}");
            assert!(answer.contains(text) && !answer.contains('\n'), "{line}: {answer}");
        }
    }
}
