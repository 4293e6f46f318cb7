//! Which way requests go: to the network, to the network with a recording, to a recording alone, or
//! to simulated services on this machine.

use super::cassette::{Player, Recorder};
use crate::client::{Client, Request, Response};
use crate::error::Error;
use crate::target::Target;
use std::path::Path;
use std::sync::Arc;

/// Which way requests go.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// To whom they are addressed.
    #[default]
    Live,
    /// The same, and every exchange is written down.
    Record(Arc<Recorder>),
    /// Nowhere: a recording answers, or nobody does.
    Replay(Arc<Player>),
    /// To simulated services: addresses that begin like the first go to the second of a pair.
    Simulated(Arc<Vec<(Target, Target)>>),
}

impl Transport {
    /// Writes a cassette; what is at `path` is added to.
    pub fn record(path: &Path) -> Result<Transport, Error> {
        Ok(Transport::Record(Arc::new(Recorder::open(path)?)))
    }

    /// Plays the cassette at `path`.
    pub fn replay(path: &Path) -> Result<Transport, Error> {
        Ok(Transport::Replay(Arc::new(Player::open(path)?)))
    }

    /// Sends what is meant for `https://api.github.com` to `http://127.0.0.1:9000`, and nothing
    /// anywhere else. The second of a pair must be an address of this machine.
    pub fn simulated(pairs: &[(&str, &str)]) -> Result<Transport, Error> {
        let mut read = Vec::new();
        for (from, to) in pairs {
            let (from, to) = (Target::parse(from)?, Target::parse(to)?);
            if !to.is_loopback() {
                let text = format!("{} is not on this machine; a simulated service must be", to.shown());
                return Err(Error::Invalid { field: "url", text });
            }
            read.push((from, to));
        }
        Ok(Transport::Simulated(Arc::new(read)))
    }

    pub(crate) async fn send(&self, client: &Client, request: Request) -> Result<Response, Error> {
        match self {
            Transport::Live => client.send(request).await,
            Transport::Record(recorder) => {
                let answer = client.send(request.clone()).await?;
                recorder.write(&request, &answer)?;
                Ok(answer)
            }
            Transport::Replay(player) => player.answer(&request),
            Transport::Simulated(pairs) => {
                let moved = pairs.iter().find_map(|(from, to)| request.target.moved(from, to));
                let Some(target) = moved else {
                    return Err(Error::Missing {
                        what: "simulated service",
                        request: request.target.shown(),
                    });
                };
                client.send(Request { target: target?, ..request }).await
            }
        }
    }
}
