//! What may be said by whoever answers an HTTP job later: the end of a worker's protocol, proved by the
//! token of the request that invited to it and by nothing else.

use super::api::{FailBody, FinishBody, LogBody, ProgressBody, ProgressView, SettledView};
use super::no_call_back;
use crate::access::bearer_of;
use crate::extract::{Json, Path};
use crate::problem::{Problem, Result};
use crate::state::Web;
use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;
use mainspring::projects;
use mainspring::remote::attempts::Holder;
use mainspring_core::{JobId, ProjectId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(log))
        .routes(routes!(progress))
        .routes(routes!(finish))
        .routes(routes!(fail))
}

/// Whoever was invited to call back: proved by the token alone, which is checked with the attempt.
struct Invited {
    project: ProjectId,
    job: JobId,
    token: String,
}

impl Invited {
    fn holder(&self) -> Holder<'_> {
        Holder::CallBack { job: self.job, token: &self.token }
    }
}

impl FromRequestParts<Web> for Invited {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Invited> {
        let Path((name, job)) = Path::<(String, i64)>::from_request_parts(parts, web).await?;
        // Without a token that holds there is nothing here, whatever else is wrong.
        let token = bearer_of(parts).map(str::to_owned).ok_or_else(no_call_back)?;
        let project = projects::named(&**web.client().store(), &name).await?.ok_or_else(no_call_back)?;
        let invited = Invited { project, job: JobId(job), token };
        web.desk().invited(project, invited.job, &invited.token).await?;
        Ok(invited)
    }
}

/// Adds lines to the log of an attempt that waits for its call-back. The token of the request that
/// invited to it is sent as `Authorization: Bearer …`.
#[utoipa::path(post, path = "/projects/{project}/callbacks/{job}/log", tag = "callbacks", operation_id = "log_call_back",
    responses((status = 204, description = "written")))]
async fn log(State(web): State<Web>, invited: Invited, Json(body): Json<LogBody>) -> Result<StatusCode> {
    web.desk().log(invited.project, invited.holder(), body.lines()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells how far an attempt is that waits for its call-back.
#[utoipa::path(post, path = "/projects/{project}/callbacks/{job}/progress", tag = "callbacks", operation_id = "progress_call_back",
    responses((status = 200, body = ProgressView)))]
async fn progress(
    State(web): State<Web>,
    invited: Invited,
    Json(body): Json<ProgressBody>,
) -> Result<Json<ProgressView>> {
    let desk = web.desk();
    let cancel = desk.progress(invited.project, invited.holder(), body.done, body.total, body.note).await?;
    Ok(Json(ProgressView { cancel }))
}

/// The end of an HTTP job that was answered 202.
#[utoipa::path(post, path = "/projects/{project}/callbacks/{job}/finish", tag = "callbacks", operation_id = "finish_call_back",
    responses((status = 200, body = SettledView)))]
async fn finish(
    State(web): State<Web>,
    invited: Invited,
    Json(body): Json<FinishBody>,
) -> Result<Json<SettledView>> {
    Ok(Json(web.desk().finish(invited.project, invited.holder(), body.ending()?).await?.into()))
}

/// The failure of an HTTP job that was answered 202.
#[utoipa::path(post, path = "/projects/{project}/callbacks/{job}/fail", tag = "callbacks", operation_id = "fail_call_back",
    responses((status = 200, body = SettledView)))]
async fn fail(
    State(web): State<Web>,
    invited: Invited,
    Json(body): Json<FailBody>,
) -> Result<Json<SettledView>> {
    Ok(Json(web.desk().finish(invited.project, invited.holder(), body.ending()).await?.into()))
}
