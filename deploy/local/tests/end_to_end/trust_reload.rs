//! Whom the client door believes can change while it is open.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;

use certs::{Authority, TrustDomain};
use local::{Curl, Stack, eventually};

use crate::support::{
    DEADLINE,
    holder::{Holder, new_name, request},
    options,
    repeater::Repeater,
};

fn wait_for(stack: &Stack, curl: &Curl, expected: impl Fn(u16, &str) -> bool) {
    let url = format!("{}/api/v1/whoami", stack.url());
    let mut last = None;
    let seen = eventually(DEADLINE, || {
        let answer = curl.get(&url).unwrap();
        let seen = expected(answer.status, &answer.code());
        last = Some(answer);
        seen.then_some(())
    });
    assert!(seen.is_some(), "{last:?}");
}

#[test]
fn a_ca_that_is_added_is_believed_and_one_that_is_taken_out_is_not_on_open_connections_either() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.crt");
    let other = Authority::create(TrustDomain::default()).unwrap();
    fs::write(&file, other.clients().certificate_pem()).unwrap();
    let tls = format!("[tls]\nclients_ca = '{}'\nreload = '100ms'", file.display());
    let stack = Stack::start(options().proxy_config(&tls)).unwrap();
    let put = |pems: &[&str]| fs::write(&file, pems.concat()).unwrap();
    let genuine = stack.authority().clients().certificate_pem();

    let (name, other_name) = (new_name(), new_name());
    let one = Holder::of(&stack, stack.authority().clients().sign(&request(&stack, &name)).unwrap());
    let leaf = other.clients().sign(&request(&stack, &other_name)).unwrap();
    let another = Holder::of(&stack, leaf);
    one.register_as(&stack, &name);
    another.register_as(&stack, &other_name);
    wait_for(&stack, &another.curl(), |status, _| status == 200);
    wait_for(&stack, &one.curl(), |status, _| status == 0);

    put(&[genuine, other.clients().certificate_pem()]);
    wait_for(&stack, &one.curl(), |status, _| status == 200);
    let whoami = format!("{}/api/v1/whoami", stack.url());
    let (open, kept) = (Repeater::start(&another.curl(), &whoami), Repeater::start(&one.curl(), &whoami));
    for repeater in [&open, &kept] {
        repeater.wait_for(|result| result.status == 200 && result.connections == 0);
    }

    put(&[genuine]);
    open.wait_for(|result| result.status != 200);
    wait_for(&stack, &another.curl(), |status, _| status == 0);
    kept.wait_for(|result| result.status == 200);
    assert_eq!(kept.results().iter().map(|result| result.connections).sum::<u32>(), 1, "disturbed");

    // Half a file, and then none: the last good one stays.
    put(&[&genuine[..genuine.len() / 2]]);
    let noticed = eventually(DEADLINE, || {
        let (_, detail) = stack.proxies[0].process.get("/readyz").ok()?;
        detail.contains("bundle.crt").then_some(())
    });
    assert!(noticed.is_some());
    fs::remove_file(&file).unwrap();
    wait_for(&stack, &one.curl(), |status, _| status == 200);
    kept.wait_for(|result| result.status == 200);
}
