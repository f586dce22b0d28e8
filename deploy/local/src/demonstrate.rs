//! One real message, sent as every user would, and seen arriving.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::{Client, Curl, Stack, up::say};

const MESSAGE: &str = r#"{"sender_number": "+1234567890", "message_body": "Hello from Portcullis"}"#;
const DELIVERY: Duration = Duration::from_secs(30);

/// Sends a message with `curl` and waits until the worker has written it.
pub(crate) fn one_message(stack: &Stack, client: &Client) -> anyhow::Result<()> {
    say(&format!("\nsending one message:\n\n{}", curl_line(stack, client)));
    let answer = Curl::of(client).post(&format!("{}/api/v1/messages", stack.url()), MESSAGE)?;
    let body = String::from_utf8_lossy(&answer.body).trim().to_owned();
    ensure!(answer.status == 202, "the proxy answered {} {body} {}", answer.status, answer.errors.trim());
    say(&format!("\nthe answer: {} {body}", answer.status));
    let message = answer.json()?;
    let id = message["message_id"].as_str().context("an answer without message_id")?;
    say(&format!("\nthe line that the worker wrote:\n\n{}", stack.wait_for_delivery(id, DELIVERY)?));
    Ok(())
}

/// The same as something to copy and paste.
pub(crate) fn curl_line(stack: &Stack, client: &Client) -> String {
    format!(
        "  curl --cert {} \\\n       --key {} \\\n       --cacert {} \\\n       -H 'Content-Type: application/json' \
         \\\n       -d '{MESSAGE}' \\\n       {}/api/v1/messages",
        quoted(&client.cert.to_string_lossy()),
        quoted(&client.key.to_string_lossy()),
        quoted(&client.ca.to_string_lossy()),
        stack.url(),
    )
}

/// A word for the shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
