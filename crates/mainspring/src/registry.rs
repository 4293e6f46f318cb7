//! The explicit list of what a program can do: its kinds with their handlers and limits, its
//! schedules, its shared state. Nothing registers itself; what is not in this list does not exist,
//! and a node leaves jobs of other kinds alone.

use crate::context::Context;
use crate::job::{Job, JobError};
use crate::redact::Redactor;
use crate::secrets::{Keys, Secret, Source, refs};
use crate::trace::Tracer;
use async_trait::async_trait;
use mainspring_core::Json;
use mainspring_core::job::{DEFAULT_PRIORITY, DEFAULT_QUEUE, NewJob, check_name};
use mainspring_core::limits;
use mainspring_core::retry::RetryPolicy;
use mainspring_core::schedule::ScheduleSpec;
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How long an attempt may take when neither job nor kind says so. Nothing runs for ever.
pub const TIMEOUT: Duration = Duration::from_secs(3600);

/// Where a kind's handlers run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// On the shared runtime: code that awaits instead of blocking.
    #[default]
    Async,
    /// On a thread of its own for each attempt: code that computes long or blocks.
    Blocking,
}

/// What holds for all jobs of a kind unless the job says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct KindSpec {
    /// The lane its jobs go to.
    pub queue: Arc<str>,
    /// 0 (first) to 9 (last).
    pub priority: u8,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often it is tried, and with which waits.
    pub retry: RetryPolicy,
    /// Attempts that take longer are named as slow; a tenth of the time-out when None.
    pub slow: Option<Duration>,
    /// Where it runs.
    pub class: Class,
}

impl Default for KindSpec {
    fn default() -> Self {
        KindSpec {
            queue: DEFAULT_QUEUE.into(),
            priority: DEFAULT_PRIORITY,
            timeout: TIMEOUT,
            retry: RetryPolicy::default(),
            slow: None,
            class: Class::default(),
        }
    }
}

impl KindSpec {
    /// What the typed job says of itself.
    pub fn of<J: Job>() -> KindSpec {
        KindSpec {
            queue: J::QUEUE.into(),
            priority: J::PRIORITY,
            timeout: J::TIMEOUT.unwrap_or(TIMEOUT),
            retry: J::retry(),
            ..KindSpec::default()
        }
    }

    /// The same with another time-out.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with another retry policy.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The same in another queue.
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = queue.into();
        self
    }

    /// The same with another threshold for "slow".
    pub fn slow(mut self, slow: Duration) -> Self {
        self.slow = Some(slow);
        self
    }

    /// The same, each attempt on a thread of its own.
    pub fn blocking(mut self) -> Self {
        self.class = Class::Blocking;
        self
    }

    /// From when on an attempt counts as slow.
    pub fn slow_after(&self) -> Duration {
        self.slow.unwrap_or(self.timeout / 10)
    }
}

/// What runs jobs of a kind known by name only (`http`, `command`); typed jobs have one made for
/// them. The rules of [`Job::run`] hold.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Whether the payload can be used, asked when a job is enqueued or a schedule is written: what
    /// is wrong, as (field, text). A bad payload is refused at the door instead of failing at night.
    fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        let _ = payload;
        Ok(())
    }

    /// Does the work; the payload is in the context.
    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError>;
}

/// A handler with what holds for its kind.
#[derive(Clone)]
pub struct Entry {
    /// What runs it.
    pub handler: Arc<dyn Handler>,
    /// What holds for it.
    pub spec: KindSpec,
}

impl Entry {
    /// Whether the kind can use the payload: as [`Handler::check`], with a stand-in for each secret
    /// that it names.
    pub fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        let stood = refs::stand_in(payload)?;
        self.handler.check(stood.as_ref().unwrap_or(payload))
    }
}

/// Job kinds, schedules and state that ship together: `register` adds them to the list.
pub trait Pack {
    /// Its name: the prefix of its kinds and schedules.
    fn id(&self) -> &'static str;
    /// Adds what it brings.
    fn register(&self, registry: Registry) -> Registry;
}

/// The list. Mistakes in it (a kind twice, a bad name) are kept and told by [`Registry::check`],
/// which a node asks before it starts, so that the list itself reads without question marks.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<Arc<str>, Entry>,
    state: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    schedules: Vec<ScheduleSpec>,
    redactor: Redactor,
    keys: Option<Arc<Keys>>,
    tracer: Tracer,
    mistakes: Vec<String>,
}

/// What a registry without keys says: shared, so that asking costs nothing.
static NO_KEYS: LazyLock<Arc<Keys>> = LazyLock::new(|| {
    let why = "this program has no key for secrets; a store in a file has one beside it, elsewhere set \
               MAINSPRING_SECRETS_KEY, secrets.key_file or secrets.key_command";
    Keys::new(Source::Unset(why.into()))
});

impl Registry {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a typed job.
    pub fn job<J: Job>(self) -> Self {
        self.job_with::<J>(KindSpec::of::<J>())
    }

    /// Adds a typed job under other limits than its own.
    pub fn job_with<J: Job>(self, spec: KindSpec) -> Self {
        self.handler(J::KIND, spec, Typed::<J>(PhantomData))
    }

    /// Adds a handler by the name of its kind.
    pub fn handler(mut self, kind: &str, spec: KindSpec, handler: impl Handler) -> Self {
        if let Err(why) = check_name(kind) {
            self.mistakes.push(format!("kind {why}"));
        }
        if spec.timeout.is_zero() {
            self.mistakes.push(format!("kind {kind:?}: its time-out must be longer than zero"));
        }
        let entry = Entry { handler: Arc::new(handler), spec };
        if self.kinds.insert(kind.into(), entry).is_some() {
            self.mistakes.push(format!("kind {kind:?} is registered twice"));
        }
        self
    }

    /// Adds a kind whose handler is a function: the payload is in its context.
    pub fn function<F, R>(self, kind: &str, spec: KindSpec, run: F) -> Self
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<Json>, JobError>> + Send + 'static,
    {
        self.handler(kind, spec, Function(run))
    }

    /// Adds a value that handlers get by its type: see [`Context::state`].
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if self.state.insert(TypeId::of::<T>(), Arc::new(value)).is_some() {
            self.mistakes.push(format!("state {} is given twice", std::any::type_name::<T>()));
        }
        self
    }

    /// Adds values that must not be seen: in logs, errors and outputs of attempts something else
    /// stands in their place. See [`crate::redact`].
    pub fn secrets(mut self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        self.redactor.add(secrets);
        self
    }

    /// What keeps them out.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The keys that seal the secrets of projects: see [`crate::secrets`].
    pub fn keys(mut self, keys: Arc<Keys>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The keys; without any, whoever seals or opens is told what to set.
    pub fn secret_keys(&self) -> &Arc<Keys> {
        self.keys.as_ref().unwrap_or(&NO_KEYS)
    }

    /// Takes the spans of attempts; does nothing until it was begun. See [`crate::trace`].
    pub fn traced(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// What takes them.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Adds a schedule: every node that starts with this list writes it to the default project, which
    /// changes nothing when it is there already. Taking it from the list does not delete it.
    pub fn schedule(mut self, spec: ScheduleSpec) -> Self {
        if let Err((field, text)) = spec.check() {
            self.mistakes.push(format!("schedule {:?}: {field}: {text}", spec.name));
        }
        if self.schedules.iter().any(|s| s.name == spec.name) {
            self.mistakes.push(format!("schedule {:?} is given twice", spec.name));
        }
        self.schedules.push(spec);
        self
    }

    /// Adds what a pack brings.
    pub fn pack(self, pack: &impl Pack) -> Self {
        pack.register(self)
    }

    /// The mistakes made so far, if any, in one text.
    pub fn check(&self) -> Result<(), String> {
        if self.mistakes.is_empty() { Ok(()) } else { Err(self.mistakes.join("; ")) }
    }

    /// A kind's handler and limits.
    pub fn get(&self, kind: &str) -> Option<&Entry> {
        self.kinds.get(kind)
    }

    /// Every kind in order of its name.
    pub fn kinds(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.kinds.iter()
    }

    /// The schedules in the order in which they were added.
    pub fn schedules(&self) -> &[ScheduleSpec] {
        &self.schedules
    }

    /// The shared value of this type.
    pub fn get_state<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.state.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// A job of this kind with the kind's defaults, if it is known; the library's otherwise (another
    /// node may know it).
    pub fn new_job(&self, kind: &str, payload: Json) -> NewJob {
        let mut job = NewJob::new(kind, payload);
        if let Some(entry) = self.get(kind) {
            job.queue = entry.spec.queue.clone();
            job.priority = entry.spec.priority;
            job.retry = entry.spec.retry.clone();
        }
        job
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("kinds", &self.kinds.keys()).finish_non_exhaustive()
    }
}

/// A handler that is a function.
struct Function<F>(F);

#[async_trait]
impl<F, R> Handler for Function<F>
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Option<Json>, JobError>> + Send + 'static,
{
    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        (self.0)(cx).await
    }
}

/// The handler of a typed job.
struct Typed<J>(PhantomData<fn() -> J>);

#[async_trait]
impl<J: Job> Handler for Typed<J> {
    fn check(&self, payload: &Json) -> Result<(), (String, String)> {
        payload.to::<J>().map(drop).map_err(|e| ("payload".into(), e.to_string()))
    }

    async fn run(&self, cx: Context) -> Result<Option<Json>, JobError> {
        let job: J = cx.payload().to().map_err(|e| {
            JobError::fatal(format!("the payload does not fit kind {:?}: {e}", J::KIND)).class("bad_payload")
        })?;
        let output = job.run(cx).await?;
        let json = Json::of(&output).map_err(|e| {
            JobError::fatal(format!("the output cannot be written as JSON: {e}")).class("bad_output")
        })?;
        Ok((json.as_str() != "null").then_some(json))
    }
}

/// Refuses an output that is too large, as the limit says.
pub(crate) fn check_output(output: Option<Json>) -> Result<Option<Json>, JobError> {
    match output {
        Some(json) if json.as_str().len() > limits::OUTPUT => Err(JobError::fatal(format!(
            "the output has {} bytes, at most {} are allowed; store the data elsewhere and return a reference",
            json.as_str().len(),
            limits::OUTPUT
        ))
        .class("output_too_large")),
        fits => Ok(fits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Ping {
        n: u32,
    }
    impl Job for Ping {
        const KIND: &'static str = "ping";
        const QUEUE: &'static str = "net";
        type Output = ();
        async fn run(self, _: Context) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[test]
    fn the_list_tells_its_mistakes_when_asked() {
        assert_eq!(Registry::new().job::<Ping>().state(7u8).check(), Ok(()));
        let wrong = Registry::new().job::<Ping>().job::<Ping>().state(7u8).state(8u8);
        let text = wrong.check().unwrap_err();
        assert!(
            text.contains("\"ping\" is registered twice") && text.contains("u8 is given twice"),
            "{text}"
        );
        let spec = KindSpec::default().timeout(Duration::ZERO);
        assert!(Registry::new().job_with::<Ping>(spec).check().is_err());
    }

    #[test]
    fn a_kind_brings_its_defaults_and_checks_its_payload() {
        let registry = Registry::new().job::<Ping>().state(7u8);
        assert_eq!(&*registry.new_job("ping", Json::null()).queue, "net");
        assert_eq!(&*registry.new_job("other", Json::null()).queue, "default");
        let handler = &registry.get("ping").unwrap().handler;
        assert!(handler.check(&Json::trusted(r#"{"n":1}"#)).is_ok());
        let (field, text) = handler.check(&Json::trusted(r#"{"m":1}"#)).unwrap_err();
        assert!(field == "payload" && text.contains("missing field `n`"), "{text}");
        assert_eq!(registry.get_state::<u8>(), Some(&7));
        assert_eq!(registry.get_state::<u16>(), None);
    }

    #[test]
    fn an_output_beyond_the_limit_fails_for_good() {
        let big = Json::of(&"x".repeat(limits::OUTPUT)).unwrap();
        let Err(JobError::Fatal(error)) = check_output(Some(big)) else { panic!("expected fatal") };
        assert_eq!(error.class, "output_too_large");
        assert_eq!(check_output(None), Ok(None));
    }
}
