//! Projects by their names and their numbers: few enough to be read as one list.

use mainspring_core::error::Result;
use mainspring_core::ids::ProjectId;
use mainspring_core::store::Store;

/// The project of this name.
pub async fn named(store: &dyn Store, name: &str) -> Result<Option<ProjectId>> {
    Ok(store.projects().await?.into_iter().find(|(_, known)| known == name).map(|(id, _)| id))
}

/// The name of this project.
pub async fn name_of(store: &dyn Store, project: ProjectId) -> Result<Option<String>> {
    Ok(store.projects().await?.into_iter().find(|(id, _)| *id == project).map(|(_, name)| name))
}
