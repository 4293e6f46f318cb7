//! A delivery comes in: who sends it proves it by the signature alone.

use super::signature::Delivery;
use super::{COLUMNS, Row, payload, sealed_as, sealed_before};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use mainspring_core::code::Code;
use mainspring_core::tables::{Statement, TablesError, Write};
use mainspring_core::{Json, ProjectId};
use serde::Serialize;

/// What became of a delivery.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Taken {
    /// The job it became; null when it has been deleted since.
    pub(super) job: Option<i64>,
    /// True when it had come before: nothing was enqueued.
    pub(super) duplicate: bool,
}

/// Deliveries kept of one hook; older ones go, and with them the memory that they had come.
const KEPT: i64 = 5_000;

/// Checks a delivery and enqueues its job, both or neither.
pub(super) async fn receive(web: &Web, token: &str, headers: &HeaderMap, body: &Bytes) -> Result<Taken> {
    let found = Statement::built(format!("{COLUMNS} WHERE token = ?1")).bind(token);
    let hook = web.tables().read(found).await?.optional::<Row>()?;
    let hook = hook.ok_or_else(|| Problem::not_found("hook", "at this address"))?;
    let (project, now) = (ProjectId(hook.project), web.now());
    if crate::projects::kept(web, project).await?.archived_at.is_some() {
        let text = "the project of this hook is archived";
        return Err(Problem::new(StatusCode::CONFLICT, Code::CONFLICT, text));
    }
    let delivery = signed(web, &hook, headers, body).await?;
    let body_json = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned()).and_then(Json::parse);
    let body_json = body_json.map_err(|e| {
        let mut problem =
            Problem::new(StatusCode::BAD_REQUEST, Code::BAD_REQUEST, format!("the body is not JSON: {e}"));
        problem.field = Some("body".into());
        problem
    })?;
    let payload = payload(hook.template().as_ref(), &delivery.event, &delivery.id, &body_json)?;
    let client = web.client().clone().in_project(project).acting_as(&format!("hook/{}", hook.name));
    let mut job = client.new_job_of(&hook.kind, payload);
    job.queue = hook.queue.as_str().into();
    client.check_job(&job).map_err(|(field, text)| Problem::invalid(&field, text))?;
    let insert = Statement::new(
        "INSERT INTO hooks_deliveries (hook, delivery, event, bytes, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (hook, delivery) DO NOTHING",
    );
    let insert = insert
        .bind(hook.id)
        .bind(&delivery.id)
        .bind(&delivery.event)
        .bind(body.len() as i64)
        .bind(now)
        .expect_rows(1);
    let old = Statement::new(
        "DELETE FROM hooks_deliveries WHERE hook = ?1 AND id <= (
            SELECT max(id) FROM hooks_deliveries WHERE hook = ?1) - CAST(?2 AS INTEGER)",
    );
    let old = old.bind(hook.id).bind(KEPT);
    let write = Write::new().then(insert).then(old).enqueue(now, project, vec![job]);
    let written = match web.tables().write(write).await {
        Ok(written) => written,
        Err(TablesError::Unexpected { nth: 1, .. }) => return before(web, hook.id, &delivery.id).await,
        Err(e) => return Err(e.into()),
    };
    let job = written.jobs.first().map(|made| made.id.0);
    // Only for people: a crash before this leaves a delivery without the way to its job.
    let link = Statement::new("UPDATE hooks_deliveries SET job = ?3 WHERE hook = ?1 AND delivery = ?2");
    web.tables().write(link.bind(hook.id).bind(&delivery.id).bind(job).into()).await?;
    Ok(Taken { job, duplicate: false })
}

/// What the delivery says of itself, if it was signed with the hook's secret, or with the one before
/// while that holds.
async fn signed(web: &Web, hook: &Row, headers: &HeaderMap, body: &Bytes) -> Result<Delivery> {
    let (project, now) = (ProjectId(hook.project), web.now());
    let secret = web.vault().get(project, &sealed_as(hook.id)).await?;
    let check = |secret: &str| hook.signature.check(secret, headers, body, now.as_second());
    let why = match check(secret.expose()) {
        Ok(delivery) => return Ok(delivery),
        Err(why) => why,
    };
    if hook.before_until.as_ref().is_some_and(|until| until.0 > now) {
        let before = web.vault().get(project, &sealed_before(hook.id)).await?;
        if let Ok(delivery) = check(before.expose()) {
            return Ok(delivery);
        }
    }
    Err(Problem::new(StatusCode::FORBIDDEN, Code::UNSIGNED, why))
}

/// It had come before.
async fn before(web: &Web, hook: i64, delivery: &str) -> Result<Taken> {
    let found = Statement::new("SELECT job FROM hooks_deliveries WHERE hook = ?1 AND delivery = ?2");
    let found = web.tables().read(found.bind(hook).bind(delivery)).await?;
    let job = found.optional::<(Option<i64>,)>()?.and_then(|(job,)| job);
    Ok(Taken { job, duplicate: true })
}
