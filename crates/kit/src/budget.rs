//! Budgets: how much a pack may spend in a day or a month, and a hard stop.
//!
//! The worst case is reserved before a call and settled after it, so that calls at the same time cannot
//! go over together. A reservation whose holder died counts as spent once its time is over: the money
//! may well be gone.

use crate::{Kit, KitError, Result, usage};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainspring_core::tables::{At, Statement, TablesError, Write};
use mainspring_core::time;
use serde::Deserialize;
use std::time::Duration;

/// How long a reservation may be held.
pub const HELD: Duration = Duration::from_secs(3600);

mainspring_core::words! {
    /// What is counted.
    Unit {
        /// Requests.
        Calls = "calls",
        /// Tokens of a language model.
        Tokens = "tokens",
        /// Millionths of a US dollar.
        Micros = "micros",
    }
}

mainspring_core::words! {
    /// When it begins anew, in UTC.
    Period {
        /// At midnight.
        Day = "day",
        /// On the first of the month.
        Month = "month",
    }
}

impl Period {
    /// The period of an instant: `2026-11-22`, `2026-11`.
    pub fn of(self, at: Timestamp) -> String {
        match self {
            Period::Day => usage::day(at),
            Period::Month => at.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string(),
        }
    }
}

/// A budget and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub unit: Unit,
    /// When it begins anew.
    pub period: Period,
    /// How much there is of it.
    pub most: i64,
    /// How much is spent in this period.
    #[serde(default)]
    pub spent: i64,
    /// How much is held for calls that have not ended.
    #[serde(default)]
    pub reserved: i64,
}

impl Budget {
    /// Whether four fifths are gone: time to warn.
    pub fn is_short(&self) -> bool {
        (self.spent + self.reserved).saturating_mul(5) >= self.most.saturating_mul(4)
    }

    /// What can still be reserved.
    pub fn left(&self) -> i64 {
        (self.most - self.spent - self.reserved).max(0)
    }
}

/// Something held for a call. Settle it, whatever became of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what is reserved and not settled counts as spent in an hour"]
pub struct Reservation {
    id: i64,
    name: String,
    period: String,
    amount: i64,
}

impl Kit {
    /// Sets a budget. What was spent stays spent.
    pub async fn set_budget(&self, name: &str, unit: Unit, period: Period, most: i64) -> Result<()> {
        if most < 0 {
            return Err(KitError::invalid("most", format!("{most} is less than nothing; 0 allows nothing")));
        }
        let statement = self.own(
            "INSERT INTO kit_budgets (project, pack, name, unit, period, most) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (project, pack, name) DO UPDATE SET
                 unit = excluded.unit, period = excluded.period, most = excluded.most",
        );
        let statement = statement.bind(name).bind(unit.as_str()).bind(period.as_str()).bind(most);
        self.write(statement).await.map(drop)
    }

    /// A budget as it stands; None: there is none, and nothing is limited.
    pub async fn budget(&self, name: &str) -> Result<Option<Budget>> {
        let statement = self.own(
            "SELECT name, unit, period, most FROM kit_budgets WHERE project = ?1 AND pack = ?2 AND name = ?3",
        );
        let Some(mut budget) = self.read(statement.bind(name)).await?.optional::<Budget>()? else {
            return Ok(None);
        };
        let statement = self.own(
            "SELECT spent, reserved FROM kit_spent WHERE project = ?1 AND pack = ?2 AND name = ?3 AND period = ?4",
        );
        let statement = statement.bind(name).bind(budget.period.of(self.now()));
        if let Some((spent, reserved)) = self.read(statement).await?.optional()? {
            (budget.spent, budget.reserved) = (spent, reserved);
        }
        Ok(Some(budget))
    }

    /// Holds `amount` of a budget for a call; None where there is no such budget.
    ///
    /// # Errors
    ///
    /// [`KitError::Exhausted`] when that much is not left: do without the call.
    pub async fn reserve(&self, name: &str, amount: i64) -> Result<Option<Reservation>> {
        if amount < 0 {
            return Err(KitError::invalid("amount", format!("{amount} is less than nothing")));
        }
        let Some(budget) = self.budget(name).await? else { return Ok(None) };
        let (now, period) = (self.now(), budget.period.of(self.now()));
        let line = self.own(
            "INSERT INTO kit_spent (project, pack, name, period, spent, reserved) VALUES (?1, ?2, ?3, ?4, 0, 0)
             ON CONFLICT (project, pack, name, period) DO UPDATE SET spent = kit_spent.spent",
        );
        // The condition stands in the statement that changes the row, so that two at once cannot both fit.
        let hold = self.own(
            "UPDATE kit_spent SET reserved = reserved + ?5 WHERE project = ?1 AND pack = ?2 AND name = ?3 AND period = ?4
                 AND spent + reserved + ?5 <= (SELECT b.most FROM kit_budgets b
                     WHERE b.project = ?1 AND b.pack = ?2 AND b.name = ?3)",
        );
        let note = self.own(
            "INSERT INTO kit_reserved (project, pack, name, period, amount, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             RETURNING id",
        );
        let write = Write::new()
            .then(line.bind(name).bind(period.as_str()))
            .then(hold.bind(name).bind(period.as_str()).bind(amount).expect_rows(1))
            .then(note.bind(name).bind(period.as_str()).bind(amount).bind(time::plus(now, HELD)));
        match self.write(write).await {
            Ok(mut written) => {
                let id = written.rows.swap_remove(2).one()?;
                Ok(Some(Reservation { id, name: name.into(), period, amount }))
            }
            Err(KitError::Tables(TablesError::Unexpected { .. })) => {
                let left = self.budget(name).await?.map_or(0, |b| b.left());
                Err(KitError::Exhausted {
                    name: name.into(),
                    unit: budget.unit,
                    period,
                    left,
                    wanted: amount,
                })
            }
            Err(e) => Err(e),
        }
    }

    /// Gives back what a call did not use; `used` may be more than was held, since it is spent anyway.
    pub async fn settle_reservation(&self, held: Reservation, used: i64) -> Result<()> {
        match self.write(self.settled(&held, used.max(0))).await {
            // It was counted as spent when its time was over.
            Err(KitError::Tables(TablesError::Unexpected { .. })) => Ok(()),
            other => other.map(drop),
        }
    }

    fn settled(&self, held: &Reservation, used: i64) -> Write {
        let gone = self.own("DELETE FROM kit_reserved WHERE project = ?1 AND pack = ?2 AND id = ?3");
        let spent = self.own(
            "UPDATE kit_spent SET reserved = reserved - ?5, spent = spent + ?6
             WHERE project = ?1 AND pack = ?2 AND name = ?3 AND period = ?4",
        );
        let spent = spent.bind(held.name.as_str()).bind(held.period.as_str()).bind(held.amount).bind(used);
        Write::new().then(gone.bind(held.id).expect_rows(1)).then(spent.expect_rows(1))
    }

    /// Counts reservations whose time is over as spent; how many. For a pack's upkeep.
    pub async fn expire_reservations(&self) -> Result<usize> {
        #[derive(Deserialize)]
        struct Row {
            id: i64,
            name: String,
            period: String,
            amount: i64,
        }
        let statement: Statement = self.own(
            "SELECT id, name, period, amount FROM kit_reserved
             WHERE project = ?1 AND pack = ?2 AND until <= ?3 ORDER BY until LIMIT 1000",
        );
        let rows: Vec<Row> = self.read(statement.bind(At(self.now()))).await?.into_typed()?;
        let n = rows.len();
        for Row { id, name, period, amount } in rows {
            self.settle_reservation(Reservation { id, name, period, amount }, amount).await?;
        }
        Ok(n)
    }
}
