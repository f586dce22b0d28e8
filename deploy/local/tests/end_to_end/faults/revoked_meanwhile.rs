//! A client that is revoked while its upload is still coming in.

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
};

use local::{Stack, eventually};
use private_postgres::psql;

use crate::support::{DEADLINE, HELD_BODIES, Sender, options};

#[test]
fn a_client_revoked_in_the_middle_of_its_upload_is_refused_and_nothing_is_stored() {
    let stack = Stack::start(options().processes(1, 1, 0).proxy_config(HELD_BODIES)).unwrap();
    let sender = Sender::new(&stack);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let client = &sender.client;
    let mut curl = Command::new("curl")
        .args(["-q", "--noproxy", "*", "--silent", "--http1.1", "--max-time", "30", "--request", "POST"])
        .arg("--cacert")
        .arg(&client.ca)
        .arg("--cert")
        .arg(&client.cert)
        .arg("--key")
        .arg(&client.key)
        // 100 Continue says that the head was judged and the body is being read
        .args(["--header", "Expect: 100-continue", "--expect100-timeout", "30", "--verbose"])
        .args(["--header", "Content-Type: application/json", "--upload-file", "-"])
        .args(["--write-out", "\n%{http_code}"])
        .arg(sender.at("/api/v1/messages"))
        .stdin(Stdio::piped())
        .stdout(File::create(file("answer")).unwrap())
        .stderr(File::create(file("verbose")).unwrap())
        .spawn()
        .unwrap();
    let mut upload = curl.stdin.take().unwrap();
    upload.write_all(br#"{"sender_number": "+1234567890", "#).unwrap();
    let reading = eventually(DEADLINE, || {
        fs::read_to_string(file("verbose")).unwrap().contains("100 Continue").then_some(())
    });
    assert!(reading.is_some(), "{}", fs::read_to_string(file("verbose")).unwrap());

    let revoke = format!("UPDATE clients SET status = 'revoked' WHERE client_id = '{}'", client.id);
    stack.sql(&revoke).unwrap();
    let in_force = eventually(DEADLINE, || (sender.get("/api/v1/whoami").status == 403).then_some(()));
    assert!(in_force.is_some());
    upload.write_all(br#""message_body": "too late"}"#).unwrap();
    drop(upload);

    curl.wait().unwrap();
    let answer = fs::read_to_string(file("answer")).unwrap();
    let (problem, status) = answer.rsplit_once('\n').unwrap();
    assert_eq!(status, "403", "{problem}\n{}", fs::read_to_string(file("verbose")).unwrap());
    assert!(problem.contains("\"certificate_revoked\""), "{problem}");
    assert_eq!(psql(stack.owner_url(), "SELECT count(*) FROM messages").unwrap().trim(), "0");
}
