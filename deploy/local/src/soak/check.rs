//! What became of what was sent.
//!
//! In: the clients' histories, the workers' files, the database. Out: what was lost, made up or doubled. The database
//! is asked for what nobody outside can see: each completion is written down by a trigger in its own transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Context as _;
use private_postgres::psql;
use uuid::Uuid;

use super::{SOME, clients::History};
use crate::Stack;

/// Writes down each job that becomes done, with the lease that completed it.
const AUDIT: &str = "
    CREATE TABLE soak_completions (message_id uuid NOT NULL, queue text NOT NULL, lease_token uuid NOT NULL, worker text NOT NULL);
    CREATE FUNCTION soak_completed() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
    BEGIN
        INSERT INTO soak_completions
            SELECT id, NEW.queue, OLD.lease_token, OLD.leased_by FROM unnest(NEW.message_ids) AS id;
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER soak_completed AFTER UPDATE ON job_groups
        FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION soak_completed();";

/// The verdict's facts: of each kind a sentence per case.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) sent: usize,
    pub(super) acknowledged: usize,
    pub(super) delivered: usize,
    /// Lines beyond the first of a message: allowed, and counted.
    pub(super) repeated: usize,
    pub(super) replayed: u64,
    pub(super) lost: Vec<String>,
    pub(super) phantom: Vec<String>,
    pub(super) doubled: Vec<String>,
    pub(super) completed_twice: Vec<String>,
    pub(super) unexpected: Vec<String>,
}

/// One line of a worker's file.
struct Delivered {
    message_id: Uuid,
    client_id: String,
    text: String,
}

/// Begins to write completions down.
pub(super) fn audit(stack: &Stack) -> anyhow::Result<()> {
    psql(stack.owner_url(), AUDIT).context("cannot install the audit of completions")?;
    Ok(())
}

/// How many jobs are neither done nor dead; none if the database does not say.
pub(super) fn unfinished(stack: &Stack) -> Option<u64> {
    let count = "SELECT coalesce(sum(cardinality(message_ids)), 0) FROM job_groups WHERE state IN ('ready', 'leased')";
    psql(stack.owner_url(), count).ok()?.trim().parse().ok()
}

/// Compares everything with everything.
pub(super) fn check(stack: &Stack, histories: &[History]) -> anyhow::Result<Findings> {
    let lines = lines(stack)?;
    let stored = ids(stack, "SELECT message_id FROM messages")?;
    let mut findings = Findings::default();
    let delivered: HashSet<Uuid> = lines.iter().map(|line| line.message_id).collect();
    findings.delivered = delivered.len();
    findings.repeated = lines.len() - delivered.len();

    let mut sent = HashMap::new();
    for history in histories {
        findings.replayed += history.replayed;
        findings.unexpected.extend(history.unexpected.iter().cloned());
        findings.sent += history.sent.len();
        for message in &history.sent {
            sent.insert((history.client_id.as_str(), message.text.as_str()), history.keyed);
            findings.acknowledged += usize::from(!message.ids.is_empty());
            for id in &message.ids {
                let text = &message.text;
                if !stored.contains(id) {
                    findings.lost.push(format!("`{text}` ({id}) was acknowledged and is not stored"));
                } else if !delivered.contains(id) {
                    findings.lost.push(format!("`{text}` ({id}) was acknowledged and is not delivered"));
                }
            }
        }
    }
    for id in stored.difference(&delivered) {
        findings.lost.push(format!("{id} is stored and was not delivered"));
    }
    phantoms(&lines, &sent, &mut findings);
    doubles(&lines, histories, &sent, &mut findings);
    completions(stack, &stored, &mut findings)?;
    Ok(findings)
}

/// What was delivered must have been sent, by that client, in these words; and an id stands for one message.
fn phantoms(lines: &[Delivered], sent: &HashMap<(&str, &str), bool>, findings: &mut Findings) {
    let mut texts: HashMap<Uuid, &str> = HashMap::new();
    for Delivered { message_id, client_id, text } in lines {
        if !sent.contains_key(&(client_id.as_str(), text.as_str())) {
            findings
                .phantom
                .push(format!("`{text}` of {client_id} ({message_id}) was delivered and not sent"));
        }
        if *texts.entry(*message_id).or_insert(text) != text {
            findings.phantom.push(format!("{message_id} was delivered with two texts, one is `{text}`"));
        }
    }
}

/// A text with a key must have one id, in all answers and all files.
fn doubles(
    lines: &[Delivered],
    histories: &[History],
    sent: &HashMap<(&str, &str), bool>,
    findings: &mut Findings,
) {
    let mut ids: BTreeMap<(&str, &str), BTreeSet<Uuid>> = BTreeMap::new();
    for line in lines {
        ids.entry((&line.client_id, &line.text)).or_default().insert(line.message_id);
    }
    for history in histories {
        for message in &history.sent {
            ids.entry((&history.client_id, &message.text)).or_default().extend(&message.ids);
        }
    }
    for ((client, text), ids) in ids {
        if ids.len() > 1 && sent.get(&(client, text)) == Some(&true) {
            findings.doubled.push(format!("`{text}` had a key and became {} messages: {ids:?}", ids.len()));
        }
    }
}

/// Every job was completed once, under one lease.
fn completions(stack: &Stack, stored: &HashSet<Uuid>, findings: &mut Findings) -> anyhow::Result<()> {
    let twice = "SELECT message_id FROM soak_completions GROUP BY message_id, queue HAVING count(*) > 1";
    for id in ids(stack, twice)? {
        findings.completed_twice.push(format!("{id} was completed more than once"));
    }
    let completed = ids(stack, "SELECT message_id FROM soak_completions")?;
    for id in stored.difference(&completed) {
        findings.lost.push(format!("{id} is stored and was never completed"));
    }
    Ok(())
}

fn lines(stack: &Stack) -> anyhow::Result<Vec<Delivered>> {
    let lines = stack.delivered()?.into_iter().map(|line| {
        let word = |member: &str| line[member].as_str().map(str::to_owned);
        let delivered = || {
            let message_id = word("message_id")?.parse().ok()?;
            Some(Delivered { message_id, client_id: word("client_id")?, text: word("message_body")? })
        };
        delivered().with_context(|| format!("a line that no worker writes: {line}"))
    });
    lines.collect()
}

fn ids(stack: &Stack, query: &str) -> anyhow::Result<HashSet<Uuid>> {
    let rows = psql(stack.owner_url(), query)?;
    rows.split_whitespace().map(|id| id.parse().with_context(|| format!("no id: {id}"))).collect()
}

impl Findings {
    /// Each kind of harm, with its cases.
    pub(super) fn harms(&self) -> [(&'static str, &[String]); 5] {
        [
            ("lost", &self.lost),
            ("phantom", &self.phantom),
            ("doubled with a key", &self.doubled),
            ("completed twice", &self.completed_twice),
            ("answered unexpectedly", &self.unexpected),
        ]
    }

    /// Some cases of each kind, for whoever looks for the cause.
    pub(super) fn cases(&self) -> impl Iterator<Item = &String> {
        self.harms().into_iter().flat_map(|(_, cases)| cases.iter().take(SOME))
    }
}
