//! A sign of life to an outside watcher: one GET, any answer below 300 is fine.

use crate::error::Result;
use crate::{Receipt, judge, target};
use http::Method;
use jiff::Timestamp;
use mainspring_outbound::{Client, Request};
use std::time::Duration;

/// The time for it: a watcher that is slow is not worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with a watcher's address.
pub fn check(url: &str) -> Result<()> {
    target(url).map(drop)
}

/// Gives a sign of life.
pub async fn send(client: &Client, url: &str, now: Timestamp) -> Result<Receipt> {
    let mut request = Request::new(Method::GET, target(url)?);
    request.timeout = TIMEOUT;
    request.keep = 1024;
    let host = request.target.host().to_owned();
    let response = client.send(request).await?;
    judge(&host, &response, now)
}
