//! Messages that were admitted before their client was revoked.

use std::thread;

use local::{Curl, Stack, eventually};
use rustix::process::Signal;

use super::{Doomed, HALF, REST, busy, wait_for_code};
use crate::{
    support::{
        DEADLINE,
        caller::{Caller, VERSIONS},
        options,
    },
    traffic::{id_of, metric, undelivered},
};

#[test]
fn a_message_that_is_on_its_way_when_its_client_is_revoked_keeps_its_202() {
    // nobody gives up while the main server is held
    let stack = Stack::start(options().proxy_config("[upstream]\ntimeout = '2m'\nretry_for = '2m'")).unwrap();
    let (proxy, main_server) = (&stack.proxies[0].process, &stack.main_servers[0].process);
    let waiting = || metric(proxy, "portcullis_upstream_waiting");
    let doomed = Doomed::new(&stack);
    let caller = Caller::of(&doomed.client, VERSIONS[1]);
    let url = &format!("{}/api/v1/messages", stack.url());

    main_server.signal(Signal::STOP);
    let mut call = busy(&stack, &caller);
    call.send(REST.as_bytes()).unwrap();
    let over_http2 = thread::scope(|scope| {
        let curl = Curl::of(&doomed.client).flag("--http2").with("--max-time", "120");
        let post = scope.spawn(move || curl.post(url, format!("{HALF}{REST}")));
        let on_their_way = eventually(DEADLINE, || (waiting() == 2).then_some(()));
        assert!(on_their_way.is_some(), "{} of 2 are waiting", waiting());
        doomed.update(&stack, "status = 'revoked'");
        wait_for_code(&stack, &doomed.curl, "certificate_revoked");
        assert_eq!(waiting(), 2, "neither was answered before the revocation was in force");
        main_server.signal(Signal::CONT);
        post.join().unwrap().unwrap()
    });

    assert_eq!(over_http2.status, 202, "{over_http2:?}");
    let (status, accepted) = call.answer().unwrap();
    assert_eq!(status, 202, "{accepted}");
    assert_eq!(call.read_to_close().unwrap(), "", "the connection ends with that answer");
    let accepted: serde_json::Value = serde_json::from_str(&accepted).unwrap();
    let over_http1 = accepted["message_id"].as_str().unwrap().to_owned();
    assert!(undelivered(&stack, &[over_http1, id_of(&over_http2)].into()).is_empty());
    assert_eq!(stack.delivered().unwrap().len(), 2);
}
