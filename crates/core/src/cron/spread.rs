//! `H`: a value picked by a schedule's name, so that a thousand daily schedules do not share one
//! minute, and each keeps its own for ever (the idea is Jenkins').
//!
//! `H` is any value of the field, `H(a-b)` one of a range, `H/n` every n from a picked first value,
//! `H(a-b)/n` the same within a range. In the day-of-month field `H` picks from 1 to 28, so that it
//! fires every month. The text is resolved to plain cron first; the parser then sees no `H`.

use super::field::{CronError, Field};

/// Whether the text uses `H` (rather than a name such as THU).
pub fn has_spread(text: &str) -> bool {
    text.split([' ', '\t', ',']).any(is_spread)
}

fn is_spread(item: &str) -> bool {
    let upper = item.to_ascii_uppercase();
    upper == "H" || upper.starts_with("H/") || upper.starts_with("H(")
}

/// The text with every `H` replaced by what `name` picks. The same name and text give the same
/// result on every machine and in every release.
pub fn resolve_spread(text: &str, name: &str) -> Result<String, CronError> {
    if text.len() > super::parse::MAX_BYTES || !has_spread(text) {
        return Ok(text.to_owned());
    }
    let count = text.split([' ', '\t']).filter(|piece| !piece.is_empty()).count();
    let fields = if count == 5 { &Field::ALL[1..] } else { &Field::ALL[..] };
    let mut fields = fields.iter();
    let mut out = Vec::new();
    let mut at = 0;
    for piece in text.split([' ', '\t']) {
        if !piece.is_empty() {
            let Some(field) = fields.next() else { return Ok(text.to_owned()) };
            let mut items = Vec::new();
            let mut item_at = at;
            for item in piece.split(',') {
                let resolved =
                    if is_spread(item) { resolve(*field, item, item_at, name)? } else { item.into() };
                items.push(resolved);
                item_at += item.len() + 1;
            }
            out.push(items.join(","));
        }
        at += piece.len() + 1;
    }
    Ok(out.join(" "))
}

fn resolve(field: Field, item: &str, at: usize, name: &str) -> Result<String, CronError> {
    let refuse = |problem: String| CronError {
        field: Some(field),
        at,
        problem,
        hint: Some("write H, H/15, H(0-29) or H(0-29)/10 with numbers of the field".into()),
    };
    let (min, max) = match field {
        Field::DayOfMonth => (1, 28),
        Field::DayOfWeek => (0, 6),
        other => other.bounds(),
    };
    let rest = &item[1..];
    let (range, step) = match rest.split_once('/') {
        Some((range, step)) => {
            let step = step.parse::<u32>().ok().filter(|step| (1..=max - min + 1).contains(step));
            (
                range,
                Some(step.ok_or_else(|| refuse(format!("{item} has no step of 1 to {}", max - min + 1)))?),
            )
        }
        None => (rest, None),
    };
    let (low, high) = if range.is_empty() {
        (min, max)
    } else {
        range
            .strip_prefix('(')
            .and_then(|r| r.strip_suffix(')'))
            .and_then(|r| r.split_once('-'))
            .and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)))
            .filter(|(a, b)| field.bounds().0 <= *a && a <= b && *b <= field.bounds().1)
            .ok_or_else(|| refuse(format!("{item} has no range in the field")))?
    };
    // The field's number is part of the key: minute and hour are picked apart.
    let pick = stable_hash(&[name.as_bytes(), &[field as u8]]);
    Ok(match step {
        None => (low + (pick % u64::from(high - low + 1)) as u32).to_string(),
        Some(step) => {
            let first = low + (pick % u64::from(step.min(high - low + 1))) as u32;
            format!("{first}-{high}/{step}")
        }
    })
}

/// FNV-1a of the parts (each closed by a byte that no text holds), mixed once more so that short
/// names spread well. Written out here because it must never change: schedules keep their minute.
pub(crate) fn stable_hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.iter().copied().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::CronExpr;

    #[test]
    fn a_name_keeps_its_minute_and_names_spread() {
        assert_eq!(
            resolve_spread("H H * * *", "nightly").unwrap(),
            resolve_spread("H H * * *", "nightly").unwrap()
        );
        let minutes: std::collections::BTreeSet<_> =
            (0..600).map(|i| resolve_spread("H 2 * * *", &format!("job-{i}")).unwrap()).collect();
        assert_eq!(minutes.len(), 60);
        // A change here moves the runs of everybody's schedules: it must not happen.
        assert_eq!(resolve_spread("H H H H H", "nightly").unwrap(), PINNED);
    }

    const PINNED: &str = "18 16 19 10 6";

    #[test]
    fn every_form_resolves_to_cron_within_its_bounds() {
        for i in 0..200 {
            let name = format!("n{i}");
            for text in [
                "H * * * *",
                "H/15 * * * *",
                "H(0-29) H(1-3) * * *",
                "H(10-40)/7 * * * mon",
                "H H H * *",
                "H H * H H",
                "0 H H * * *",
                "1,H * * * thu",
                "H H(7-7) * * *",
            ] {
                let resolved = resolve_spread(text, &name).unwrap();
                assert!(!has_spread(&resolved));
                CronExpr::parse(&resolved).unwrap_or_else(|e| panic!("{text} -> {resolved}: {e}"));
            }
            let minute: u32 =
                resolve_spread("H(0-29) 2 * * *", &name).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert!(minute < 30);
        }
        assert_eq!(resolve_spread("0 0 * MAR THU", "x").unwrap(), "0 0 * MAR THU");
    }

    #[test]
    fn broken_forms_are_refused_with_their_place() {
        for text in [
            "0 H(5-99) * * *",
            "0 H/0 * * *",
            "0 H(9-3) * * *",
            "0 H(3) * * *",
            "0 H(1-3 * * *",
            "0 H/x * * *",
        ] {
            let error = resolve_spread(text, "x").unwrap_err().to_string();
            assert!(
                error.starts_with("hour field, position 3: H") && error.contains("write H,"),
                "{text}: {error}"
            );
        }
        assert_eq!(
            CronExpr::parse("H * * * *").unwrap_err().to_string(),
            "minute field, position 1: H stands for a value picked by a schedule's name; use it in a schedule's \
             trigger; here write the value itself"
        );
    }
}
