//! Projects as JSON.

use super::ProjectView;
use crate::access::{Anyone, MayManage, MayRead, Person, Whence};
use crate::extract::Json;
use crate::problem::Result;
use crate::state::Web;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Their routes, described.
pub fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, make))
        .routes(routes!(one, rename))
        .routes(routes!(archive))
        .routes(routes!(restore))
        .routes(routes!(leave))
}

/// Projects.
#[derive(Serialize, utoipa::ToSchema)]
struct Projects {
    /// In the order in which they were made.
    items: Vec<ProjectView>,
}

/// The projects that the caller belongs to; of a key, the one it is bound to.
#[utoipa::path(get, path = "/projects", tag = "projects", operation_id = "list_projects",
    security(("key" = [])), responses((status = 200, body = Projects)))]
async fn list(State(web): State<Web>, who: Anyone) -> Result<Json<Projects>> {
    Ok(Json(Projects { items: super::list(&web, &who).await? }))
}

/// A project to be.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewProject {
    /// Its name, as in addresses: it stays for ever.
    name: String,
    /// What people call it, if not by its name.
    #[serde(default)]
    title: Option<String>,
}

/// Makes a project, of which the caller becomes the owner. Takes an admin of the installation who is
/// signed in; keys are bound to one project.
#[utoipa::path(post, path = "/projects", tag = "projects", operation_id = "make_project",
    security(("session" = [])), responses((status = 201, body = ProjectView)))]
async fn make(
    State(web): State<Web>,
    Person { session }: Person,
    Whence(from): Whence,
    Json(new): Json<NewProject>,
) -> Result<(StatusCode, Json<ProjectView>)> {
    super::make_by(&web, &session, &from, &new.name, new.title.as_deref()).await?;
    let all = super::list(&web, &Anyone::Person(session)).await?;
    let made = all.into_iter().find(|p| p.name == new.name);
    let made = made.ok_or_else(|| crate::Problem::not_found("project", &new.name))?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One project, with what the caller may do in it.
#[utoipa::path(get, path = "/projects/{project}", tag = "projects", operation_id = "show_project",
    security(("key" = ["read"])), responses((status = 200, body = ProjectView)))]
async fn one(State(web): State<Web>, caller: MayRead) -> Result<Json<ProjectView>> {
    Ok(Json(super::one(&web, &caller).await?))
}

/// What may be changed of a project.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ProjectBody {
    /// What people call it; null: by its name.
    #[serde(default)]
    title: Option<String>,
}

/// Gives a project another title. Its name, which stands in addresses and configurations, stays.
#[utoipa::path(put, path = "/projects/{project}", tag = "projects", operation_id = "rename_project",
    security(("key" = ["manage"])), responses((status = 200, body = ProjectView)))]
async fn rename(
    State(web): State<Web>,
    caller: MayManage,
    Json(body): Json<ProjectBody>,
) -> Result<Json<ProjectView>> {
    super::rename(&web, caller.client(), &caller.project, body.title.as_deref()).await?;
    Ok(Json(super::one(&web, &caller).await?))
}

/// Archives a project: its queues and schedules are paused, nothing of it can be changed, everything
/// can still be read.
#[utoipa::path(post, path = "/projects/{project}/archive", tag = "projects", operation_id = "archive_project",
    security(("key" = ["manage"])), responses((status = 200, body = ProjectView)))]
async fn archive(State(web): State<Web>, caller: MayManage) -> Result<Json<ProjectView>> {
    super::archive(&web, caller.client(), &caller.project).await?;
    Ok(Json(super::one(&web, &caller).await?))
}

/// Takes a project out of the archive: what archiving paused goes on.
#[utoipa::path(post, path = "/projects/{project}/restore", tag = "projects", operation_id = "restore_project",
    security(("key" = ["manage"])), responses((status = 200, body = ProjectView)))]
async fn restore(State(web): State<Web>, caller: MayManage) -> Result<Json<ProjectView>> {
    super::restore(&web, caller.client(), &caller.project).await?;
    Ok(Json(super::one(&web, &caller).await?))
}

/// Leaves a project: the caller does not belong to it any more. The last owner stays.
#[utoipa::path(post, path = "/projects/{project}/leave", tag = "projects", operation_id = "leave_project",
    security(("session" = [])), responses((status = 204, description = "left")))]
async fn leave(State(web): State<Web>, caller: MayRead) -> Result<StatusCode> {
    super::leave(&web, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}
