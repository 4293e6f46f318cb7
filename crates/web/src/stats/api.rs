//! Statistics and health as JSON.

use super::{PointView, SilentChannel};
use crate::access::MayRead;
use crate::extract::{Json, Query};
use crate::listing;
use crate::problem::{Problem, Result};
use crate::state::Web;
use mainspring::stats::{Health, ScopeStats, Stats, Stuck};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(now)).routes(routes!(health)).routes(routes!(throughput))
}

/// Figures of the project, and by kind, queue and schedule: totals, rates, durations, health; what is
/// slow and what is stuck.
#[utoipa::path(get, path = "/projects/{project}/stats", tag = "statistics", operation_id = "show_stats",
    security(("key" = ["read"])), responses((status = 200, body = Object)))]
async fn now(caller: MayRead) -> Result<Json<Stats>> {
    Ok(Json(super::now(&caller).await?))
}

/// How one thing does.
#[derive(Serialize, utoipa::ToSchema)]
struct ScopeHealth {
    /// Its name.
    name: String,
    /// `state`, `reasons`, `rate`.
    #[schema(value_type = Object)]
    health: Health,
}

impl From<ScopeStats> for ScopeHealth {
    fn from(s: ScopeStats) -> ScopeHealth {
        ScopeHealth { name: s.name, health: s.health }
    }
}

/// How a project does.
#[derive(Serialize, utoipa::ToSchema)]
struct HealthView {
    /// The project as a whole: `state` (`unknown`, `healthy`, `degraded`, `unhealthy`), `reasons`, `rate`.
    #[schema(value_type = Object)]
    project: Health,
    /// By kind.
    kinds: Vec<ScopeHealth>,
    /// By queue.
    queues: Vec<ScopeHealth>,
    /// By schedule.
    schedules: Vec<ScopeHealth>,
    /// Channels that cannot deliver what people are to be told, each with the reason.
    silent_channels: Vec<SilentChannel>,
    /// Jobs that do not get on.
    #[schema(value_type = Vec<Object>)]
    stuck: Vec<Stuck>,
}

/// How the project does, and each kind, queue and schedule of it, with reasons.
#[utoipa::path(get, path = "/projects/{project}/health", tag = "statistics", operation_id = "show_health",
    security(("key" = ["read"])), responses((status = 200, body = HealthView)))]
async fn health(caller: MayRead) -> Result<Json<HealthView>> {
    let stats = super::now(&caller).await?;
    let silent_channels = super::silent_channels(&caller).await?;
    let all = |scopes: Vec<ScopeStats>| scopes.into_iter().map(ScopeHealth::from).collect();
    Ok(Json(HealthView {
        project: stats.project.health,
        kinds: all(stats.kinds),
        queues: all(stats.queues),
        schedules: all(stats.schedules),
        silent_channels,
        stuck: stats.stuck,
    }))
}

/// How finely, and how far back.
#[derive(Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ThroughputQuery {
    /// Minutes of each stretch, 1 to 1,440; 60 if absent. Older figures are kept by the hour.
    minutes: Option<String>,
    /// Stretches, 1 to 1,000; 24 if absent.
    points: Option<String>,
}

/// A series.
#[derive(Serialize, utoipa::ToSchema)]
struct Series {
    /// The oldest first, the present one last.
    items: Vec<PointView>,
}

/// Attempts that ended, by stretches of time.
#[utoipa::path(get, path = "/projects/{project}/throughput", tag = "statistics", operation_id = "show_throughput",
    security(("key" = ["read"])), responses((status = 200, body = Series)))]
async fn throughput(caller: MayRead, Query(query): Query<ThroughputQuery>) -> Result<Json<Series>> {
    let within = |field: &str, text: &Option<String>, usual: i64, most: i64| {
        let n = listing::read(field, text)?.unwrap_or(usual);
        match (1..=most).contains(&n) {
            true => Ok(n),
            false => Err(Problem::invalid(field, format!("{n} is not in 1 to {most}"))),
        }
    };
    let minutes = within("minutes", &query.minutes, 60, 1_440)?;
    let points = within("points", &query.points, 24, 1_000)?;
    Ok(Json(Series { items: super::throughput(&caller, minutes, points as usize).await? }))
}
