//! What ends a node: a signal, the given time, the end of all work. A second signal does not wait
//! for the grace time.

use super::idle;
use crate::args::UpArgs;
use crate::clock;
use crate::error::{CliError, Result};
use mainspring::Client;
use mainspring::engine::Engine;
use mainspring_core::code::Code;
use std::future::Future;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a node.
pub struct Signals {
    term: Signal,
    int: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they are waited for, and end nothing by themselves.
    pub fn new() -> Result<Signals> {
        let all = || {
            Ok::<_, std::io::Error>(Signals {
                term: signal(SignalKind::terminate())?,
                int: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
            })
        };
        all().map_err(|e| {
            CliError::new(Code::STORE_INTERNAL, format!("the machine lets no signal be waited for: {e}"))
        })
    }

    /// The next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Ready when the node should end; from then on a further signal interrupts at once.
pub fn ends(args: &UpArgs, client: Client, engine: Arc<Engine>) -> Result<impl Future<Output = ()> + use<>> {
    let mut signals = Signals::new()?;
    let (length, when_idle) = (args.length, args.exit_when_idle);
    Ok(async move {
        let time = async {
            match length {
                Some(length) => clock::pause(length).await,
                None => std::future::pending().await,
            }
        };
        let work = async {
            match when_idle {
                true => idle::wait(&client).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.next() => {}
            () = time => {}
            () = work => {}
        }
        tokio::spawn(async move {
            signals.next().await;
            engine.interrupt();
        });
    })
}
