//! `portcullis-certs send` against real proxies: one message, files of them, lost connections, interruptions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{collections::HashMap, fs, io::Write as _, path::Path, process::Command, time::Duration};

use certs::{
    client_tls::ClientFiles,
    send::{Caller, Journal, Progress, SendError, Settled, Tally, many, one},
};
use local::{Client, Curl, Stack, eventually};
use serde_json::json;

use crate::support::{DEADLINE, holder::Holder, options, shared_stack};

fn files(client: &Client) -> ClientFiles {
    ClientFiles {
        cert: Some(client.cert.clone()),
        key: Some(client.key.clone()),
        cacerts: vec![client.ca.clone()],
        ..ClientFiles::default()
    }
}

fn caller(stack: &Stack, files: &ClientFiles, patience: Duration) -> Caller {
    Caller::new(stack.url().parse().unwrap(), files, patience, Progress::none()).unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Sends a file as the command line does; `settled` may interrupt it.
fn send_file(
    caller: &Caller,
    file: &Path,
    settled: &mut dyn FnMut(&Settled) -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    let (mut journal, key) = Journal::open(&file.with_extension("sent"), None)?;
    let input = std::io::BufReader::new(fs::File::open(file)?);
    wait(many(caller, input, &key, &mut journal, &Progress::none(), settled))
}

fn message(text: &str) -> String {
    json!({ "sender_number": "+1234567890", "message_body": text }).to_string()
}

fn write_lines(folder: &Path, lines: impl Iterator<Item = String>) -> std::path::PathBuf {
    let path = folder.join("messages.ndjson");
    let mut file = fs::File::create(&path).unwrap();
    lines.for_each(|line| writeln!(file, "{line}").unwrap());
    path
}

/// How many messages of this client are stored.
fn stored(stack: &Stack, client: &Client) -> usize {
    let count = format!("SELECT count(*) FROM messages WHERE client_id = '{}'", client.id);
    private_postgres::psql(stack.owner_url(), &count).unwrap().trim().parse().unwrap()
}

#[test]
fn one_message_is_stored_once_however_often_it_is_sent_under_one_key() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let caller = caller(stack, &files(&client), DEADLINE);
    let first = wait(one(&caller, message("hello"), "my-key")).unwrap();
    assert!(first.accepted() && !first.replayed, "{first:?}");
    let again = wait(one(&caller, message("hello"), "my-key")).unwrap();
    assert!(again.accepted() && again.replayed, "{again:?}");
    assert_eq!(first.message_id, again.message_id);
    stack.wait_for_delivery(first.message_id.as_deref().unwrap(), DEADLINE).unwrap();
    assert_eq!(stored(stack, &client), 1);
    let other = wait(one(&caller, message("another"), "my-key")).unwrap();
    assert_eq!((other.status, other.code.as_deref()), (422, Some("idempotency_conflict")));
}

#[test]
fn a_file_is_sent_in_batches_and_each_bad_line_is_named_and_disturbs_no_other() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let line = |number: u32| match number {
        700 => "not JSON".to_owned(),
        1200 => json!({ "sender_number": "123", "message_body": "no E.164" }).to_string(),
        1201 => String::new(),
        _ => message(&format!("number {number}")),
    };
    let file = write_lines(folder.path(), (1..=2500).map(line));
    let caller = caller(stack, &files(&client), DEADLINE);
    let mut seen = HashMap::new();
    let tally = send_file(&caller, &file, &mut |settled| {
        seen.insert(settled.line, settled.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!(tally, Tally { accepted: 2497, refused: 2, before: 0 });
    assert_eq!(seen[&700].code.as_deref(), Some("invalid_json"));
    assert_eq!((seen[&1200].status, seen[&1200].field.as_deref()), (400, Some("/sender_number")));
    assert_eq!(stored(stack, &client), 2497);
    // a second run sends only what was refused
    let tally = send_file(&caller, &file, &mut |_| Ok(())).unwrap();
    assert_eq!(tally, Tally { accepted: 0, refused: 2, before: 2497 });
    assert_eq!(stored(stack, &client), 2497);
}

#[test]
fn an_interrupted_file_goes_on_and_nothing_is_stored_twice() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = write_lines(folder.path(), (1..=2500).map(|number| message(&format!("number {number}"))));
    let caller = caller(stack, &files(&client), DEADLINE);
    let mut count = 0;
    let interrupted = send_file(&caller, &file, &mut |_| {
        count += 1;
        anyhow::ensure!(count < 1500, "interrupted");
        Ok(())
    });
    assert!(interrupted.is_err());
    assert_eq!(stored(stack, &client), 2000);
    // Killed between the answer and the disk: the journal ends in the middle of the second batch, and of a line.
    let journal = file.with_extension("sent");
    let text = fs::read_to_string(&journal).unwrap();
    let kept: Vec<_> = text.split_inclusive('\n').take(1200).collect();
    fs::write(&journal, kept.concat() + "{\"line\":12").unwrap();
    let mut replayed = 0;
    let tally = send_file(&caller, &file, &mut |settled| {
        replayed += u32::from(settled.replayed);
        Ok(())
    })
    .unwrap();
    assert_eq!((tally, replayed), (Tally { accepted: 1301, refused: 0, before: 1199 }, 801));
    assert_eq!(stored(stack, &client), 2500);
}

#[test]
fn a_proxy_that_is_away_is_asked_again_until_it_acknowledges() {
    let stack = Stack::start(options()).unwrap();
    let client = stack.fresh_client().unwrap();
    let caller = caller(&stack, &files(&client), DEADLINE);
    stack.proxies[0].process.kill().unwrap();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| wait(one(&caller, message("late"), "k")).unwrap());
        stack.proxies[0].process.start().unwrap();
        assert!(sending.join().unwrap().accepted());
    });
    assert_eq!(stored(&stack, &client), 1);
}

#[test]
fn a_proxy_that_cannot_store_is_given_up_in_the_end_and_what_it_said_is_told() {
    let stack = Stack::start(options()).unwrap();
    let client = stack.fresh_client().unwrap();
    stack.main_servers[0].process.kill().unwrap();
    // longer than the proxy itself tries
    let caller = caller(&stack, &files(&client), Duration::from_secs(8));
    let error = wait(one(&caller, message("never"), "k")).unwrap_err();
    let SendError::TimeUp { last, .. } = &error else { panic!("{error}") };
    assert_eq!(last, "503 upstream_unavailable");
    stack.main_servers[0].process.start().unwrap();
}

#[test]
fn a_refused_client_is_told_its_code_and_nothing_is_sent_again() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    stack.sql(&format!("UPDATE clients SET status = 'suspended' WHERE client_id = '{}'", client.id)).unwrap();
    let url = format!("{}/api/v1/whoami", stack.url());
    eventually(DEADLINE, || (Curl::of(&client).get(&url).unwrap().status == 403).then_some(())).unwrap();
    // if it were sent again it would be for a day
    let caller = caller(stack, &files(&client), Duration::from_hours(24));
    let settled = wait(one(&caller, message("never"), "k")).unwrap();
    assert_eq!((settled.status, settled.code.as_deref()), (403, Some("client_suspended")));
    let folder = tempfile::tempdir().unwrap();
    let file = write_lines(folder.path(), [message("never")].into_iter());
    let error = send_file(&caller, &file, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("403 Forbidden client_suspended"), "{error:#}");
    assert_eq!(stored(stack, &client), 0);
}

#[test]
fn a_handshake_that_one_side_refuses_points_to_the_doctor_and_is_not_tried_again() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let day = Duration::from_hours(24);
    let folder = tempfile::tempdir().unwrap();
    let stranger = certs::Authority::create(certs::TrustDomain::default()).unwrap();
    let other = folder.path().join("ca.crt");
    fs::write(&other, stranger.root().certificate_pem()).unwrap();
    let request = stranger.client_leaf(&"stranger".parse().unwrap(), &certs::ClientRequest::default());
    let unknown = Holder::of(stack, request.self_signed().unwrap());
    for files in [ClientFiles { cacerts: vec![other], ..files(&client) }, files(&unknown.client)] {
        let error = wait(one(&caller(stack, &files, day), message("never"), "k")).unwrap_err();
        assert!(matches!(error, SendError::Handshake { .. }), "{error}");
        assert!(error.to_string().contains("portcullis-certs doctor https://localhost"), "{error}");
    }
}

#[test]
fn a_pkcs12_file_with_its_passphrase_sends_as_its_client() {
    let stack = shared_stack();
    let client = stack.fresh_client().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (p12, passphrase) = (folder.path().join("client.p12"), folder.path().join("passphrase"));
    fs::write(&passphrase, "QWErty123\n").unwrap();
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-in"])
        .arg(&client.cert)
        .arg("-inkey")
        .arg(&client.key)
        .arg("-out")
        .arg(&p12)
        .arg("-passout")
        .arg(format!("file:{}", passphrase.display()))
        .status();
    assert!(made.unwrap().success());
    let files = ClientFiles {
        p12: Some(p12),
        passphrase_file: Some(passphrase),
        // several CAs, of which the second is the proxy's
        cacerts: vec![stack.pki().join("clients-ca.crt"), client.ca.clone()],
        ..ClientFiles::default()
    };
    let settled = wait(one(&caller(stack, &files, DEADLINE), message("from Windows"), "k")).unwrap();
    assert!(settled.accepted(), "{settled:?}");
    assert_eq!(stored(stack, &client), 1);
}
