//! What GitHub answers, as far as it is used. What may be missing or null is an `Option`; what is not
//! named here is skipped.

use jiff::Timestamp;
use serde::Deserialize;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Its name.
    pub login: String,
    /// Its number, which survives renaming.
    #[serde(default)]
    pub id: u64,
}

/// A repository.
#[derive(Clone, Debug, Deserialize)]
pub struct Repository {
    /// Its number, which survives renaming.
    pub id: u64,
    /// Owner and name as they are now.
    pub full_name: String,
    /// A line about it.
    pub description: Option<String>,
    /// Its page.
    pub html_url: String,
    /// The branch it begins with; old answers may lack it.
    pub default_branch: Option<String>,
    /// When somebody pushed last.
    pub pushed_at: Option<Timestamp>,
    /// Whether it is read-only.
    #[serde(default)]
    pub archived: bool,
    /// Whether it is not public.
    #[serde(default)]
    pub private: bool,
}

/// Who wrote a commit, and when, as Git has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Signature {
    /// The name.
    pub name: Option<String>,
    /// The address of mail.
    pub email: Option<String>,
    /// The moment.
    pub date: Option<Timestamp>,
}

/// What Git knows of a commit.
#[derive(Clone, Debug, Deserialize)]
pub struct GitCommit {
    /// The whole message.
    pub message: String,
    /// Who wrote it.
    pub author: Option<Signature>,
    /// Who put it where it is.
    pub committer: Option<Signature>,
}

/// A commit; files and counts only where one commit was asked for.
#[derive(Clone, Debug, Deserialize)]
pub struct Commit {
    /// Its name.
    pub sha: String,
    /// What Git knows.
    pub commit: GitCommit,
    /// The account of who wrote it, where GitHub knows one.
    #[serde(default, deserialize_with = "user")]
    pub author: Option<User>,
    /// Those before it.
    #[serde(default)]
    pub parents: Vec<Parent>,
    /// Lines added and removed.
    pub stats: Option<Stats>,
    /// The files it touches.
    #[serde(default)]
    pub files: Vec<File>,
}

/// Deleted accounts come as null or as an empty object.
fn user<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<User>, D::Error> {
    #[derive(Deserialize)]
    struct Maybe {
        login: Option<String>,
        #[serde(default)]
        id: u64,
    }
    let found = Option::<Maybe>::deserialize(from)?;
    Ok(found.and_then(|m| Some(User { login: m.login?, id: m.id })))
}

/// A commit before another.
#[derive(Clone, Debug, Deserialize)]
pub struct Parent {
    /// Its name.
    pub sha: String,
}

/// Lines added and removed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Stats {
    /// Added.
    pub additions: u64,
    /// Removed.
    pub deletions: u64,
}

/// A file of a change.
#[derive(Clone, Debug, Deserialize)]
pub struct File {
    /// Its path.
    pub filename: String,
    /// `added`, `removed`, `modified`, `renamed`, …
    #[serde(default)]
    pub status: String,
    /// Lines added.
    #[serde(default)]
    pub additions: u64,
    /// Lines removed.
    #[serde(default)]
    pub deletions: u64,
}

/// Two commits beside each other.
#[derive(Clone, Debug, Deserialize)]
pub struct Comparison {
    /// `ahead`, `behind`, `diverged` or `identical`.
    pub status: String,
    /// Commits that the head has more.
    pub ahead_by: u64,
    /// Commits that it lacks.
    pub behind_by: u64,
    /// All the commits between, however many came.
    #[serde(default)]
    pub total_commits: u64,
    /// The commits.
    #[serde(default)]
    pub commits: Vec<Commit>,
    /// The files that differ, at most 300.
    #[serde(default)]
    pub files: Vec<File>,
}

/// A pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// What was written under it.
    pub body: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// Its page.
    pub html_url: String,
    /// Who opened it.
    #[serde(default, deserialize_with = "user")]
    pub user: Option<User>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When anything about it changed.
    pub updated_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// When it was merged.
    pub merged_at: Option<Timestamp>,
    /// The commit that it became.
    pub merge_commit_sha: Option<String>,
}

/// A review of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct Review {
    /// Its number.
    pub id: u64,
    /// Who gave it.
    #[serde(default, deserialize_with = "user")]
    pub user: Option<User>,
    /// `APPROVED`, `CHANGES_REQUESTED`, `COMMENTED`, `DISMISSED`, `PENDING`.
    pub state: String,
    /// When it was given.
    pub submitted_at: Option<Timestamp>,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Label {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// An issue.
#[derive(Clone, Debug, Deserialize)]
pub struct Issue {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// What was written under it.
    pub body: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// Its page.
    pub html_url: String,
    /// Who opened it.
    #[serde(default, deserialize_with = "user")]
    pub user: Option<User>,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When anything about it changed.
    pub updated_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Present when it is a pull request, which GitHub lists among issues.
    #[serde(default)]
    pub(super) pull_request: Option<serde::de::IgnoredAny>,
}

/// Something that happened to an issue.
#[derive(Clone, Debug, Deserialize)]
pub struct Happening {
    /// `labeled`, `closed`, `cross-referenced`, `commented`, …
    #[serde(default)]
    pub event: String,
    /// Who did it.
    #[serde(default, deserialize_with = "user")]
    pub actor: Option<User>,
    /// When; reviews and commits have their time elsewhere.
    pub created_at: Option<Timestamp>,
    /// The label of `labeled` and `unlabeled`.
    pub label: Option<Label>,
    /// The commit that closed it.
    pub commit_id: Option<String>,
}

/// Something put somewhere.
#[derive(Clone, Debug, Deserialize)]
pub struct Deployment {
    /// Its number.
    pub id: u64,
    /// The commit.
    pub sha: String,
    /// Where to: `production`.
    pub environment: String,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// How a deployment went.
#[derive(Clone, Debug, Deserialize)]
pub struct DeploymentStatus {
    /// `success`, `failure`, `error`, `in_progress`, …
    pub state: String,
    /// When.
    pub created_at: Timestamp,
}

/// A run of a workflow.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// The workflow's name.
    pub name: Option<String>,
    /// The branch.
    pub head_branch: Option<String>,
    /// The commit.
    pub head_sha: String,
    /// What started it: `push`, `schedule`, …
    pub event: String,
    /// `completed`, `in_progress`, …
    pub status: Option<String>,
    /// `success`, `failure`, … once it is completed.
    pub conclusion: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When anything about it changed.
    pub updated_at: Timestamp,
}

/// A release.
#[derive(Clone, Debug, Deserialize)]
pub struct Release {
    /// Its number.
    pub id: u64,
    /// Its tag.
    pub tag_name: String,
    /// Its title.
    pub name: Option<String>,
    /// What was written about it.
    pub body: Option<String>,
    /// Whether it is not published.
    #[serde(default)]
    pub draft: bool,
    /// Whether it is a trial.
    #[serde(default)]
    pub prerelease: bool,
    /// When it was published.
    pub published_at: Option<Timestamp>,
}

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Quota {
    /// Requests in an hour.
    pub limit: u64,
    /// Requests left.
    pub remaining: u64,
    /// When all are there again, in seconds of the epoch.
    pub reset: i64,
}
