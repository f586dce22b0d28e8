//! The SQL that registers a certificate, for those who paste it into `psql`: the same rows as [`crate::register`].

use std::{fmt::Write, time::Duration};

use shared::identity::Workload;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Issued, RevocationList};

/// The `INSERT` that registers a certificate as active. The fingerprint stands as in `fingerprint.txt`; the
/// database strips what is not hex.
#[must_use]
pub fn registering(issued: &Issued) -> String {
    let fingerprint = quoted(&issued.fingerprint_line());
    let (begins, ends) = (moment(issued.not_before()), moment(issued.not_after()));
    match &issued.holder {
        Workload::Client(name) => format!(
            "INSERT INTO clients (client_id, cert_fingerprint, domain, status, issued_at, expires_at)\n\
             VALUES ({}, {fingerprint},\n        {}, 'active', {begins}, {ends});\n",
            quoted(name.as_str()),
            quoted(issued.domain.as_deref().unwrap_or("default")),
        ),
        Workload::Service(role, name) => format!(
            "INSERT INTO services (service_id, role, cert_fingerprint, status, issued_at, expires_at)\n\
             VALUES ({}, {}, {fingerprint},\n        'active', {begins}, {ends});\n",
            quoted(name.as_str()),
            quoted(role.as_str()),
        ),
    }
}

/// The statement that gives a holder this certificate in place of the one it has.
#[must_use]
pub fn renewing(issued: &Issued, overlap: Duration) -> String {
    let call = match &issued.holder {
        Workload::Client(name) => format!("renew_client({}", quoted(name.as_str())),
        Workload::Service(role, name) => {
            format!("renew_service({}, {}", quoted(role.as_str()), quoted(name.as_str()))
        }
    };
    format!(
        "SELECT {call}, {},\n    {}, interval '{} seconds');\n",
        quoted(&issued.fingerprint_line()),
        moment(issued.not_after()),
        overlap.as_secs(),
    )
}

/// Who is revoked.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// With all certificates.
    Holder(&'a Workload),
    /// This one, by its fingerprint.
    Certificate(&'a str),
}

/// The transaction that revokes, and puts the list in force that says so too.
#[must_use]
pub fn revoking(
    target: &Target<'_>,
    reason: &str,
    comment: Option<&str>,
    list: Option<&RevocationList>,
) -> String {
    let comment = comment.map_or_else(|| "NULL".to_owned(), quoted);
    let reason = quoted(reason);
    let set = format!(
        "SET status = 'revoked', reason_code = {reason},\n    \
         revocation_reason = coalesce({comment}, revocation_reason)"
    );
    let row = match target {
        Target::Holder(Workload::Client(name)) => {
            format!(
                "UPDATE clients {set}\nWHERE client_id = {} AND status <> 'revoked';\n",
                quoted(name.as_str())
            )
        }
        Target::Holder(Workload::Service(role, name)) => format!(
            "UPDATE services {set}\nWHERE role = {} AND service_id = {} AND status <> 'revoked';\n",
            quoted(role.as_str()),
            quoted(name.as_str())
        ),
        Target::Certificate(fingerprint) => {
            format!("SELECT * FROM revoke_certificate({}, {reason}, {comment});\n", quoted(fingerprint))
        }
    };
    format!("BEGIN;\n{row}{}COMMIT;\n", list.map(publishing).unwrap_or_default())
}

/// The statement that puts a revocation list in force; it changes nothing where a later one is.
#[must_use]
pub fn publishing(crl: &RevocationList) -> String {
    format!(
        "INSERT INTO crls (issuer_name, issuer_key_id, crl_number, this_update, next_update, der)\n\
         VALUES ({}, {}, {}, {}, {},\n        {})\n\
         ON CONFLICT (issuer_name, issuer_key_id) DO UPDATE\n\
         SET crl_number = excluded.crl_number, this_update = excluded.this_update,\n    \
             next_update = excluded.next_update, der = excluded.der\n\
         WHERE crls.crl_number < excluded.crl_number;\n",
        bytes(&crl.issuer_name),
        bytes(&crl.issuer_key_id),
        crl.number,
        moment(crl.this_update),
        moment(crl.next_update),
        bytes(crl.der()),
    )
}

/// A string constant (the manual of Postgres, §4.1.2.1). Names and domains hold no quote, but this need not know it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn bytes(bytes: &[u8]) -> String {
    let mut text = String::from("'\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
    }
    text + "'"
}

fn moment(moment: OffsetDateTime) -> String {
    quoted(&moment.format(&Rfc3339).unwrap_or_default())
}
