//! The examples are programs that run.

#[path = "../examples/batch.rs"]
mod batch;
#[path = "../examples/durable_steps.rs"]
mod durable_steps;
#[path = "../examples/typed_job.rs"]
mod typed_job;

#[test]
fn a_typed_job() {
    typed_job::main().expect("it runs");
}

#[test]
fn a_batch_with_its_follow_up() {
    batch::main().expect("it runs");
}

#[test]
fn steps_that_are_done_once() {
    durable_steps::main().expect("it runs");
}
