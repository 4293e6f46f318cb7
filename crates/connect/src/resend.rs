//! Mail by the API of Resend: one request for each mail, with an idempotency key, so that a repeated
//! try within a day is taken once.

use crate::error::{Class, Error, Result};
use crate::mail::Mail;
use crate::{Receipt, Secret, judge, post, target};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use mainspring_outbound::Client;
use serde::Deserialize;

/// The service's own address.
pub const API: &str = "https://api.resend.com";

#[derive(Deserialize)]
struct Taken {
    id: String,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    name: String,
    #[serde(default)]
    message: String,
}

/// Sends a mail.
pub async fn send(client: &Client, api: &str, key: &Secret, mail: &Mail, now: Timestamp) -> Result<Receipt> {
    // What would not pass as a mail does not pass here either.
    mail.build()?;
    let mut body = serde_json::json!({
        "from": mail.from, "to": mail.to, "subject": mail.subject, "text": mail.text, "html": mail.html,
        "headers": {"Auto-Submitted": "auto-generated"},
    });
    if let Some(reply) = &mail.reply_to {
        body["reply_to"] = reply.as_str().into();
    }
    let mut headers = HeaderMap::new();
    let bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
    let mut bearer = bearer.map_err(|_| Error::fatal("the API key holds a control character"))?;
    bearer.set_sensitive(true);
    headers.insert(AUTHORIZATION, bearer);
    let id = HeaderValue::from_str(&mail.id).map_err(|e| Error::fatal(e.to_string()))?;
    headers.insert("idempotency-key", id);
    let target = target(&format!("{}/emails", api.trim_end_matches('/')))?;
    let response = post(client, target, headers, body.to_string().into_bytes()).await?;
    let judged = judge("Resend", &response, now);
    match judged {
        Ok(receipt) => match serde_json::from_slice::<Taken>(&response.body) {
            Ok(taken) => Ok(Receipt { id: Some(taken.id), ..receipt }),
            Err(_) => {
                Err(Error::new(Class::Unknown, format!("Resend answered {} without an id", response.status)))
            }
        },
        Err(mut error) => {
            if let Ok(refused) = serde_json::from_slice::<Refused>(&response.body) {
                // The same key with another content: the earlier one was taken.
                if refused.name == "invalid_idempotent_request" {
                    error.class = Class::Fatal;
                }
                error.text = format!(
                    "Resend answered {} {}: {}",
                    response.status.as_u16(),
                    refused.name,
                    refused.message
                );
            }
            Err(error)
        }
    }
}
