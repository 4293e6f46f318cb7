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

struct Signals {
    term: Signal,
    int: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Ready when the node should end; from then on a further signal interrupts at once.
pub fn ends(args: &UpArgs, client: Client, engine: Arc<Engine>) -> Result<impl Future<Output = ()> + use<>> {
    let mut signals = Signals::new().map_err(|e| {
        CliError::new(Code::STORE_INTERNAL, format!("the machine lets no signal be waited for: {e}"))
    })?;
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
