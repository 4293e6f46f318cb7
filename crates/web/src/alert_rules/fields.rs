//! The form of a rule: for each sort the few values it has, as they are typed, and back.
//!
//! What is typed becomes the rule's JSON and is read by the very type the API reads, so that form and
//! API refuse alike; here only what a browser cannot say by itself (a list of fields, the nearest
//! field of a mistake) is added.

use crate::problem::Problem;
use mainspring::alerts::RuleSpec;
use mainspring_core::alert::Target;
use mainspring_core::{duration, limits};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How a value is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Text; a name.
    Text,
    /// A number.
    Number,
    /// A length: `30m`.
    Length,
    /// Whom it looks at.
    Target,
}

/// A value of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub key: &'static str,
    /// What stands before it.
    pub label: &'static str,
    /// How it is typed.
    pub typed: Typed,
    /// What it is at first.
    pub first: &'static str,
    /// Whether it may be left out.
    pub optional: bool,
    /// What is good to know.
    pub hint: &'static str,
}

/// A sort of rule.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// Its word in JSON.
    pub when: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// Its values.
    pub fields: &'static [Field],
}

const fn field(
    key: &'static str,
    label: &'static str,
    typed: Typed,
    first: &'static str,
    hint: &'static str,
) -> Field {
    Field { key, label, typed, first, optional: false, hint }
}

const fn maybe(key: &'static str, label: &'static str, typed: Typed, hint: &'static str) -> Field {
    Field { key, label, typed, first: "", optional: true, hint }
}

const WHOM: &str =
    "schedules, kinds, queues, everything; or one of them: schedule/NAME, kind/NAME, queue/NAME";

const fn of(first: &'static str) -> Field {
    field("of", "Of whom", Typed::Target, first, WHOM)
}

/// All sorts.
pub const SORTS: &[Sort] = &[
    Sort {
        when: "failures",
        name: "Failures in a row",
        fields: &[
            of("schedules"),
            field(
                "in_a_row",
                "How many in a row",
                Typed::Number,
                "3",
                "counted by whole minutes, until a success",
            ),
        ],
    },
    Sort {
        when: "failure_rate",
        name: "Share of failures",
        fields: &[
            of("kinds"),
            field("above", "More than, per cent", Typed::Number, "5", ""),
            field("over", "Within", Typed::Length, "30m", "whole minutes"),
            field("at_least", "Of at least so many attempts", Typed::Number, "20", "fewer say nothing"),
        ],
    },
    Sort {
        when: "late",
        name: "A schedule did not start",
        fields: &[
            maybe("schedule", "Schedule", Typed::Text, "empty: each one"),
            field("by", "Later than", Typed::Length, "10m", ""),
        ],
    },
    Sort {
        when: "silent",
        name: "A heartbeat is silent",
        fields: &[maybe("heartbeat", "Heartbeat", Typed::Text, "empty: each one")],
    },
    Sort {
        when: "waiting",
        name: "Jobs wait too long",
        fields: &[
            maybe("queue", "Queue", Typed::Text, "empty: each one"),
            field("longer_than", "Longer than", Typed::Length, "15m", ""),
        ],
    },
    Sort {
        when: "backlog",
        name: "A queue fills",
        fields: &[
            maybe("queue", "Queue", Typed::Text, "empty: each one"),
            field("more_than", "More jobs than", Typed::Number, "1000", ""),
        ],
    },
    Sort {
        when: "slow",
        name: "Slower than a limit",
        fields: &[
            of("kinds"),
            field(
                "longer_than",
                "Longer than",
                Typed::Length,
                "5m",
                "at most a quarter off: durations are kept as a histogram",
            ),
        ],
    },
    Sort {
        when: "unusual",
        name: "Slower than usual",
        fields: &[
            of("kinds"),
            field("deviations", "Robust deviations above its median", Typed::Number, "3.5", ""),
            field("against", "Of the last", Typed::Length, "7d", "whole hours"),
            field("at_least", "With at least so many attempts", Typed::Number, "20", ""),
            field("ignore_below", "Never when shorter than", Typed::Length, "1s", ""),
        ],
    },
    Sort {
        when: "node_lost",
        name: "A node went silent",
        fields: &[maybe("node", "Node", Typed::Text, "empty: each one")],
    },
    Sort {
        when: "metric",
        name: "A metric is beyond a threshold",
        fields: &[
            field("series", "Metric", Typed::Text, "", "as its pack names it"),
            maybe("above", "Above", Typed::Number, ""),
            maybe("below", "Below", Typed::Number, ""),
            field("no_older_than", "Values older than this say nothing", Typed::Length, "1d", ""),
        ],
    },
];

/// What all sorts have.
pub const COMMON: &[Field] = &[
    field("breaches", "In so many", Typed::Number, "1", ""),
    field("of_looks", "Of the last so many looks", Typed::Number, "1", "at most 60"),
    field("every", "One look every", Typed::Length, "1m", "whole minutes"),
    field("cool_down", "Not again within", Typed::Length, "0s", "after it fired"),
];

/// The sort of this word; the first one when there is none.
pub fn sort(when: &str) -> &'static Sort {
    SORTS.iter().find(|s| s.when == when).unwrap_or(&SORTS[0])
}

/// What was typed, by name.
pub type Values = BTreeMap<String, String>;

/// Which field is wrong, and what to type instead.
pub type Wrong = (String, String);

/// A form as a rule fills it.
pub fn of_spec(spec: &RuleSpec) -> Values {
    let Ok(Value::Object(json)) = serde_json::to_value(spec) else { return Values::new() };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Number(n) => {
            n.as_f64().filter(|x| x.fract() == 0.0).map_or(n.to_string(), |x| format!("{x:.0}"))
        }
        other => other.to_string(),
    };
    json.iter().filter(|(_, v)| !v.is_array() && !v.is_null()).map(|(k, v)| (k.clone(), text(v))).collect()
}

/// A form that nobody filled in yet.
pub fn first(sort: &Sort) -> Values {
    let fields = sort.fields.iter().chain(COMMON);
    let mut values: Values = fields.map(|f| (f.key.to_owned(), f.first.to_owned())).collect();
    values.extend(
        [("severity", "warning"), ("recovery", "true"), ("note", "")].map(|(k, v)| (k.into(), v.into())),
    );
    values
}

fn value(field: &Field, text: &str) -> Result<Option<Value>, String> {
    if text.is_empty() {
        return match field.optional {
            true => Ok(None),
            false if field.first.is_empty() => Err("must be said".into()),
            false => Err(format!("must be said; for example {}", field.first)),
        };
    }
    Ok(Some(match field.typed {
        Typed::Text => json!(text),
        Typed::Target => {
            Target::parse(text)?;
            json!(text)
        }
        Typed::Length => {
            duration::parse(text)?;
            json!(text)
        }
        Typed::Number => {
            let shown = limits::cut(text, 60);
            let wrong = || {
                format!(
                    "{shown:?} is not a number; type for example {}",
                    if field.first.is_empty() { "10" } else { field.first }
                )
            };
            match text.parse::<u64>() {
                Ok(n) => json!(n),
                Err(_) => json!(text.parse::<f64>().ok().filter(|x| x.is_finite()).ok_or_else(wrong)?),
            }
        }
    }))
}

/// The rule that the fields make.
pub fn to_spec(values: &Values, channels: &[i64]) -> Result<RuleSpec, Vec<Wrong>> {
    let typed = |key: &str| values.get(key).map_or("", |text| text.trim());
    let sort = sort(typed("when"));
    let mut json = Map::from_iter([("when".to_owned(), json!(sort.when))]);
    let mut wrong: Vec<Wrong> = vec![];
    for field in sort.fields.iter().chain(COMMON) {
        match value(field, typed(field.key)) {
            Ok(Some(value)) => drop(json.insert(field.key.into(), value)),
            Ok(None) => {}
            Err(text) => wrong.push((field.key.into(), text)),
        }
    }
    json.insert("severity".into(), json!(typed("severity")));
    json.insert("together".into(), json!(typed("together") == "true"));
    json.insert("urgent".into(), json!(typed("urgent") == "true"));
    json.insert("recovery".into(), json!(typed("recovery") == "true"));
    json.insert("note".into(), json!(typed("note")));
    json.insert("channels".into(), json!(channels));
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let spec: RuleSpec =
        serde_json::from_value(Value::Object(json)).map_err(|e| vec![("rule".to_owned(), e.to_string())])?;
    spec.check().map_err(|(field, text)| vec![(field.to_owned(), text)])?;
    Ok(spec)
}

/// A refusal of the engine as a mistake of a field.
pub fn wrong_of(problem: Problem) -> Result<Wrong, Problem> {
    match problem.status {
        409 => Ok(("name".into(), problem.detail)),
        400..=499 => Ok((problem.field.clone().unwrap_or_else(|| "rule".into()), problem.detail)),
        _ => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_can_be_filled_in_saved_and_shown_again() {
        for sort in SORTS {
            let mut values = first(sort);
            values.insert("when".into(), sort.when.into());
            values.insert("series".into(), "leads".into());
            values.insert("above".into(), "5".into());
            let spec = to_spec(&values, &[]).unwrap_or_else(|e| panic!("{}: {e:?}", sort.when));
            assert_eq!(spec.rule.condition.word(), sort.when);
            let again = to_spec(&of_spec(&spec), &[]).unwrap_or_else(|e| panic!("{}: {e:?}", sort.when));
            assert_eq!(again, spec);
        }
    }

    #[test]
    fn mistakes_are_told_by_field() {
        let mut values = first(sort("failure_rate"));
        values.insert("when".into(), "failure_rate".into());
        for (key, text, want) in [
            ("over", "soon", "is not a duration"),
            ("above", "many", "\"many\" is not a number; type for example 5"),
            ("of", "them", "is nobody"),
            ("above", "101", "is not in 0 to 100"),
            ("over", "", "must be said; for example 30m"),
        ] {
            let values =
                Values::from_iter(values.clone().into_iter().chain([(key.to_owned(), text.to_owned())]));
            let wrong = to_spec(&values, &[]).unwrap_err();
            assert_eq!(wrong[0].0, key);
            assert!(wrong[0].1.contains(want), "{wrong:?}");
        }
    }
}
