//! GitHub's REST interface, read only: what has happened in repositories.
//!
//! Everything goes through the [`Door`]: its answers are kept and asked for conditionally (304 is free),
//! its limits close the way until they end. Lists are followed by `Link`, page after page up to
//! [`Settings::pages`]; a list that was longer says so ([`Read::truncated`]). A repository that was
//! renamed is followed, and told ([`Read::moved`]).
//!
//! Pull requests have no `since`: merged ones are read by their last change, newest first, up to the
//! first that is older than what is asked for. Issues drop the pull requests that GitHub lists among them.
//!
//! What is deliberately not here: writing, retries, webhooks (the server takes those), search.

mod error;
mod link;
mod types;

pub use error::{Error, Field, Problem};
pub use types::*;

use crate::Secret;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use mainspring_outbound::{Answer, Call, Door, Request, Target};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Where GitHub itself answers.
pub const BASE: &str = "https://api.github.com";
/// The version of the interface that is asked for.
const VERSION: &str = "2022-11-28";
/// Bytes of an answer that are read.
const KEEP: usize = 10 << 20;
/// How long a secondary limit that says nothing better closes the way, as GitHub asks.
const SECONDARY: Duration = Duration::from_secs(60);
/// Entries of a page.
const PER_PAGE: usize = 100;

/// The result of asking GitHub.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a [`GitHub`] is made of.
#[derive(Clone)]
pub struct Settings {
    /// Where it answers: [`BASE`], or `https://host/api/v3` of one's own.
    pub base: String,
    /// Whose token; 60 requests an hour without.
    pub token: Option<Secret>,
    /// A name for the token's owner: limits and kept answers belong to it.
    pub account: String,
    /// Pages read of a list at most.
    pub pages: usize,
}

impl Default for Settings {
    /// GitHub itself without a token, 50 pages of 100.
    fn default() -> Settings {
        Settings { base: BASE.into(), token: None, account: String::new(), pages: 50 }
    }
}

/// `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoName(String);

impl std::str::FromStr for RepoName {
    type Err = String;

    fn from_str(text: &str) -> Result<RepoName, String> {
        let fits = |part: &str| {
            let sign = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            (1..=100).contains(&part.len()) && part.bytes().all(sign) && part != "." && part != ".."
        };
        match text.split_once('/') {
            Some((owner, name)) if fits(owner) && fits(name) => Ok(RepoName(text.to_owned())),
            _ => Err(format!(
                "{text:?} is not a repository; write owner/name, for example octocat/hello-world"
            )),
        }
    }
}

impl std::fmt::Display for RepoName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// It.
    pub value: T,
    /// Nothing of it has changed since it was last asked for.
    pub unchanged: bool,
    /// The address that a redirect led to: the repository has another name by now.
    pub moved: Option<String>,
    /// There were more pages than are read.
    pub truncated: bool,
}

/// GitHub.
#[derive(Clone)]
pub struct GitHub {
    door: Door,
    base: Target,
    headers: HeaderMap,
    account: String,
    pages: usize,
}

impl GitHub {
    /// GitHub behind `door`. Fails when the base is no address or the token cannot stand in a header.
    pub fn new(door: Door, settings: Settings) -> Result<GitHub> {
        let base = Target::parse(settings.base.trim_end_matches('/'))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static(VERSION));
        if let Some(token) = &settings.token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let wrong = |_| Error::new(Problem::Auth, "the token of GitHub holds signs that no token has");
            let mut value = value.map_err(wrong)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(GitHub { door, base, headers, account: settings.account, pages: settings.pages.max(1) })
    }

    /// A repository.
    pub async fn repository(&self, repo: &RepoName) -> Result<Read<Repository>> {
        self.one(&self.url(repo, "", &[])?).await
    }

    /// Commits of the default branch in a window, newest first. A repository without any has none.
    pub async fn commits(
        &self,
        repo: &RepoName,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Read<Vec<Commit>>> {
        let window = [("since", since.map(second)), ("until", until.map(second))];
        let url = self.url(repo, "/commits", &window)?;
        match self.list(url, |_: &Commit| true).await {
            Err(error) if error.text.contains("answered 409 Git Repository is empty") => {
                Ok(Read { value: vec![], unchanged: false, moved: None, truncated: false })
            }
            other => other,
        }
    }

    /// A commit with its first 300 files; more are left out, and said.
    pub async fn commit(&self, repo: &RepoName, sha: &str) -> Result<Read<Commit>> {
        self.one(&self.url(repo, &format!("/commits/{}", encode(sha)), &[])?).await
    }

    /// Two commits, branches or tags beside each other: the first 250 commits; more are left out, and said.
    pub async fn compare(&self, repo: &RepoName, base: &str, head: &str) -> Result<Read<Comparison>> {
        let range = format!("/compare/{}...{}", encode(base), encode(head));
        self.one(&self.url(repo, &range, &[])?).await
    }

    /// Pull requests merged at or after `since`, the last changed first.
    pub async fn merged_since(&self, repo: &RepoName, since: Timestamp) -> Result<Read<Vec<Pull>>> {
        let order = [("state", "closed"), ("sort", "updated"), ("direction", "desc")];
        let url = self.url(repo, "/pulls", &order.map(|(n, v)| (n, Some(v.to_owned()))))?;
        let mut read = self.list(url, |pull: &Pull| pull.updated_at >= since).await?;
        read.value.retain(|pull| pull.merged_at.is_some_and(|at| at >= since));
        Ok(read)
    }

    /// The reviews of a pull request.
    pub async fn reviews(&self, repo: &RepoName, number: u64) -> Result<Read<Vec<Review>>> {
        self.list(self.url(repo, &format!("/pulls/{number}/reviews"), &[])?, |_| true).await
    }

    /// Issues, open and closed, changed at or after `since`, the last changed first; no pull requests.
    pub async fn issues(&self, repo: &RepoName, since: Option<Timestamp>) -> Result<Read<Vec<Issue>>> {
        let state = ("state", Some("all".to_owned()));
        let url = self.url(
            repo,
            "/issues",
            &[state, ("sort", Some("updated".into())), ("since", since.map(second))],
        )?;
        let mut read = self.list(url, |_: &Issue| true).await?;
        read.value.retain(|issue| issue.pull_request.is_none());
        Ok(read)
    }

    /// What happened to an issue, oldest first.
    pub async fn timeline(&self, repo: &RepoName, number: u64) -> Result<Read<Vec<Happening>>> {
        self.list(self.url(repo, &format!("/issues/{number}/timeline"), &[])?, |_| true).await
    }

    /// Deployments made at or after `since`, newest first.
    pub async fn deployments(&self, repo: &RepoName, since: Timestamp) -> Result<Read<Vec<Deployment>>> {
        let url = self.url(repo, "/deployments", &[])?;
        self.list(url, |deployment: &Deployment| deployment.created_at >= since).await
    }

    /// How a deployment went, newest first.
    pub async fn deployment_statuses(&self, repo: &RepoName, id: u64) -> Result<Read<Vec<DeploymentStatus>>> {
        self.list(self.url(repo, &format!("/deployments/{id}/statuses"), &[])?, |_| true).await
    }

    /// Runs of workflows made at or after `since`, newest first.
    pub async fn runs(&self, repo: &RepoName, since: Timestamp) -> Result<Read<Vec<Run>>> {
        let created = ("created", Some(format!(">={}", second(since))));
        self.list(self.url(repo, "/actions/runs", &[created])?, |_| true).await
    }

    /// Releases, newest first.
    pub async fn releases(&self, repo: &RepoName) -> Result<Read<Vec<Release>>> {
        self.list(self.url(repo, "/releases", &[])?, |_| true).await
    }

    /// What is left of the hour's requests. Asking is free.
    pub async fn rate_limit(&self) -> Result<Quota> {
        #[derive(Deserialize)]
        struct Limits {
            resources: Resources,
        }
        #[derive(Deserialize)]
        struct Resources {
            core: Quota,
        }
        let url = format!("{}/rate_limit", self.base.as_str().trim_end_matches('/'));
        Ok(self.one::<Limits>(&Target::parse(&url)?).await?.value.resources.core)
    }

    fn url(&self, repo: &RepoName, rest: &str, query: &[(&str, Option<String>)]) -> Result<Target> {
        let mut url = format!("{}/repos/{repo}{rest}", self.base.as_str().trim_end_matches('/'));
        let given = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        for (n, (name, value)) in given.enumerate() {
            url.push_str(&format!("{}{name}={}", if n == 0 { '?' } else { '&' }, encode(value)));
        }
        Ok(Target::parse(&url)?)
    }

    async fn get(&self, target: &Target) -> Result<Answer> {
        let mut request = Request::new(Method::GET, target.clone());
        (request.headers, request.keep, request.follow) = (self.headers.clone(), KEEP, 3);
        let call = Call { keep: true, account: self.account.clone(), ..Call::new("github", request) };
        let answer = self.door.call(call).await?;
        if answer.cut {
            let text = format!("the answer of {} is longer than {} MiB", target.shown(), KEEP >> 20);
            return Err(Error::new(Problem::Broken, text));
        }
        if answer.status.is_success() { Ok(answer) } else { Err(self.judge(target, &answer)) }
    }

    async fn one<T: DeserializeOwned>(&self, target: &Target) -> Result<Read<T>> {
        let answer = self.get(target).await?;
        let truncated = self.next(&answer)?.is_some();
        Ok(Read { value: parse(&answer)?, unchanged: answer.unchanged, moved: moved(&answer), truncated })
    }

    /// All pages, as long as entries are `wanted`; the first that is not ends it.
    async fn list<T: DeserializeOwned>(
        &self,
        first: Target,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Read<Vec<T>>> {
        let join = if first.as_str().contains('?') { '&' } else { '?' };
        let mut next = Some(Target::parse(&format!("{}{join}per_page={PER_PAGE}", first.as_str()))?);
        let mut read = Read { value: Vec::new(), unchanged: true, moved: None, truncated: false };
        for _ in 0..self.pages {
            let Some(target) = next.take() else { return Ok(read) };
            let answer = self.get(&target).await?;
            read.unchanged &= answer.unchanged;
            read.moved = read.moved.or_else(|| moved(&answer));
            for entry in parse::<Page<T>>(&answer)?.entries() {
                if !wanted(&entry) {
                    return Ok(read);
                }
                read.value.push(entry);
            }
            next = self.next(&answer)?;
        }
        read.truncated = next.is_some();
        Ok(read)
    }

    /// The next page; it must be on the same host, since the token goes there.
    fn next(&self, answer: &Answer) -> Result<Option<Target>> {
        let link = answer.headers.get(header::LINK).and_then(|v| v.to_str().ok());
        let Some(next) = link.and_then(|text| link::target(text, "next")) else { return Ok(None) };
        let target = answer.target.follow(next)?;
        if !target.same_site(&self.base) {
            let text = format!("the next page is on another host, {}, and is not read", target.host());
            return Err(Error::new(Problem::Broken, text));
        }
        Ok(Some(target))
    }

    fn judge(&self, target: &Target, answer: &Answer) -> Error {
        #[derive(Default, Deserialize)]
        struct Said {
            #[serde(default)]
            message: String,
            #[serde(default)]
            errors: Vec<serde_json::Value>,
        }
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message: String = said.message.chars().filter(|c| !c.is_control()).take(crate::SHOWN).collect();
        let text = format!("{} answered {} {message}", target.shown(), answer.status.as_u16());
        let small = message.to_lowercase();
        let problem = match answer.status.as_u16() {
            403 | 429 if small.contains("secondary rate limit") || small.contains("abuse detection") => {
                let until = self.door.now() + SECONDARY;
                self.door.close(target, &self.account, until);
                Problem::Until(until)
            }
            401 | 403 => Problem::Auth,
            404 | 410 | 451 => Problem::NotFound,
            400 | 422 => {
                let fields = said.errors.into_iter().filter_map(|e| serde_json::from_value(e).ok());
                Problem::Validation(fields.collect())
            }
            408 | 425 | 500.. => Problem::Server,
            _ => Problem::Broken,
        };
        Error::new(problem, text.trim_end())
    }
}

/// A page: a list, or a list with its count.
#[derive(Deserialize)]
#[serde(untagged)]
enum Page<T> {
    Plain(Vec<T>),
    Runs { workflow_runs: Vec<T> },
}

impl<T> Page<T> {
    fn entries(self) -> Vec<T> {
        match self {
            Page::Plain(list) | Page::Runs { workflow_runs: list } => list,
        }
    }
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T> {
    serde_json::from_slice(&answer.body).map_err(|e| {
        Error::new(
            Problem::Broken,
            format!("the answer of {} is not as described: {e}", answer.target.shown()),
        )
    })
}

fn moved(answer: &Answer) -> Option<String> {
    answer.hops.last().map(|(_, target)| target.shown())
}

fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// For a part of a path or a query.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
